from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from batcher.errors import StorageError
from batcher.store.disk import digest_of, publish_new, remove, sync_folder, write_whole


@pytest.fixture
def built(tmp_path: Path) -> Path:
    path = tmp_path / "built"
    path.write_bytes(b"new")
    return path


def refusing(number: int):
    def link(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return link


def test_publishing_moves_a_file_to_its_name(built, tmp_path):
    final = tmp_path / "final"

    assert publish_new(built, final)
    assert final.read_bytes() == b"new"
    assert not built.exists()


def test_publishing_never_overwrites(built, tmp_path):
    final = tmp_path / "final"
    final.write_bytes(b"old")

    assert not publish_new(built, final)
    assert final.read_bytes() == b"old"
    assert built.read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS])
def test_where_links_are_refused_it_still_publishes_and_never_overwrites(number, built, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refusing(number))
    final, other = tmp_path / "final", tmp_path / "other"
    other.write_bytes(b"old")

    assert not publish_new(built, other)
    assert other.read_bytes() == b"old"
    assert publish_new(built, final)
    assert final.read_bytes() == b"new"
    assert not built.exists()


def test_any_other_refusal_is_not_hidden(built, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refusing(errno.EIO))

    with pytest.raises(OSError, match="Input/output error"):
        publish_new(built, tmp_path / "final")
    assert built.exists()


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "run.json"
    write_whole(path, b"first")
    write_whole(path, b"second", sync=False)

    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_a_refused_write_leaves_the_old_content(tmp_path):
    path = tmp_path / "run.json"
    write_whole(path, b"first")
    (tmp_path / ".run.json.new").symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first"


def test_a_digest_is_of_the_whole_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 100_000)

    assert digest_of(path) == hashlib.blake2b(b"abc" * 100_000, digest_size=16).hexdigest()


def test_the_digest_of_nothing_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        digest_of(tmp_path / "missing")


def test_removing_twice_is_fine(tmp_path):
    path = tmp_path / "file"
    path.touch()
    remove(path)
    remove(path)
    sync_folder(tmp_path)

    assert not path.exists()
