from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.errors import StorageError
from batcher.records import Problem, Request
from batcher.store.blockfile import BlockFile, BlockWriter, Planned, read_ids, schema_of, slice_of
from tests.builders import a_row
from tests.store.builders import NO_COLUMNS, planned
from tests.strategies import int64s, texts

USER = pa.schema(
    [
        ("flag", pa.bool_()),
        ("small", pa.int8()),
        ("count", pa.int64()),
        ("score", pa.float64()),
        ("text", pa.large_string()),
        ("bytes", pa.large_binary()),
        ("price", pa.decimal128(20, 5)),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("tags", pa.list_(pa.string())),
        ("meta", pa.struct([("a", pa.int64()), ("b", pa.list_(pa.struct([("c", pa.string())])))])),
        ("kind", pa.dictionary(pa.int32(), pa.string())),
        ("nothing", pa.null()),
    ]
)
FULL: dict[str, Any] = {
    "flag": True,
    "small": -7,
    "count": 2**62,
    "score": 0.1,
    "text": "größer\u2028\x00",
    "bytes": b"\xff\x00",
    "price": Decimal("1.50000"),
    "day": dt.date(2026, 1, 2),
    "at": dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
    "tags": ["a", None],
    "meta": {"a": None, "b": [{"c": "x"}, None]},
    "kind": "k",
    "nothing": None,
}
EMPTY = dict.fromkeys(FULL)

requests = st.builds(
    Request,
    body=st.binary(max_size=50),
    model=texts,
    prompt=st.none() | texts,
    request_hash=st.binary(min_size=16, max_size=16),
    estimated_tokens=int64s,
    input_bound=int64s,
    output_bound=int64s,
)
problems = st.builds(Problem, kind=st.sampled_from(["bad_input", "bad_template", "too_large"]), message=texts)


def write(path: Path, *slices: pa.RecordBatch) -> str:
    writer = BlockWriter(path, slices[0].schema)
    for batch in slices:
        writer.write(batch)
    return writer.finish()


def write_many(writer: BlockWriter, batch: pa.RecordBatch, *, times: int) -> None:
    for _ in range(times):
        writer.write(batch)


def nothing_beside(count: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{}] * count, schema=NO_COLUMNS)


@settings(max_examples=50)
@given(made=st.lists(requests | problems, min_size=1, max_size=8))
def test_what_was_planned_is_what_is_asked(made: list[Request | Problem], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("blocks") / "00001.arrow"
    rows = [a_row(ordinal) for ordinal in range(len(made))]
    digest = write(path, slice_of(rows, made, nothing_beside(len(made)), schema_of(NO_COLUMNS)))
    file = BlockFile(path, digest=digest)

    assert file.planned(0) == [
        Planned(ordinal=ordinal, request=item, problem=None)
        if isinstance(item, Request)
        else Planned(ordinal=ordinal, request=None, problem=item)
        for ordinal, item in enumerate(made)
    ]
    file.close()


TO_SEAL = ["ordinal", "id", "prompt", "model", "request_hash", "user"]
"""What a seal reads: the bodies are not among it, whatever pictures are in them."""


def test_every_slice_comes_back_in_order(tmp_path):
    path = tmp_path / "00001.arrow"
    slices = [planned(3, first=10), planned(2, first=13, problems=[14])]
    file = BlockFile(path, digest=write(path, *slices))

    assert file.slices == 2
    assert list(file.batches()) == [one.select(TO_SEAL) for one in slices]
    assert file.batch(1) == slices[1].select(TO_SEAL)
    assert [row.ordinal for number in range(2) for row in file.planned(number)] == [10, 11, 12, 13, 14]
    file.close()


@pytest.mark.parametrize("values", [[FULL, EMPTY], [EMPTY], [FULL] * 3])
def test_the_users_columns_of_every_type_come_back(values, tmp_path):
    path = tmp_path / "00001.arrow"
    user = pa.RecordBatch.from_pylist(values, schema=USER)
    batch = planned(len(values), user=user)
    file = BlockFile(path, digest=write(path, batch))
    back = file.batch(0)
    file.close()

    assert back.schema.field("user") == schema_of(USER).field("user")
    assert back.column("user").to_pylist() == values
    assert back == batch.select(TO_SEAL)


def test_a_row_with_a_problem_keeps_its_columns(tmp_path):
    path = tmp_path / "00001.arrow"
    user = pa.RecordBatch.from_pylist([{"lang": "de"}, {"lang": "fr"}])
    file = BlockFile(path, digest=write(path, planned(2, user=user, problems=[1])))
    first, second = file.planned(0)
    file.close()

    assert first.request is not None
    assert first.request.prompt == "prompt 0"
    assert second.problem == Problem(kind="bad_input", message="prompts.jsonl:2: not JSON")
    assert second.request is None


def test_without_columns_of_the_users_there_is_an_empty_struct(tmp_path):
    path = tmp_path / "00001.arrow"
    file = BlockFile(path, digest=write(path, planned(2)))

    assert file.batch(0).column("user").to_pylist() == [{}, {}]
    file.close()


def test_the_name_appears_only_when_the_file_is_whole(tmp_path):
    path = tmp_path / "00001.arrow"
    writer = BlockWriter(path, schema_of(NO_COLUMNS))
    writer.write(planned(1))
    assert not path.exists()
    writer.finish()
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_session_left_half_written_is_written_over(tmp_path):
    path = tmp_path / "00001.arrow"
    path.with_suffix(".part").write_bytes(b"half")

    BlockFile(path, digest=write(path, planned(1))).close()


def test_the_same_rows_have_the_same_digest(tmp_path):
    assert write(tmp_path / "a.arrow", planned(3)) == write(tmp_path / "b.arrow", planned(3))
    assert write(tmp_path / "a.arrow", planned(3)) != write(tmp_path / "c.arrow", planned(3, first=1))


def test_every_flipped_byte_is_damage(tmp_path):
    path = tmp_path / "00001.arrow"
    digest = write(path, planned(1))
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StorageError, match="this block's plan is damaged"):
            BlockFile(path, digest=digest)


def test_a_shortened_file_is_damage(tmp_path):
    path = tmp_path / "00001.arrow"
    digest = write(path, planned(1))
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(StorageError, match="this block's plan is damaged"):
        BlockFile(path, digest=digest)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(StorageError, match=r"00001\.arrow: No such file"):
        BlockFile(tmp_path / "00001.arrow", digest="")


def test_a_full_disk_is_a_storage_error_when_it_is_written(tmp_path):
    (tmp_path / "00001.part").symlink_to("/dev/full")
    writer = BlockWriter(tmp_path / "00001.arrow", schema_of(NO_COLUMNS))

    with pytest.raises(StorageError, match=r"00001\.arrow: cannot be written"):
        write_many(writer, planned(100), times=100)
    assert not (tmp_path / "00001.arrow").exists()


def test_a_full_disk_is_a_storage_error_when_it_is_finished(tmp_path):
    (tmp_path / "00001.part").symlink_to("/dev/full")

    with pytest.raises(StorageError, match=r"00001\.arrow: cannot be written"):
        write(tmp_path / "00001.arrow", planned(1))


def test_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"00001\.arrow: cannot be written"):
        BlockWriter(tmp_path / "gone" / "00001.arrow", schema_of(NO_COLUMNS))


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6), first=st.integers(0, 1_000))
def test_an_id_is_found_however_the_slices_are_cut(sizes: list[int], first: int, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("blocks") / "00001.arrow"
    starts = [first + sum(sizes[:at]) for at in range(len(sizes))]
    write(path, *(planned(size, first=start) for size, start in zip(sizes, starts, strict=True)))

    for within in range(sum(sizes)):
        found = read_ids(path, first + within, within=within)
        assert found.has(first + within)
        assert found.ids[first + within - found.first].as_py() == f"row-{first + within}"
