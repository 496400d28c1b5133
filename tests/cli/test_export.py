import json
from pathlib import Path

import pytest

from batcher.cli.app import call
from batcher.datasets.order import Exported, Format, Order
from batcher.errors import RunLocked
from tests.cli.engines import FakeEngine

DONE = Exported(
    to=Format.CSV,
    target="rows.csv",
    written=18,
    tasks=20,
    left_out={"failed": 2},
    open=0,
    running=False,
    size_bytes=100,
    notes=("a note",),
)
JOB = """
model = "gemini-2.5-flash"
[input]
files = ["rows.jsonl"]
"""


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "job.toml").write_text(JOB)


def export(*argv, **given):
    engine = FakeEngine(exported=DONE, **given)
    return call(["export", *argv], obj=engine), engine.called


def test_flags_become_the_order(capsys):
    code, called = export(
        *("out", "--to", "csv", "-o", "rows.csv", "--status", "ok", "--status", "failed"),
        *("--columns", "id, cost_usd,id", "--where", "lang=de", "--where", "a=b=c", "--force"),
    )
    assert code == 0
    assert called["out"] == Path("out")
    assert called["order"] == Order(
        to=Format.CSV,
        target=Path("rows.csv"),
        statuses=frozenset({"ok", "failed"}),
        columns=("id", "cost_usd"),
        where={"lang": "de", "a": "b=c"},
        force=True,
    )
    assert capsys.readouterr().out.splitlines()[0] == "exported 18 of 20: 2 failed left out"


def test_unless_told_the_format_chooses():
    _, called = export("out", "--to", "openai-sft", "-o", "a.jsonl")
    assert called["order"] == Order(to=Format.OPENAI_SFT, target=Path("a.jsonl"))


def test_every_candidate_is_asked_for_by_name():
    _, called = export("out", "--to", "trl-sft", "-o", "a.jsonl", "--candidates", "all")
    assert called["order"] == Order(to=Format.TRL_SFT, target=Path("a.jsonl"), every_candidate=True)


@pytest.mark.parametrize(
    ("to", "statuses"),
    [
        ("csv", {"ok", "blocked", "truncated", "invalid", "failed"}),
        ("gemini-batch", {"ok", "blocked", "truncated", "invalid", "failed", "open"}),
    ],
)
def test_all_are_all_that_the_format_can_have(to, statuses):
    _, called = export("out", "--to", to, "-o", "a.jsonl", "--status", "all")
    assert called["order"].statuses == statuses


def test_as_json(capsys):
    export("out", "--to", "csv", "-o", "rows.csv", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["exported"], found["left_out"], found["notes"]) == (18, {"failed": 2}, ["a note"])


def test_standard_output_is_for_the_data_alone(capsys):
    engine = FakeEngine(exported=Exported(**{name: getattr(DONE, name) for name in DONE.__slots__} | {"target": "-"}))
    assert call(["export", "out", "--to", "csv", "-o", "-"], obj=engine) == 0
    assert engine.called["order"].target is None
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == ["exported 18 of 20: 2 failed left out", "note: a note"]


def test_a_job_file_gives_its_requests():
    _, called = export("job.toml", "--to", "gemini-batch", "-o", "b.jsonl")
    assert called["job"].model == "gemini-2.5-flash"


def test_a_run_that_is_under_way_says_how_far_it_is(capsys):
    call(["export", "out", "--to", "csv", "-o", "rows.csv", "-q"], obj=FakeEngine(exported=DONE))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["job.toml", "--to", "csv", "-o", "a.csv"],
            (
                "error: job.toml: is a file; csv wants a run directory with answers in it\n"
                "  batcher run job.toml, then batcher export OUT --to csv\n"
            ),
        ),
        (
            ["out", "--to", "csv", "-o", "-", "--json"],
            None,
        ),
        (
            ["out", "--to", "csv", "-o", "a.csv", "--where", "lang"],
            "error: invalid value for '--where': found 'lang', wanted COLUMN=VALUE\n  batcher export --help\n",
        ),
        (["out", "--to", "csv"], "error: missing option '-o' / '--out'.\n  batcher export --help\n"),
    ],
)
def test_what_is_refused(argv, said, capsys):
    assert export(*argv)[0] == 2
    shown = capsys.readouterr()
    if said is None:
        assert json.loads(shown.out)["error"]["message"] == (
            "--json and -o - both want standard output; wanted one of the two"
        )
    else:
        assert shown.err == said


def test_an_unknown_format_names_the_known_ones(capsys):
    assert export("out", "--to", "alpaca", "-o", "a.jsonl")[0] == 2
    assert "'alpaca' is not one of 'trl-sft', 'openai-sft'" in capsys.readouterr().err


def test_the_engines_errors_are_exit_codes(capsys):
    assert export("out", "--to", "csv", "-o", "a.csv", error=RunLocked("out: in use"))[0] == 7
    assert capsys.readouterr().err.startswith("error: out: in use")
