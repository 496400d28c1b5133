import pickle
import sys
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import JobError
from batcher.job.key import Secret, read_key
from batcher.job.spec import Endpoint, Provider

CANARY = "AIzaCanary-0123456789a91f"
google = Endpoint()
visioncoder = Endpoint(provider=Provider.VISIONCODER)


def refusal(endpoint, environ):
    with pytest.raises(JobError) as refused:
        read_key(endpoint, environ)
    assert CANARY not in "".join(traceback.format_exception(refused.value))
    return refused.value


@pytest.mark.parametrize(
    "show", [repr, str, "{}".format, "{0!r}".format, lambda secret: f"{secret}", lambda secret: f"{[secret]}"]
)
def test_a_secret_shows_its_end_only(show):
    shown = show(Secret(CANARY, source="GEMINI_API_KEY"))

    assert CANARY not in shown
    assert "key from GEMINI_API_KEY (…a91f)" in shown


@given(st.text("abcdefgh0123", min_size=1, max_size=40))
def test_no_more_than_four_characters_are_ever_shown(value):
    origin = Secret(value, source="X").origin

    assert origin == ("key from X (…)" if len(value) < 12 else f"key from X (…{value[-4:]})")


def test_a_secret_is_not_pickled():
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Secret(CANARY, source="X"))


def test_reveal_gives_the_key():
    assert Secret(CANARY, source="X").reveal() == CANARY


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({"GEMINI_API_KEY": CANARY}, "GEMINI_API_KEY"),
        ({"GOOGLE_API_KEY": CANARY}, "GOOGLE_API_KEY"),
        ({"GOOGLE_API_KEY": "", "GEMINI_API_KEY": CANARY}, "GEMINI_API_KEY"),
        ({"GOOGLE_API_KEY": "  ", "GEMINI_API_KEY": f" {CANARY}\n"}, "GEMINI_API_KEY"),
        ({"GOOGLE_API_KEY": CANARY, "GEMINI_API_KEY": CANARY}, "GOOGLE_API_KEY"),
    ],
)
def test_google_reads_two_variables_and_an_empty_one_is_unset(environ, source):
    key = read_key(google, environ)

    assert (key.reveal(), key.source, key.note) == (CANARY, source, "")


def test_two_keys_that_differ_are_noted():
    key = read_key(google, {"GOOGLE_API_KEY": CANARY, "GEMINI_API_KEY": "other"})

    assert key.reveal() == CANARY
    assert key.note == "GOOGLE_API_KEY and GEMINI_API_KEY differ; GOOGLE_API_KEY is used"


@pytest.mark.parametrize(
    ("value", "base_url", "noted"),
    [
        ("sk-1234", None, True),
        ("sk-1234", "https://gateway.example", True),
        ("x", "https://gateway.example", True),
        ("sk-1234", "http://127.0.0.1:4000", False),
        ("sk-1234", "http://localhost:4000", False),
        ("sk-123456789", None, False),
    ],
)
def test_a_key_that_may_be_a_word_is_noted_where_it_leaves_the_machine(value, base_url, noted):
    key = read_key(Endpoint(base_url=base_url), {"GEMINI_API_KEY": value})

    assert key.reveal() == value
    said = (
        f"GEMINI_API_KEY: a key of {len(value)} characters may be a word of an answer, so that it is not taken out"
        " of answers; an endpoint that says it back has it stored"
    )
    assert key.note == (said if noted else "")


def test_visioncoder_reads_its_own_variable():
    environ = {"GOOGLE_API_KEY": "no", "VISIONCODER_API_KEY": CANARY}

    assert read_key(visioncoder, environ).reveal() == CANARY


@pytest.mark.parametrize(
    ("endpoint", "message", "hint"),
    [
        (
            google,
            "no key: GOOGLE_API_KEY and GEMINI_API_KEY are not set",
            "export GEMINI_API_KEY=…, or set key_file in [endpoint]",
        ),
        (
            visioncoder,
            "no key: VISIONCODER_API_KEY is not set",
            "export VISIONCODER_API_KEY=…, or set key_file in [endpoint]",
        ),
    ],
)
def test_no_key(endpoint, message, hint):
    error = refusal(endpoint, {"OTHER": CANARY})

    assert (error.message, error.hint) == (message, hint)


@pytest.mark.parametrize("bad", [f"{CANARY} x", f"{CANARY}\r\nHost: evil", f"{CANARY}é", f"{CANARY}\x00"])
def test_a_key_with_other_characters_is_refused_and_not_shown(bad):
    assert refusal(google, {"GEMINI_API_KEY": bad}).message == (
        "GEMINI_API_KEY: holds a space, a line break or a character outside ASCII; wanted the key alone"
    )


def a_key_file(tmp_path, *, mode=0o600, content=f"{CANARY}\n"):
    file = tmp_path / "key"
    file.write_text(content)
    file.chmod(mode)
    return file


def test_a_key_file_wins_over_the_environment(tmp_path):
    file = a_key_file(tmp_path)

    key = read_key(Endpoint(key_file=str(file)), {"GEMINI_API_KEY": "other"})

    assert (key.reveal(), key.source) == (CANARY, f"key_file {file}")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_file_that_others_can_touch_is_refused(tmp_path, mode):
    file = a_key_file(tmp_path, mode=mode)

    error = refusal(Endpoint(key_file=str(file)), {})

    assert error.message == f"key_file {file}: others can read it (mode {mode:03o}), wanted 600"
    assert error.hint == f"chmod 600 {file}"


def test_what_is_looked_at_is_what_is_read(tmp_path):
    """A link is judged by the file that it leads to."""
    file = a_key_file(tmp_path, mode=0o644)
    (tmp_path / "link").symlink_to(file)

    assert "others can read it (mode 644)" in refusal(Endpoint(key_file=str(tmp_path / "link")), {}).message


def test_a_key_file_that_is_missing_or_empty_is_refused(tmp_path):
    assert refusal(Endpoint(key_file="/no/key"), {}).message == "key_file /no/key: No such file or directory"
    file = a_key_file(tmp_path, content=" \n")
    assert refusal(Endpoint(key_file=str(file)), {}).message == f"key_file {file}: holds no key"


def command(code):
    return Endpoint(key_command=(sys.executable, "-S", "-c", code))


def test_a_command_prints_the_key_in_our_environment():
    key = read_key(command("import os; print(os.environ['VAULT'])"), {"VAULT": CANARY})

    assert (key.reveal(), key.source) == (CANARY, f"key_command {sys.executable}")


def test_a_command_that_fails_says_nothing_of_what_it_printed():
    error = refusal(command(f"import sys; print('{CANARY}'); sys.exit('{CANARY}')"), {})

    assert error.message == f"key_command {sys.executable}: ended with exit code 1, wanted 0 and the key on stdout"


def test_a_command_that_is_none_is_refused():
    assert refusal(Endpoint(key_command=("/no/such",)), {}).message.startswith("key_command /no/such: cannot be run: ")
    assert refusal(Endpoint(key_command=()), {}).message.startswith("key_command (empty): cannot be run: ")
