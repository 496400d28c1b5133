"""A `Run` is its directory: read when asked, finished or not, and shown in one line or as HTML."""

import dataclasses
import shutil
from decimal import Decimal

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import batcher
from batcher.api.result import _needed
from batcher.emulator.settings import Latency
from batcher.engine.progress import Phase
from batcher.errors import Exit, PlanChanged, StorageError, UserError
from batcher.reports.terminal import cost
from batcher.store.rundir import RunDir
from tests.api.runs import an_emulator, to
from tests.whole.runs import emulator_settings, manifest, sums

ROWS = [*sums(3), {"id": "x", "prompt": "[400] no"}, {"id": "y", "prompt": "[blocked] no"}, {"id": "z"}]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with an_emulator() as emulator:
        return batcher.run(ROWS, **to(emulator, tmp_path_factory.mktemp("result") / "out", labels={"team": "red"}))


def test_it_is_a_value(run):
    opened = batcher.open_run(str(run.path))
    assert opened.path == run.path
    for name in ("verdict", "exit_code", "run_dir", "rows", "tasks", "totals", "sent", "notes"):
        assert getattr(opened.summary, name) == getattr(run.summary, name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.path = None
    assert repr(run) == f"<Run {run.path}: done: 3 of 6 ok, 1 blocked, 2 failed, {cost(run.summary.totals)}>"


def test_its_tables_are_the_same_everywhere(run):
    table, frame, other = run.to_arrow(), run.to_pandas(), run.to_polars()

    assert (type(frame), type(other)) == (pd.DataFrame, pl.DataFrame)
    assert table.schema.names == list(frame.columns) == other.columns
    assert table["id"].to_pylist() == list(frame["id"]) == other["id"].to_list() == [row["id"] for row in ROWS]
    assert sum(frame["cost_usd"]) == other["cost_usd"].sum() == run.summary.totals.cost_usd
    assert isinstance(frame["cost_usd"].iloc[0], Decimal)
    assert run.to_pandas(["status"]).columns.tolist() == run.to_polars(("status",)).columns == ["status"]


def test_failures_and_attempts(run):
    assert run.failures["id"].to_pylist() == ["x", "z"]
    assert run.failures.schema == run.to_arrow().schema
    assert run.attempts["task"].to_pylist() == [0, 1, 2, 3, 4]


def test_columns_that_are_not_there(run):
    with pytest.raises(UserError) as caught:
        run.to_arrow(["id", "nope"])
    assert caught.value.message == "columns: no 'nope' in this run"
    assert caught.value.hint.startswith("it has task, ordinal, sample, id, prompt, status")
    with pytest.raises(UserError, match="columns: found 'id', wanted a list of names"):
        run.to_arrow("id")


def test_a_library_that_is_missing_is_named_with_its_command():
    with pytest.raises(UserError) as caught:
        _needed("a_frame_library")
    assert caught.value.message == "a_frame_library is not installed; run.to_arrow() needs nothing more"
    assert caught.value.hint == "pip install a_frame_library"


def test_a_folder_that_is_no_run_and_a_part_that_is_gone(run, tmp_path):
    with pytest.raises(PlanChanged, match="not a run directory"):
        batcher.open_run(tmp_path)
    shutil.copytree(run.path, tmp_path / "copy")
    for part in (tmp_path / "copy" / "data").iterdir():
        part.write_bytes(b"rotten")
    with pytest.raises(StorageError, match="not the files of a run"):
        batcher.open_run(tmp_path / "copy").to_arrow()


def test_notes_are_remembered(tmp_path):
    with an_emulator() as emulator:
        run = batcher.run(sums(2), **to(emulator, tmp_path / "out", model="gemini-unheard-of"))

    assert run.summary.notes[0].startswith("price unknown for gemini-unheard-of")
    assert batcher.open_run(run.path).summary.notes == run.summary.notes
    assert repr(run).endswith(": done: 2 of 2 ok, price unknown>")


def test_a_run_that_goes_on_elsewhere_is_shown_as_far_as_it_is(tmp_path):
    seen = []

    def look(snapshot):
        if snapshot.phase is Phase.ASKING:
            live = batcher.open_run(tmp_path / "out")
            seen.append((live, live.to_arrow().num_rows, live._repr_html_()))

    with batcher.Emulator(emulator_settings(latency=Latency.fixed(0.02))).in_thread() as emulator:
        batcher.run(sums(20), **to(emulator, tmp_path / "out", progress=look))

    live, rows, html = seen[0]
    assert (live.summary.exit_code, live.summary.tasks) == (Exit.STOPPED, 20)
    assert live.summary.verdict in {"planning: 0 of 20 so far", "asking: 0 of 20 so far"}
    assert (rows, "not finished" in html) == (0, True)


def test_a_run_that_was_planned_and_killed(tmp_path):
    with an_emulator() as emulator:
        run = batcher.run(sums(2), **to(emulator, tmp_path / "out"))
    content = manifest(run.path)
    del content["summary"]
    RunDir.at(run.path).write_manifest(content)

    killed = batcher.open_run(run.path)

    assert killed.summary.verdict == "not finished: 0 of 2 when it was last heard of"
    assert killed.summary.exit_code is Exit.STOPPED


def test_attempts_of_a_run_without_any(tmp_path):
    with an_emulator() as emulator:
        run = batcher.run([], **to(emulator, tmp_path / "out"))

    assert run.attempts.num_rows == run.to_arrow().num_rows == 0
    assert isinstance(run.attempts, pa.Table)
