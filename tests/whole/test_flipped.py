"""A bit that has changed in a part: whoever reads its answers says so, and nobody takes them for answers."""

import shutil

import pyarrow.parquet as pq
import pytest

import batcher
from batcher.datasets.selection import read_rows
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.engine.status import read_last
from batcher.errors import Exit, StorageError
from batcher.reports.answers import first_rows
from batcher.store.rundir import RunDir
from tests.whole.runs import a_job, call, run, sums, write_lines

COLUMN = "response"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flipped")
    with Emulator(Settings(seed=7)).in_thread() as emulator:
        run(a_job(emulator.url, write_lines(folder / "rows.jsonl", sums(40))), folder / "out")
    return folder / "out"


def flip(part, column):
    """Change a bit near the end of a column's pages; their headers come before, and are under no checksum."""
    group = pq.read_metadata(part).row_group(0)
    chunk = next(group.column(at) for at in range(group.num_columns) if group.column(at).path_in_schema == column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    place = start + chunk.total_compressed_size - 3
    content = bytearray(part.read_bytes())
    content[place] ^= 4
    part.write_bytes(content)


@pytest.fixture
def out(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    flip(RunDir.at(tmp_path / "out").part(1, 1), COLUMN)
    (tmp_path / "out" / ".state" / "status.json").unlink(missing_ok=True)  # or the last rows are told by it
    return tmp_path / "out"


READERS = {
    "export": lambda out: list(read_rows(RunDir.at(out).part(1, 1), [COLUMN])),
    "show": lambda out: read_last(out, 5),
    "notebook": lambda out: first_rows(out, 5),
    "arrow": lambda out: batcher.open_run(out).to_arrow(),
    "pandas": lambda out: batcher.open_run(out).to_pandas([COLUMN]),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_flipped_bit_is_no_answer(reader, out):
    with pytest.raises(StorageError) as caught:
        READERS[reader](out)
    assert str(out) in caught.value.message
    assert caught.value.hint == f"batcher recover {out}"


@pytest.mark.parametrize("reader", READERS)
def test_columns_that_are_whole_are_read(reader, whole):
    assert len(READERS[reader](whole)) in {1, 5, 40}


def test_what_is_not_read_is_not_missed(out):
    assert batcher.open_run(out).to_arrow(["id", "status"]).num_rows == 40


def test_a_flipped_bit_in_the_ledger_is_found(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    flip(RunDir.at(tmp_path / "out").ledgers()[0], "model")
    with pytest.raises(StorageError, match="not the files of a run"):
        _ = batcher.open_run(tmp_path / "out").attempts


def test_export_ends_with_6_and_says_what_to_type_and_that_mends_it(out, tmp_path):
    done = call("export", out, "--to", "csv", "-o", tmp_path / "a.csv")
    assert done.returncode == Exit.STORAGE
    assert "not a whole part of a run" in done.stderr
    assert done.stderr.splitlines()[-1] == f"  batcher recover {out}"
    assert not (tmp_path / "a.csv").exists()
    assert call("recover", out, "--yes").returncode == 0
    assert call("export", out, "--to", "csv", "-o", tmp_path / "a.csv").returncode == 0
