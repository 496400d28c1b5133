"""What was found, judged: the thresholds and the words."""

import pytest

from batcher.engine import checkup
from batcher.engine.checkup import Check, Checkup, State
from batcher.errors import Exit
from batcher.job.spec import Dialect


def judged(check):
    return (str(check.state), check.found, check.hint)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (checkup.python((3, 12, 4), "/usr/bin/python3"), ("ok", "3.12.4 (/usr/bin/python3)", "")),
        (checkup.python((3, 10, 9), "py"), ("fail", "3.10.9 (py)", "Python 3.11 or later is needed")),
        (checkup.system("Linux", "x86_64"), ("ok", "Linux x86_64", "")),
        (checkup.system("Windows", "AMD64"), ("fail", "Windows AMD64", "batcher runs on Linux and macOS")),
        (checkup.packages({"aiohttp": "3.13", "rich": "15.0"}), ("ok", "aiohttp 3.13, rich 15.0", "")),
        (
            checkup.packages({"aiohttp": "3.13", "rich": None}),
            ("fail", "aiohttp 3.13, rich missing", "python -m pip install rich"),
        ),
        (checkup.open_files(1024, 4096, 64), ("ok", "1,024 open files; 64 at once need about 128", "")),
        (checkup.open_files(-1, -1, 10_000), ("ok", "unlimited open files; 10,000 at once need about 10,064", "")),
        (
            checkup.open_files(256, 4096, 512),
            ("fail", "256 open files; 512 at once need about 576", "ulimit -n 576"),
        ),
        (
            checkup.open_files(256, 256, 512),
            ("fail", "256 open files; 512 at once need about 576", "--concurrency 192"),
        ),
        (
            checkup.disk("out", 79 * 10**9, 1.26),
            ("ok", "out: can be written; 79.0 GB free; 1.3 ms to write for good", ""),
        ),
        (
            checkup.disk("out", 10**9, 1.0),
            (
                "warn",
                "out: can be written; 1.0 GB free; 1.0 ms to write for good",
                "little room: answers take about 1 to 5 kB a row",
            ),
        ),
        (
            checkup.disk("out", 10**6, 1.0),
            (
                "fail",
                "out: can be written; 0.0 GB free; 1.0 ms to write for good",
                "free some disk, or name another folder with -o",
            ),
        ),
        (
            checkup.disk("out", 10**12, 40.0),
            (
                "warn",
                "out: can be written; 1,000.0 GB free; 40.0 ms to write for good",
                "slow to sync: put output.state_dir on a local SSD",
            ),
        ),
        (
            checkup.file_system("out", "nfs4"),
            (
                "warn",
                "out is on nfs4",
                "--set output.state_dir=FOLDER on a local disk, for the journal and lock",
            ),
        ),
        (checkup.proxies([], used=False), ("ok", "none in the environment", "")),
        (
            checkup.proxies(["HTTPS_PROXY"], used=False),
            ("warn", "HTTPS_PROXY is set and not used", "to use it: --set endpoint.trust_env=true"),
        ),
        (
            checkup.proxies(["HTTP_PROXY", "HTTPS_PROXY"], used=True),
            ("ok", "HTTP_PROXY, HTTPS_PROXY are set and used", ""),
        ),
        (checkup.clock(None), ("ok", "the endpoint did not say what time it is", "")),
        (checkup.clock(-0.7), ("ok", "in step with the endpoint's", "")),
        (checkup.clock(3.2), ("ok", "3 s ahead", "")),
        (
            checkup.clock(-3_700.0),
            (
                "warn",
                "3,700 s behind",
                "stamps, prices and day quotas go by it: timedatectl set-ntp true, or as your system has it",
            ),
        ),
        (
            checkup.terminal(stdout=True, stderr=True, colour=True, columns=120, lines=40),
            ("ok", "120 x 40, colours", ""),
        ),
        (
            checkup.terminal(stdout=False, stderr=False, colour=False, columns=80, lines=24),
            ("ok", "none: plain lines, no colours", ""),
        ),
        (
            checkup.terminal(stdout=True, stderr=True, colour=False, columns=60, lines=24),
            ("warn", "60 x 24, no colours", "tables want 80 columns; they break their lines here"),
        ),
        (checkup.key("GEMINI_API_KEY", ""), ("ok", "from GEMINI_API_KEY", "")),
        (
            checkup.key("A", "A and B differ; A is used"),
            ("warn", "from A", "A and B differ; A is used: unset the one that is not meant"),
        ),
        (
            checkup.dialect(
                Dialect.GOOGLE, {"name": "models/m", "supportedGenerationMethods": ["generateContent"]}, "m"
            ),
            ("ok", "google; it answers as Gemini does", ""),
        ),
        (checkup.dialect(Dialect.FLAT, {"models": []}, None), ("ok", "flat; it answers as Gemini does", "")),
        (
            checkup.dialect(Dialect.GOOGLE, {"name": "m", "supportedGenerationMethods": ["embedContent", "x"]}, "m"),
            ("fail", "m does not take generateContent; it takes embedContent, x", "another model with -m"),
        ),
    ],
)
def test_what_was_found_is_judged_and_said(check, said):
    assert judged(check) == said


@pytest.mark.parametrize(
    ("card", "model"),
    [
        (None, None),
        (None, "m"),
        ({"object": "list", "data": []}, None),  # OpenAI's list of models
        ({"models": {}}, None),
        ({"id": "m"}, "m"),
        ({"models": []}, "m"),
    ],
)
def test_what_is_no_gemini_is_told(card, model):
    assert judged(checkup.dialect(Dialect.GOOGLE, card, model)) == (
        "warn",
        "google; but that was no answer of a Gemini",
        "look at --base-url; or is something in between? batcher run … --limit 1 tries one row",
    )


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "apfs", "overlay", ""])
def test_a_local_file_system_is_no_news(kind):
    assert checkup.file_system("out", kind) is None


def a_checkup(*states):
    return Checkup(checks=tuple(Check(name="x", state=state, found="") for state in states))


@pytest.mark.parametrize(
    ("states", "verdict", "exit_code"),
    [
        ((State.OK, State.OK), "ready", Exit.DONE),
        ((State.OK, State.WARN), "ready, with 1 thing to know", Exit.DONE),
        ((State.WARN, State.WARN), "ready, with 2 things to know", Exit.DONE),
        ((State.WARN, State.FAIL), "not ready: 1 thing to mend", Exit.USAGE),
        ((State.FAIL, State.FAIL), "not ready: 2 things to mend", Exit.USAGE),
    ],
)
def test_one_failure_is_enough(states, verdict, exit_code):
    found = a_checkup(*states)

    assert (found.verdict, found.exit_code) == (verdict, exit_code)
