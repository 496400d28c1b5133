import json

import pytest

from batcher.cli.app import call
from tests.cli.engines import FakeEngine
from tests.reports.test_status import Seen

ROWS = [
    {"id": f"r{n}", "status": "failed" if n % 5 == 0 else "ok", "prompt": f"p{n}", "response": f"a{n}"}
    for n in range(20)
]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()


def ids(capsys):
    return [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("r")]


def test_status(capsys):
    assert call(["status", "out"], obj=FakeEngine(seen=Seen())) == 0
    assert capsys.readouterr().out.splitlines()[0] == "out/he: asking"


def test_status_as_json(capsys):
    assert call(["status", "out", "--json"], obj=FakeEngine(seen=Seen())) == 0
    assert json.loads(capsys.readouterr().out)["pid"] == 4711


def test_show_prints_the_last_rows(capsys):
    assert call(["show", "out", "-n", "2"], obj=FakeEngine(rows=ROWS)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "r18  ok",
        "  > p18",
        "    a18",
        "",
        "r19  ok",
        "  > p19",
        "    a19",
    ]


def test_show_prints_five_unless_told(capsys):
    assert call(["show", "out"], obj=FakeEngine(rows=ROWS)) == 0
    assert ids(capsys) == ["r15", "r16", "r17", "r18", "r19"]


def test_show_failed(capsys):
    assert call(["show", "out", "--failed", "-n", "3"], obj=FakeEngine(rows=ROWS)) == 0
    assert ids(capsys) == ["r5", "r10", "r15"]


def test_show_as_json(capsys):
    assert call(["show", "out", "--json", "-n", "1"], obj=FakeEngine(rows=ROWS)) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": ROWS[-1:]}


def test_nothing_to_show(capsys):
    assert call(["show", "out"], obj=FakeEngine()) == 0
    assert capsys.readouterr().out == "no such rows\n"
