"""`batcher.run`: rows in, a `Run` out, on whatever thread and beside whatever loop."""

import asyncio
import gc
import os
import signal
import threading

import datasets
import pytest

import batcher
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.engine.progress import Phase
from batcher.errors import EndpointRefused, Exit, JobError, PlanChanged, RunLocked
from tests.api.runs import LATENCY_S, ROWS, an_emulator, slow_rows, to
from tests.media import a_picture
from tests.whole.runs import MODEL, column, manifest, sums, write_lines


@pytest.fixture(scope="module")
def shared():
    with an_emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared):
    shared.reset()
    return shared


@pytest.fixture(scope="module")
def slow():
    with an_emulator(LATENCY_S) as emulator:
        yield emulator


def test_rows_become_a_run_and_the_same_call_sends_nothing(emulator, tmp_path):
    rows = [{"id": "a", "prompt": "What is 6 * 7?"}, {"id": "b", "prompt": "What is 2 + 2?", "extra": [1]}]

    first = batcher.run(rows, **to(emulator, tmp_path / "out"))
    again = batcher.run(iter(rows), **to(emulator, tmp_path / "out"))

    assert first.to_arrow(["id", "response"]).to_pylist() == [
        {"id": "a", "response": "42"},
        {"id": "b", "response": "4"},
    ]
    assert (first.summary.exit_code, first.summary.sent, again.summary.sent) == (Exit.DONE, 2, 0)
    assert emulator.totals().requests == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [".state", ".tmp", "README.md", "_SUCCESS", "attempts", "data", "prices.json", "run.json"]
    )


def test_a_job_file_a_job_and_an_input_file_run_alike(emulator, tmp_path):
    write_lines(tmp_path / "rows.jsonl", sums(3))
    (tmp_path / "job.toml").write_text(f'model = "{MODEL}"\n[input]\nfiles = ["rows.jsonl"]\n')
    job = batcher.load_job(tmp_path / "job.toml", flags={}, sets=(), environ={}).job

    runs = [
        batcher.run(source, **to(emulator, tmp_path / name))
        for name, source in [("a", tmp_path / "job.toml"), ("b", job), ("c", tmp_path / "rows.jsonl")]
    ]

    assert {str(run.to_arrow(["id", "response", "cost_usd"]).to_pylist()) for run in runs} == {
        str(runs[0].to_arrow(["id", "response", "cost_usd"]).to_pylist())
    }
    assert [run.summary.rows for run in runs] == [3, 3, 3]


def test_pictures_in_rows_are_pictures_of_the_output(emulator, tmp_path):
    rows = [{"prompt": "?", "image": {"bytes": a_picture(), "path": None}}, {"prompt": "?", "image": None}]
    run = batcher.run(rows, **to(emulator, tmp_path / "out", set={"prompt.media_optional": True}))

    assert run.summary.exit_code == Exit.DONE
    assert run.to_arrow(["image"]).to_pylist() == [{"image": row["image"]} for row in rows]
    assert datasets.Features.from_arrow_schema(run.to_arrow().schema)["image"] == datasets.Image()


def test_rows_bring_media_by_paths_from_where_it_runs_and_a_data_set_brings_its_pictures(
    emulator, tmp_path, monkeypatch
):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "red.png").write_bytes(a_picture())
    monkeypatch.chdir(tmp_path / "here")
    held = [{"bytes": a_picture(colour="blue", kind="jpeg"), "path": "blue.jpg"}]
    features = datasets.Features({"prompt": datasets.Value("string"), "photo": datasets.Image()})
    photos = datasets.Dataset.from_dict({"prompt": ["?"], "photo": held}, features=features)

    by_path = batcher.run([{"prompt": "?", "image": "red.png"}], **to(emulator, tmp_path / "a"))
    by_bytes = batcher.run(photos, **to(emulator, tmp_path / "b", set={"prompt.media": ["photo"]}))

    assert [by_path.summary.exit_code, by_bytes.summary.exit_code] == [Exit.DONE, Exit.DONE]
    mimes = [entry.body["contents"][0]["parts"][0]["inline_data"]["mime_type"] for entry in emulator.journal]
    assert mimes == ["image/png", "image/jpeg"]
    assert by_bytes.to_arrow(["photo"]).to_pylist() == [{"photo": held[0]}]
    assert datasets.Features.from_arrow_schema(by_bytes.to_arrow().schema)["photo"] == datasets.Image()


def test_a_limit_runs_in_the_preview(emulator, tmp_path):
    run = batcher.run(sums(9), limit=2, **to(emulator, tmp_path / "out"))

    assert (run.path, run.to_arrow().num_rows) == (tmp_path / "out.preview", 2)
    assert run.summary.run_dir == f"{tmp_path}/out.preview"


def test_failed_rows_are_rows_and_no_exception(emulator, tmp_path):
    run = batcher.run([*sums(2), {"id": "x", "prompt": "[400] no"}, {"id": "y"}], **to(emulator, tmp_path / "out"))

    assert run.summary.exit_code is Exit.ROWS_FAILED
    assert run.failures.select(["id", "error_kind"]).to_pylist() == [
        {"id": "x", "error_kind": "bad_request"},
        {"id": "y", "error_kind": "bad_input"},
    ]
    assert run.attempts.num_rows == 3


def test_other_rows_do_not_fit_a_run_that_is_there(emulator, tmp_path):
    out = tmp_path / "out"
    batcher.run(sums(2), **to(emulator, out))
    before = sorted(path for path in out.rglob("*") if path.is_file())

    with pytest.raises(PlanChanged) as caught:
        batcher.run(sums(3), **to(emulator, out))

    assert caught.value.message == f"{out}: this run was planned for other rows"
    assert caught.value.hint.splitlines() == [
        f"to ask only what it has no answer for: give another out=, and reuse={str(out)!r}",
        f"to start afresh: give another out=, or remove {out}",
    ]
    assert sorted(path for path in out.rglob("*") if path.is_file()) == before
    assert emulator.totals().requests == 2


def test_what_does_not_fit_is_raised_and_leaves_nothing(emulator, tmp_path):
    with pytest.raises(JobError, match="column 'nope' not found in "):
        batcher.run(sums(2), template="{{ nope }}", **to(emulator, tmp_path / "out"))
    with pytest.raises(LookupError, match="mine"):
        batcher.run((row for row in [{"prompt": "a"}, *failing()]), **to(emulator, tmp_path / "out"))

    assert list(tmp_path.iterdir()) == []
    assert emulator.totals().requests == 0


def failing():
    yield {"prompt": "b"}
    raise LookupError("mine")


def test_a_refused_key_is_raised_and_names_whose_it_was(tmp_path):
    with Emulator(Settings(keys=("another-key",))).in_thread() as emulator, pytest.raises(EndpointRefused) as caught:
        batcher.run(sums(2), **to(emulator, tmp_path / "out"))

    assert "API key not valid" in caught.value.message
    assert caught.value.message.endswith("(asked with the key from key= (…3456))")
    assert caught.value.hint == f"batcher.open_run('{tmp_path}/out') has what was answered; the same call goes on"
    assert batcher.open_run(tmp_path / "out").summary.exit_code is Exit.REFUSED


def test_it_works_where_a_loop_runs_already(emulator, tmp_path):
    async def cell():
        return batcher.run(sums(3), **to(emulator, tmp_path / "out"))

    assert asyncio.run(cell()).summary.verdict == "done: 3 of 3 ok"


def test_two_runs_at_once_in_two_directories(slow, tmp_path):
    before = (gc.get_threshold(), gc.get_freeze_count())
    runs = {}

    def work(name):
        runs[name] = batcher.run(sums(20), **to(slow, tmp_path / name))

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [runs[name].to_arrow().num_rows for name in "ab"] == [20, 20]
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_a_directory_in_use_is_refused(slow, tmp_path):
    turned_away = []

    def second(snapshot):
        if not turned_away and snapshot.phase is Phase.ASKING:
            with pytest.raises(RunLocked) as caught:
                batcher.run(sums(20), **to(slow, tmp_path / "out"))
            turned_away.append(caught.value.pid)

    batcher.run(sums(20), **to(slow, tmp_path / "out", progress=second))
    assert turned_away == [os.getpid()]


class Interrupting:
    """A progress function that sends the process a signal once answers have come."""

    def __init__(self, number):
        self.number = number
        self.sent = False

    def __call__(self, snapshot):
        if snapshot.totals.done and not self.sent:
            self.sent = True
            signal.raise_signal(self.number)


@pytest.mark.parametrize("in_loop", [False, True])
@pytest.mark.parametrize(
    ("number", "raised", "code"),
    [(signal.SIGINT, KeyboardInterrupt, Exit.INTERRUPT), (signal.SIGTERM, SystemExit, Exit.TERMINATED)],
)
def test_a_signal_drains_and_ends_the_caller_as_it_would_have(slow, tmp_path, number, raised, code, in_loop):
    out = tmp_path / "out"
    slow.reset()
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    def call():
        return batcher.run(slow_rows(), **to(slow, out, progress=Interrupting(number)))

    async def cell():
        return call()

    with pytest.raises(raised) as caught:
        asyncio.run(cell()) if in_loop else call()

    done = batcher.open_run(out)
    sent = slow.totals().requests
    assert done.summary.exit_code is code
    assert done.summary.totals.done == sent < ROWS
    assert done.summary.totals.maybe_billed == 0
    said = f"stopped by {number.name}; {sent} of {ROWS} answers are safe on disk"
    assert caught.value.args == ((f"{said}; the same call goes on",) if raised is KeyboardInterrupt else (code,))
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers

    again = batcher.run(slow_rows(), **to(slow, out))
    assert (again.summary.sent, column(out, "task")) == (ROWS - sent, list(range(ROWS)))


def test_a_progress_function_that_breaks_ends_the_run_in_good_order(slow, tmp_path):
    def broken(snapshot):
        if snapshot.totals.done:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        batcher.run(slow_rows(), **to(slow, tmp_path / "out", progress=broken))
    assert manifest(tmp_path / "out")["summary"]["verdict"].startswith("stopped by its caller; ")


def test_progress_is_told_in_lines_on_stderr(emulator, tmp_path, capsys):
    batcher.run(sums(3), **to(emulator, tmp_path / "out", progress=True))

    said = capsys.readouterr()
    assert said.err.splitlines()[:3] == ["reading the input", "input: prompt, jsonl, 3 rows", "asking 3"]
    assert said.out == ""


def test_what_an_older_run_paid_for_is_taken_over(emulator, tmp_path):
    batcher.run(sums(3), **to(emulator, tmp_path / "old"))

    run = batcher.run([*sums(4), *sums(4)], reuse=tmp_path / "old", dedup=True, **to(emulator, tmp_path / "new"))

    assert (run.summary.sent, run.summary.totals.spared) == (1, 7)
    assert run.to_arrow().column("response").to_pylist() == ["0", "7", "14", "21"] * 2
    again = batcher.run(sums(4), reuse=[tmp_path / "old", str(tmp_path / "new")], **to(emulator, tmp_path / "again"))
    assert again.summary.sent == 0
