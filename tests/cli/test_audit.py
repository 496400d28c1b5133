import json

import pytest

from batcher.cli.app import call
from tests.cli.engines import FakeEngine
from tests.reports.test_audit import BAD, GOOD


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()


def test_what_is_proved_is_exit_code_0(capsys):
    assert call(["audit", "out"], obj=FakeEngine(audited=GOOD)) == 0
    assert capsys.readouterr().out.splitlines()[0] == "proved: 1,200 of 1,200 tasks in 2 parts"


def test_what_is_wrong_is_exit_code_6(capsys):
    assert call(["audit", "out"], obj=FakeEngine(audited=BAD)) == 6
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "  next      batcher recover out/he"
    assert said.err == ""


def test_json_is_one_document_with_the_same_exit_code(capsys):
    assert call(["audit", "out", "--json"], obj=FakeEngine(audited=BAD)) == 6
    said = json.loads(capsys.readouterr().out)
    assert (said["exit_code"], len(said["findings"])) == (6, 2)


def test_no_run_directory_is_exit_code_2(capsys):
    assert call(["audit", "out"]) == 2
    assert capsys.readouterr().err == (
        "error: out: not a run directory (it has no run.json)\n  batcher run JOB.toml -o OUT\n"
    )
    assert call(["audit", "nowhere"]) == 2
