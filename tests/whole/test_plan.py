"""`plan` and `run --show` as a person meets them: what they say, and that a plan sends and opens nothing."""

import io
import json
import os
import re
import subprocess
import sys
from decimal import Decimal

import pytest

from batcher.errors import Exit
from tests.whole.console import KEY, MODEL, batcher_against

INPUT = ("-i", "p.jsonl", "-m", MODEL, "-o", "out/a")
ROWS = b"".join(b'{"id": "q%d", "prompt": "What is %d + 2?"}\n' % (n, n) for n in range(30))


@pytest.fixture(autouse=True)
def here(home):
    (home / "p.jsonl").write_bytes(ROWS)
    return home


@pytest.fixture
def batcher(endpoint, capfd):
    return batcher_against(endpoint, capfd)


def test_a_plan_opens_no_socket_and_writes_no_file(here):
    """The interpreter itself tells of every socket, and of every file that is opened for writing."""
    code = f"""
import os, sys, tempfile
from batcher.cli.app import call
seen = []
temporary = tempfile.gettempdir()
def hook(event, args):
    if event.startswith("socket."):
        seen.append(event)
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append(f"open {{args[0]}}")
    elif event == "os.mkdir" and not str(args[0]).startswith(temporary):
        seen.append(f"mkdir {{args[0]}}")
sys.addaudithook(hook)
code = call(["plan", *{list(INPUT)!r}, "--json"])
print("SEEN", seen, code, "aiohttp" in sys.modules, file=sys.stderr)
"""
    environ = os.environ | {"TMPDIR": str(here.parent)}
    before = sorted(here.rglob("*"))

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ, cwd=here
    )

    assert done.stderr.splitlines()[-1].startswith("SEEN [] 0 ")
    assert json.loads(done.stdout)["requests"] == 30
    assert sorted(here.rglob("*")) == before


def test_a_plan_needs_no_key_and_sends_nothing(batcher, monkeypatch):
    monkeypatch.delenv("GEMINI_API_KEY")

    said = batcher("plan", *INPUT)

    assert (said.exit_code, said.sent, said.err) == (0, 0, "")
    assert said.verdict.startswith(f"a: 30 requests to {MODEL}, about $")
    assert said.out.splitlines()[-1] == f"  next  batcher run -i p.jsonl -m {MODEL} -o out/a --limit 5 --show"


def test_where_settings_come_from(batcher, here, endpoint):
    (here / "job.toml").write_text(
        f'name = "j"\nmodel = "{MODEL}"\n\n[input]\nfiles = ["p.jsonl"]\n\n[limits]\nrequests_per_minute = 60\n'
    )

    said = batcher("plan", "job.toml", "--tpm", "1e6")

    lines = [line.split() for line in said.out.splitlines()]
    assert ["limits.requests_per_minute", "60.0", "job.toml:8"] in lines
    assert ["limits.input_tokens_per_minute", "1000000.0", "flag", "--tpm"] in lines
    assert ["endpoint.base_url", f'"{endpoint.url}"', "env", "GOOGLE_GEMINI_BASE_URL"] in lines
    assert ["requests/min", "←", "60", "60", "a", "minute"] in lines


def test_a_plan_of_a_run_that_is_done(batcher):
    assert batcher("run", *INPUT).exit_code == Exit.DONE

    said = batcher("plan", *INPUT)

    assert (said.exit_code, said.sent, said.verdict) == (0, 0, "a: nothing to ask; run sends nothing")
    assert "30 done for $" in said.out
    assert "0 left (done: 30 of 30 ok)" in said.out


@pytest.mark.parametrize(
    ("argv", "refusal"),
    [
        (("plan", "nowhere.toml"), ["error: No such job: nowhere.toml"]),
        (("plan", "-i", "x.jsonl", "-m", MODEL), ["error: x.jsonl: no such file; did you mean p.jsonl?"]),
        (
            ("plan", *INPUT, "--template", "{{ promt }}"),
            [
                "error: [prompt] template: column 'promt' not found in p.jsonl; did you mean 'prompt'?",
                "  its columns: id, prompt",
            ],
        ),
        (
            ("plan", *INPUT, "--rpm", "0"),
            ["error: flag --rpm: [limits] requests_per_minute: found 0.0, wanted more than 0"],
        ),
    ],
)
def test_what_a_plan_refuses(batcher, here, argv, refusal):
    before = sorted(here.rglob("*"))

    said = batcher(*argv)

    assert (said.exit_code, said.sent, said.out, said.refusal) == (Exit.USAGE, 0, "", refusal)
    assert sorted(here.rglob("*")) == before


def test_a_preview_shows_its_rows_and_what_all_of_them_come_to(batcher):
    said = batcher("run", *INPUT, "--limit", "2", "--show")

    lines = said.out.splitlines()
    assert (said.exit_code, said.sent) == (0, 2)
    assert re.fullmatch(r"q0  ok · 4 in, \d+ out · \$0\.0000\d+", lines[1])
    assert lines[2:5] == ["  > What is 0 + 2?", "    2", ""]
    assert lines[5].startswith("q1  ok · ")
    (full,) = [line for line in lines if line.startswith("full run ~ $")]
    assert " (the 28 rows left of 30; $" in full
    assert "done: 2 of 2 ok" in lines
    assert lines[-1] == f"  next      batcher run -i p.jsonl -m {MODEL} -o out/a"


def test_a_preview_as_json(batcher):
    document = json.loads(batcher("run", *INPUT, "--limit=2", "--show", "--json").out)

    assert (document["verdict"], document["rows"]) == ("done: 2 of 2 ok", 2)
    assert [(row["id"], row["prompt"], row["response"]) for row in document["shown"]] == [
        ("q0", "What is 0 + 2?", "2"),
        ("q1", "What is 1 + 2?", "3"),
    ]
    assert sum(Decimal(row["cost_usd"]) for row in document["shown"]) == Decimal(document["cost_usd"])
    assert (document["full_run"]["requests"], document["full_run"]["spared"]) == (28, 2)
    assert document["full_run"]["next_command"] == f"batcher run -i p.jsonl -m {MODEL} -o out/a --json"


def test_the_full_run_is_within_what_its_preview_said(batcher):
    preview = json.loads(batcher("run", *INPUT, "--limit", "10", "--show", "--json").out)
    run = json.loads(batcher("run", *INPUT, "--json").out)

    cost = preview["full_run"]["cost_usd"]
    assert float(cost["low"]) <= float(run["cost_usd"]) <= float(cost["high"])


def test_a_pipe_is_planned_and_a_preview_of_one_says_that_it_knows_no_more(batcher, here, monkeypatch):
    """Standard input can be read once: what is behind the first rows, the preview did not keep."""
    argv = ("-i", "-", "-m", MODEL, "-o", "out/piped")

    def piped():
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(ROWS)))

    piped()
    plan = batcher("plan", *argv)
    piped()
    preview = batcher("run", *argv, "--limit", "2", "--show")

    assert plan.verdict.startswith("piped: 30 requests to ")
    assert not (here / "out/piped").exists()
    assert "full run ~" not in preview.out
    assert "note: of the full run nothing is known: standard input was read once" in preview.err


def test_a_plan_of_another_input_is_refused_as_run_refuses_it(batcher, here):
    assert batcher("run", *INPUT).exit_code == Exit.DONE
    (here / "q.jsonl").write_bytes(ROWS)
    argv = ("-i", "q.jsonl", *INPUT[2:])

    assert batcher("plan", *argv).refusal == batcher("run", *argv).refusal != []


def test_without_a_limit_the_first_rows_are_shown(batcher):
    said = batcher("run", *INPUT, "--show")

    assert [line.split()[0] for line in said.out.splitlines() if line.startswith("q")] == [f"q{n}" for n in range(5)]
    assert "full run" not in said.out


def test_a_full_run_that_would_be_refused_is_a_note(batcher):
    assert batcher("run", *INPUT, "--temperature", "0.5").exit_code == Exit.DONE

    said = batcher("run", *INPUT, "--limit", "1", "--show")

    assert said.exit_code == Exit.DONE
    assert "note: of the full run: out/a: this run was planned for another job" in said.err.splitlines()
    assert "full run ~" not in said.out


def test_the_doctor_finds_this_machine_ready(batcher):
    said = batcher("doctor", "-m", MODEL, "--json")

    document = json.loads(said.out)
    states = {check["name"]: check["state"] for check in document["checks"]}
    assert (said.exit_code, document["exit_code"]) == (0, 0)
    assert (states["key"], states["endpoint"], states["models"], states["emulator"]) == ("ok",) * 4
    assert KEY not in said.out + said.err


def test_the_doctor_of_a_job_that_is_wrong_says_what_run_would_say(batcher):
    said = batcher("doctor", "nowhere.toml")

    assert (said.exit_code, said.refusal, said.sent) == (Exit.USAGE, ["error: No such job: nowhere.toml"], 0)


def test_the_doctor_without_a_key_is_not_ready(batcher, monkeypatch):
    monkeypatch.delenv("GEMINI_API_KEY")

    said = batcher("doctor", "--offline")

    assert (said.exit_code, said.sent) == (Exit.USAGE, 0)
    assert said.verdict == "not ready: 1 thing to mend"
    assert "→ export GEMINI_API_KEY=…, or set key_file in [endpoint]" in said.out
