"""The room is held until it is needed, and is there when it is."""

import pytest

from batcher.errors import StorageError
from batcher.store.reserve import LEAST_BYTES, MOST_BYTES, Reserve, reserve_bytes
from tests.disks import small_disk


def test_the_room_grows_with_the_answers_that_may_be_out():
    assert reserve_bytes(1, pictures=False) == LEAST_BYTES
    assert reserve_bytes(256, pictures=False) == 16 << 20
    assert reserve_bytes(8, pictures=True) == 16 << 20
    assert reserve_bytes(10_000, pictures=True) == MOST_BYTES


def test_it_is_held_and_given_back_once(tmp_path):
    reserve = Reserve(tmp_path / "reserve", 1 << 20)
    assert not reserve.give_back()
    reserve.take()
    reserve.take()  # what a killed session left
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 1 << 20  # no hole
    assert reserve.give_back()
    assert not reserve.give_back()
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_no_room_it_says_so_and_takes_none(tmp_path):
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        with pytest.raises(StorageError) as refused:
            Reserve(disk.path / "reserve", 2 << 20).take()
        assert list(disk.path.iterdir()) == []
    said = f"{disk.path}: no room to keep answers in: No space left on device (2 MiB wanted); nothing was sent"
    assert refused.value.message == said
    assert refused.value.hint == "free some disk and run the same command again"


def test_what_it_held_can_be_written_on_a_full_disk(tmp_path):
    with small_disk(tmp_path / "disk", 4 << 20) as disk:
        reserve = Reserve(disk.path / "reserve", 1 << 20)
        reserve.take()
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.path / "answers").write_bytes(b"x" * 4096)
        reserve.give_back()
        (disk.path / "answers").write_bytes(b"x" * 1_000_000)
