"""A journal that nobody has open is as it was closed, or it is not opened."""

import pytest

from batcher.errors import StorageError
from batcher.store.failpoints import FailPoints
from batcher.store.frames import pack_outcome
from batcher.store.journal import Journal
from batcher.store.rest import digest_file
from tests.builders import an_outcome


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


async def used(path) -> None:
    journal = Journal(path, failpoints=FailPoints())
    for task in range(40):
        await journal.finish(task, pack_outcome(an_outcome(task=task)))
    await journal.close()


async def test_a_closed_journal_has_a_digest_and_an_open_one_has_none(path):
    await used(path)
    assert digest_file(path).exists()
    journal = Journal(path, failpoints=FailPoints())
    assert not digest_file(path).exists()
    await journal.close()
    assert digest_file(path).exists()


async def test_any_bit_that_has_changed_since_it_was_closed_is_damage(path):
    """Free pages and padding included: what they hold is looked at by nobody, but the disk that changed it is."""
    await used(path)
    content, digest = path.read_bytes(), digest_file(path).read_bytes()
    for bit in range(0, len(content) * 8, 7919):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(StorageError) as refused:
            Journal(path, failpoints=FailPoints())
        assert refused.value.message == f"{path}: damaged: it is not as it was closed"
        assert digest_file(path).read_bytes() == digest


async def test_a_journal_without_a_digest_must_hold_together(path):
    """As a kill leaves it: SQLite's own check is what there is."""
    await used(path)
    digest_file(path).unlink()
    content = bytearray(path.read_bytes())
    content[8192 * 2 : 8192 * 2 + 64] = b"\xff" * 64
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"journal\.db: (damaged|the journal does not open): "):
        Journal(path, failpoints=FailPoints())
