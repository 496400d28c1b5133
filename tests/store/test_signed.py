import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.errors import StorageError
from batcher.store.signed import (
    UNSIGNED,
    check_footer,
    check_parquet,
    is_signed_json,
    sign_json,
    sign_parquet,
)

MARK = b'"blake2b":{"body":"00000000000000000000000000000000","footer":"00000000000000000000000000000000"}'


@pytest.fixture
def part(tmp_path):
    path = tmp_path / "part.parquet"
    table = pa.table({"task": range(20), "text": [MARK.decode()] * 20})  # the footer's statistics hold it, too
    with pq.ParquetWriter(path, table.schema, write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"batcher": orjson.dumps({"stamp": {}, "blake2b": UNSIGNED})})
    sign_parquet(path)
    return path


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def footer_start(content: bytes) -> int:
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def test_a_signed_file_is_whole_and_still_parquet(part):
    check_parquet(part)
    check_footer(part)
    assert pq.read_table(part).num_rows == 20
    assert MARK not in part.read_bytes()[-400:]


@pytest.mark.parametrize("every", [29, pytest.param(3, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_damage_but_in_the_words_that_say_there_is_a_digest(part, every):
    content = part.read_bytes()
    word = content.rindex(b'"blake2b"')
    told = range(word, word + len(MARK))
    for bit in range(0, len(content) * 8, every):
        part.write_bytes(flipped(content, bit))
        if bit // 8 in told:
            continue
        with pytest.raises(StorageError, match="its bytes are not those that were written"):
            check_parquet(part)
        if bit // 8 >= footer_start(content):
            with pytest.raises(StorageError):
                check_footer(part)


def test_every_truncation_is_damage(part):
    content = part.read_bytes()
    for length in range(0, len(content), 7):
        part.write_bytes(content[:length])
        with pytest.raises(StorageError):
            check_footer(part)


def test_a_file_of_an_older_version_has_no_digest_to_miss(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "old.parquet")
    check_parquet(tmp_path / "old.parquet")


def test_every_flipped_bit_of_a_document_shows():
    document = orjson.dumps({"rows": 7, "blake2b": "0" * 32}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    content = sign_json(document)

    assert is_signed_json(content)
    assert is_signed_json(b'{"rows": 7}') is None
    for bit in range(len(content) * 8):
        damaged = flipped(content, bit)
        assert not is_signed_json(damaged), damaged
