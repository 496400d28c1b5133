"""Arguments mean what the command line's flags mean, and are refused in the same words."""

import inspect
from dataclasses import fields

import pytest

import batcher
from batcher.api.call import Call, ready
from batcher.errors import InputError, JobError
from batcher.job.key import Secret
from batcher.job.load import load_job
from batcher.job.spec import Job

KEY = "canary-key-123456"
JOB = """
model = "from-the-file"
[input]
files = ["prompts.jsonl"]
[limits]
requests_per_minute = 60
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.toml").write_text(JOB)
    return tmp_path


def asked(source=None, environ=None, **given):
    nothing = dict.fromkeys(field.name for field in fields(Call))
    return ready(Call(**nothing | {"key": KEY, "source": source} | given), environ or {})


def refused(source=None, environ=None, kind=JobError, **given):
    with pytest.raises(kind) as caught:
        asked(source, environ, **given)
    return caught.value


def test_a_path_of_a_job_file_is_a_job_and_arguments_win_over_it(here):
    environ = {"GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:1"}

    assert asked("job.toml", environ).job == load_job(here / "job.toml", flags={}, sets=(), environ=environ).job
    changed = asked(here / "job.toml", environ, model="mine", base_url="http://127.0.0.1:2", rpm=30).job
    assert (changed.model, changed.endpoint.base_url, changed.limits.requests_per_minute) == (
        "mine",
        "http://127.0.0.1:2",
        30,
    )


def test_a_packaged_job_is_found_by_its_name():
    assert asked("hello").job.name == "hello"


def test_a_job_goes_in_as_it_is_or_changed():
    job = asked("job.toml").job

    assert asked(job).job == job
    assert asked(job, set={"retry.attempts": 2}, model="other").job == job.model_copy(
        update={"model": "other", "retry": job.retry.model_copy(update={"attempts": 2})}
    )
    by_hand = Job.model_validate({"name": "x", "model": "m", "input": {"files": ("a.jsonl",)}})
    assert asked(by_hand).job.endpoint.base_url == "https://generativelanguage.googleapis.com"


@pytest.mark.parametrize("given", [{"source": "a.jsonl"}, {"input": "a.jsonl"}, {"input": ["a.jsonl"]}])
def test_a_file_of_rows_is_an_input_wherever_it_stands(given, here):
    what = asked(**given, model="m")

    assert what.job.input.files == (f"{here}/a.jsonl",)
    assert (what.rows, what.shown_out, what.out) == (None, "out/a", here / "out" / "a")


def test_rows_may_stand_in_both_places_and_a_job_beside_them():
    rows = [{"prompt": "a"}]

    assert asked(rows, model="m").rows is rows
    assert asked(input=rows, model="m").shown_out == "out/rows"
    what = asked("job.toml", input=rows)
    assert (what.rows, what.job.model) == (rows, "from-the-file")


def test_two_inputs_are_one_too_many():
    said = "input: stands beside rows or a file that are given first; wanted one of the two"

    assert refused([{"prompt": "a"}], input="a.jsonl").message == said
    assert refused("b.jsonl", input="a.jsonl").message == said


def test_what_is_wrong_is_said_as_the_command_line_says_it():
    assert refused().message.splitlines() == [
        'command line: model: no model; add model = "…", or -m MODEL',
        'command line: [input]: no input; add [input] files = ["…"], or -i FILE',
    ]
    assert refused("jbo.toml").message == "No such job: jbo.toml. Did you mean job.toml?"
    assert refused("job.toml", rpm=-1.0).message == (
        "flag --rpm: [limits] requests_per_minute: found -1.0, wanted more than 0"
    )
    assert refused("job.toml", set={"limits.rpm": 1}).message == (
        "flag --set limits.rpm: [limits] rpm: unknown key; did you mean 'requests_per_minute'?"
    )
    assert refused("job.toml", set={"a b": 1}).message == 'flag --set: found "a b", wanted SECTION.KEY=VALUE'
    assert refused("job.toml", limit=0).message == "limit: found 0, wanted at least 1"
    assert refused(7, kind=InputError).message.startswith("rows: found int, wanted dicts")


def test_the_key_comes_from_the_argument_or_the_environment_and_shows_nowhere():
    given = asked("job.toml", {"GEMINI_API_KEY": "the-other-key-000"})
    found = asked("job.toml", {"GEMINI_API_KEY": KEY}, key=None)
    secret = Secret(KEY, source="a vault")

    assert (given.key.reveal(), found.key.reveal(), found.key.source) == (KEY, KEY, "GEMINI_API_KEY")
    assert asked("job.toml", key=secret).key is secret
    assert KEY not in repr(given) + repr(Call(**dict.fromkeys(f.name for f in fields(Call)) | {"key": KEY}))
    assert refused("job.toml", key=None).message.startswith("no key: ")
    assert refused("job.toml", key="two words").message == (
        "key=: holds a space, a line break or a character outside ASCII; wanted the key alone"
    )


def test_the_three_calls_take_the_same_arguments():
    """They are written out, so that an editor shows them; this keeps them one."""
    run, arun, stream = (inspect.signature(call).parameters for call in (batcher.run, batcher.arun, batcher.stream))
    settings = [name for name in run if name != "progress"]

    assert settings == [field.name for field in fields(Call)]
    assert [*run] == [*arun] == [name for name in stream if name != "buffer"]
    for name in settings:
        assert str(run[name]) == str(arun[name]) == str(stream[name])
        assert run[name].kind is (
            inspect.Parameter.POSITIONAL_ONLY if name == "source" else inspect.Parameter.KEYWORD_ONLY
        )
