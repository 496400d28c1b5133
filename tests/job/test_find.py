from pathlib import Path

import pytest

from batcher.errors import JobError
from batcher.job.find import find_job, packaged_jobs


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("jobs/hello/job.toml", "jobs/nightly.toml"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("")
    return tmp_path


def refusal(path):
    with pytest.raises(JobError) as refused:
        find_job(Path(path))
    return refused.value


@pytest.mark.parametrize("path", ["jobs/hello/job.toml", "jobs/hello", "jobs/hello/"])
def test_a_file_or_its_folder(path):
    assert find_job(Path(path)) == Path("jobs/hello/job.toml")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("jobs/helo/job.toml", "No such job: jobs/helo/job.toml. Did you mean jobs/hello/job.toml?"),
        ("jobs/nightyl.toml", "No such job: jobs/nightyl.toml. Did you mean jobs/nightly.toml?"),
        ("jobs/helo", "No such job: jobs/helo. Did you mean jobs/hello?"),
        ("jobs", "No job.toml in jobs"),
        ("/no/where/at/all.toml", "No such job: /no/where/at/all.toml"),
    ],
)
def test_a_misspelt_job(path, said):
    assert refusal(path).message == said


def test_a_data_file_in_place_of_a_job():
    assert refusal("rows.jsonl").hint == "to ask the rows of a file: batcher run -i rows.jsonl -m MODEL -o OUT"


def test_a_packaged_job_goes_by_its_name():
    for name, file in packaged_jobs().items():
        assert file.name == "job.toml"
        assert find_job(Path(name)) == file


def test_what_lies_here_wins_over_what_is_packaged(here):
    for name in packaged_jobs():
        (here / name).mkdir()
        (here / name / "job.toml").write_text("")
        assert find_job(Path(name)) == Path(name) / "job.toml"
