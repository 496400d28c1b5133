import pytest

from batcher.cli.app import call
from batcher.errors import Exit
from batcher.reports.terminal import summary_lines
from tests.cli.engines import FakeEngine


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_it_asks_the_emulator_and_needs_no_key(capsys):
    engine = FakeEngine()

    assert call(["demo"], obj=engine) == 0

    job = engine.called["job"]
    assert job.name == "hello"
    assert job.endpoint.base_url.startswith("http://127.0.0.1:")
    assert (job.endpoint.provider, job.endpoint.dialect) == ("google", "google")
    assert str(engine.called["out"]) == job.output.dir == "out/demo"
    assert capsys.readouterr().out.splitlines()[-1] == summary_lines(engine.summary)[-1]


def test_the_environments_endpoint_is_not_asked(monkeypatch):
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "https://example.com")
    engine = FakeEngine()

    assert call(["demo", "-o", "elsewhere"], obj=engine) == 0
    assert engine.called["job"].endpoint.base_url.startswith("http://127.0.0.1:")
    assert str(engine.called["out"]) == "elsewhere"


def test_a_job_of_ones_own_writes_beside_where_it_would(here, monkeypatch):
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "https://example.com")
    (here / "rows.jsonl").write_text('{"prompt": "hi"}\n')
    (here / "job.toml").write_text(
        'name = "mine"\nmodel = "gemini-x"\n[input]\nfiles = ["rows.jsonl"]\n'
        '[endpoint]\nprovider = "visioncoder"\ntrust_env = true\nkey_file = "nowhere"\n'
        '[output]\nstate_dir = "state"\n'
    )
    engine = FakeEngine()

    assert call(["demo", "job.toml"], obj=engine) == 0

    job = engine.called["job"]
    assert (job.name, job.model, str(engine.called["out"])) == ("mine", "gemini-x", "out/mine.demo")
    assert job.endpoint.base_url.startswith("http://127.0.0.1:")
    assert job.endpoint.trust_env is False
    assert job.output.state_dir is None


def test_a_job_that_is_not_there(capsys):
    assert call(["demo", "nowhere.toml"], obj=FakeEngine()) == Exit.USAGE
    assert capsys.readouterr().err.splitlines() == ["error: No such job: nowhere.toml"]


def test_fresh_removes_a_run_and_nothing_else(here, capsys):
    run, other = here / "run", here / "other"
    run.mkdir()
    other.mkdir()
    (run / "run.json").write_text("{}")

    assert call(["demo", "--fresh", "-o", "run"], obj=FakeEngine()) == 0
    assert not run.exists()
    assert call(["demo", "--fresh", "-o", "other"], obj=FakeEngine()) == Exit.USAGE
    assert other.exists()
    assert "other: not a run directory, so it is not removed" in capsys.readouterr().err
