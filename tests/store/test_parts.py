from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from batcher.errors import StorageError
from batcher.money.totals import Totals
from batcher.records import Status
from batcher.store import parts
from batcher.store.bills import totals_of
from batcher.store.columns import data_columns, ledger_columns
from batcher.store.failpoints import FailPoints
from batcher.store.parts import Footer, PartBuilder, Stamp, read_footer, write_anchor
from batcher.store.rundir import RunDir
from batcher.store.schemas import ATTEMPTS
from tests.store.builders import SCHEMA, answered, asked, planned, terms

BLOCKS = 3
STAMP = Stamp(run_id="run-1", block=1, generation=1, digest="d1", first_task=0, tasks=4)
TOTALS = Totals(by_status={Status.OK: 4}, attempts=4, cost_usd=Decimal("0.000000000000001"))


@pytest.fixture
def rundir(tmp_path: Path) -> RunDir:
    made = RunDir.at(tmp_path / "out")
    made.make()
    return made


def a_slice(first: int, count: int, text: str = "yes") -> tuple[pa.RecordBatch, pa.RecordBatch, Totals]:
    tasks = [answered(task, text) for task in range(first, first + count)]
    outcomes, reads = [outcome for outcome, _ in tasks], asked(*(attempts for _, attempts in tasks))
    data = data_columns(planned(count, first=first), outcomes, reads, {}, SCHEMA, terms())
    return data, ledger_columns(reads, 1, terms()), totals_of(outcomes, reads)


def a_builder(rundir: RunDir, stamp: Stamp = STAMP) -> PartBuilder:
    return PartBuilder(rundir, stamp, SCHEMA, blocks=BLOCKS, failpoints=FailPoints())


def build(rundir: RunDir, stamp: Stamp = STAMP, text: str = "yes") -> None:
    builder = a_builder(rundir, stamp)
    for first in range(0, stamp.tasks, 2):
        data, ledger, _ = a_slice(first, 2, text)
        builder.add(data, ledger)
    builder.finish(TOTALS)


# --- the anchor


def test_the_anchor_has_the_schema_and_nothing_else(rundir):
    write_anchor(rundir, SCHEMA, BLOCKS, "run-1")
    meta = pq.read_metadata(rundir.part(0, BLOCKS))

    assert (meta.num_rows, meta.num_row_groups) == (0, 0)
    assert pq.read_schema(rundir.part(0, BLOCKS)).remove_metadata() == SCHEMA
    assert read_footer(rundir.part(0, BLOCKS)).stamp.run_id == "run-1"
    assert list(rundir.tmp.iterdir()) == []


def test_a_second_anchor_changes_nothing(rundir):
    write_anchor(rundir, SCHEMA, BLOCKS, "run-1")
    before = rundir.part(0, BLOCKS).read_bytes()
    write_anchor(rundir, SCHEMA, BLOCKS, "run-2")

    assert rundir.part(0, BLOCKS).read_bytes() == before


def test_an_anchor_alone_can_be_read(rundir):
    write_anchor(rundir, SCHEMA, BLOCKS, "run-1")

    assert ds.dataset(rundir.data).count_rows() == 0
    with duckdb.connect() as connection:
        assert connection.execute(f"select count(*) from '{rundir.data}/*.parquet'").fetchone() == (0,)


# --- a part


def test_a_part_and_its_ledger_appear_whole(rundir):
    builder = a_builder(rundir)
    for first in (0, 2):
        data, ledger, _ = a_slice(first, 2)
        builder.add(data, ledger)
        builder.flush()
        assert list(rundir.data.iterdir()) == list(rundir.attempts.iterdir()) == []
    builder.finish(TOTALS)

    assert list(rundir.tmp.iterdir()) == []
    assert rundir.parts() == (rundir.part(1, BLOCKS),)
    assert rundir.ledgers() == (rundir.ledger(1, 1),)
    part = pq.read_table(rundir.part(1, BLOCKS))
    assert part.column("task").to_pylist() == [0, 1, 2, 3]
    assert part.schema.remove_metadata() == SCHEMA
    assert pq.read_table(rundir.ledger(1, 1)).schema.remove_metadata() == ATTEMPTS
    assert pq.read_metadata(rundir.part(1, BLOCKS)).num_row_groups == 2


def test_what_is_abandoned_leaves_nothing(rundir):
    builder = a_builder(rundir)
    data, ledger, _ = a_slice(0, 2)
    builder.add(data, ledger)
    builder.flush()
    builder.abandon()

    for folder in (rundir.tmp, rundir.data, rundir.attempts):
        assert list(folder.iterdir()) == []


def test_a_footer_says_what_the_file_holds(rundir):
    build(rundir)

    for path in (rundir.part(1, BLOCKS), rundir.ledger(1, 1)):
        assert read_footer(path) == Footer(stamp=STAMP, totals=TOTALS, rows=4)


def test_it_is_compressed_and_repeating_words_have_a_dictionary(rundir):
    build(rundir)
    group = pq.read_metadata(rundir.part(1, BLOCKS)).row_group(0)
    columns = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}

    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert columns["status"].has_dictionary_page
    assert not columns["prompt"].has_dictionary_page


def test_anchor_and_parts_are_one_dataset(rundir):
    write_anchor(rundir, SCHEMA, BLOCKS, "run-1")
    build(rundir)

    assert ds.dataset(rundir.data).to_table().column("task").to_pylist() == [0, 1, 2, 3]
    with duckdb.connect() as connection:
        found = connection.execute(
            f"select status, count(*), sum(cost_usd) from '{rundir.data}/*.parquet' group by 1"
        ).fetchone()
    assert found is not None
    assert found[:2] == ("ok", 4)


def test_a_block_without_a_single_attempt_has_an_empty_ledger(rundir):
    builder = a_builder(rundir, replace(STAMP, tasks=2))
    data, ledger, _ = a_slice(0, 2)
    builder.add(data, ledger.slice(0, 0))
    builder.finish(TOTALS)

    assert read_footer(rundir.ledger(1, 1)).rows == 0


def test_it_says_when_a_row_group_has_gathered(rundir, monkeypatch):
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 10_000)
    builder = a_builder(rundir)
    assert not builder.heavy
    data, ledger, _ = a_slice(0, 4, "x" * 5_000)
    builder.add(data, ledger)
    assert builder.heavy
    builder.flush()
    assert not builder.heavy
    builder.finish(TOTALS)


# --- damage


def test_a_flipped_byte_in_a_page_is_found(rundir):
    """What a reader without page checksums would take for other data."""
    build(rundir, text="the same answer " * 50)
    path = rundir.part(1, BLOCKS)
    whole = path.read_bytes()
    group = pq.read_metadata(path).row_group(0)
    pages = [group.column(number) for number in range(group.num_columns)]
    starts = [page.dictionary_page_offset or page.data_page_offset for page in pages]
    # The last bytes of a column are page data; the page headers are not under the checksum.
    places = [start + page.total_compressed_size - 3 for start, page in zip(starts, pages, strict=True)]
    assert len(places) > 40
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises((OSError, pa.ArrowException)):
            pq.read_table(path, page_checksum_verification=True)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all, and longer than a footer", None])
def test_what_is_no_part_of_ours_is_said(content, rundir):
    path = rundir.part(1, BLOCKS)
    if content is None:
        pq.write_table(pa.table({"a": [1]}), path)
    else:
        path.write_bytes(content)

    with pytest.raises(StorageError, match="not a whole part of a run"):
        read_footer(path)


def test_a_missing_part_is_said(rundir):
    with pytest.raises(StorageError, match="not a whole part of a run"):
        read_footer(rundir.part(1, BLOCKS))


def test_a_part_cut_short_is_said(rundir):
    build(rundir)
    path = rundir.part(1, BLOCKS)
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(StorageError, match="not a whole part of a run"):
        read_footer(path)


@pytest.mark.parametrize("rows", [2, 6])
def test_a_part_of_too_few_or_too_many_rows_is_not_published(rows, rundir):
    builder = a_builder(rundir)
    data, ledger, _ = a_slice(0, rows)
    builder.add(data, ledger)

    with pytest.raises(StorageError, match=f"read back {rows} rows of 4 tasks"):
        builder.finish(TOTALS)
    assert list(rundir.data.iterdir()) == list(rundir.attempts.iterdir()) == []


# --- again


def test_building_the_same_block_again_changes_nothing(rundir):
    """Killed between publishing and the journal's mark, the next session does it all again."""
    build(rundir)
    before = [path.stat().st_ino for path in (rundir.part(1, BLOCKS), rundir.ledger(1, 1))]
    rundir.clear_tmp()
    build(rundir)

    assert [path.stat().st_ino for path in (rundir.part(1, BLOCKS), rundir.ledger(1, 1))] == before
    assert list(rundir.tmp.iterdir()) == []


def test_killed_between_ledger_and_part_the_part_follows(rundir):
    build(rundir)
    rundir.part(1, BLOCKS).unlink()
    build(rundir)

    assert read_footer(rundir.part(1, BLOCKS)).rows == 4


@pytest.mark.parametrize(
    "other",
    [
        replace(STAMP, run_id="run-2"),
        replace(STAMP, digest="d2"),
        replace(STAMP, first_task=4),
        replace(STAMP, run_id="run-2", generation=2),
    ],
)
def test_a_foreign_file_of_the_same_name_is_left_alone(other, rundir):
    build(rundir, other)
    rundir.ledger(1, other.generation).unlink()
    before = rundir.part(1, BLOCKS).read_bytes()

    with pytest.raises(StorageError, match=rf"holds block 1, generation {other.generation} of run {other.run_id}"):
        build(rundir)
    assert rundir.part(1, BLOCKS).read_bytes() == before


def test_a_foreign_ledger_is_left_alone_and_no_part_follows(rundir):
    build(rundir, replace(STAMP, run_id="run-2"))
    rundir.part(1, BLOCKS).unlink()

    with pytest.raises(StorageError, match="of run run-2"):
        build(rundir)
    assert list(rundir.data.iterdir()) == []


def test_a_newer_generation_replaces_the_part_and_adds_a_ledger(rundir):
    build(rundir)
    build(rundir, replace(STAMP, generation=2, digest="d2"), text="better")

    assert pq.read_table(rundir.part(1, BLOCKS)).column("response").to_pylist() == ["better"] * 4
    assert read_footer(rundir.part(1, BLOCKS)).stamp.generation == 2
    assert rundir.ledgers() == (rundir.ledger(1, 1), rundir.ledger(1, 2))
    assert list(rundir.tmp.iterdir()) == []


def test_an_older_generation_never_replaces_a_newer_one(rundir):
    build(rundir, replace(STAMP, generation=2), text="newer")

    with pytest.raises(StorageError, match="holds block 1, generation 2"):
        build(rundir)
    assert pq.read_table(rundir.part(1, BLOCKS)).column("response").to_pylist() == ["newer"] * 4
