"""How does a file show that no bit of it has changed? It carries blake2b digests of itself.

A digest is written where 32 zeros stood when it was computed, so any reader can compute it again: put the zeros back,
hash, compare. Page checksums of Parquet cover neither headers nor the footer, a database has none, JSON has blanks.

- Parquet: the footer's key `batcher` ends with `"blake2b":{"body":"…","footer":"…"}`. The body is all bytes in front
  of the footer; the footer is the rest, to the end of the file, with the zeros of its own digest.
- run.json: the last key is `"blake2b"`, over the whole file.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from batcher.errors import StorageError

UNSIGNED = {"body": "0" * 32, "footer": "0" * 32}
"""What the footer says of its file until `sign_parquet`."""

_ZEROS = b"0" * 32
_SIGNED = re.compile(rb'"blake2b":\{"body":"([0-9a-f]{32})","footer":"([0-9a-f]{32})"\}')
_SIGNED_JSON = re.compile(rb'"blake2b": "([0-9a-f]{32})"\n\}\n\Z')
_TAIL_BYTES = 8  # the footer's length and `PAR1`
_CHUNK = 1 << 20


def sign_parquet(path: Path) -> None:
    """Put the digests into a closed Parquet file whose footer has `UNSIGNED` at the end of our key."""
    with path.open("r+b") as file:
        start = _footer_start(file, path)
        footer = _read_from(file, start)
        marks = list(_SIGNED.finditer(footer))[-1]  # statistics come first, and may hold any text
        signed = _put(footer, marks.start(1), _digest_until(file, start))
        signed = _put(signed, marks.start(2), _digest(signed))
        file.seek(start)
        file.write(signed)


def check_footer(path: Path) -> None:
    """Raise `StorageError` unless a Parquet file's footer is as it was written; one without digests passes."""
    with path.open("rb") as file:
        _checked_footer(file, path)


def check_parquet(path: Path) -> None:
    """Raise `StorageError` unless every byte of a Parquet file is as it was written; one without digests passes."""
    with path.open("rb") as file:
        body = _checked_footer(file, path)
        if body is not None and _digest_until(file, _footer_start(file, path)) != body:
            raise _damaged(path)


def sign_json(content: bytes) -> bytes:
    """Put the digest into a JSON document that ends with `"blake2b": "000…"`, a line feed, `}` and a line feed."""
    return _put(content, content.rindex(_ZEROS), _digest(content))


def is_signed_json(content: bytes) -> bool | None:
    """Whether a document is as `sign_json` gave it; None for one without a digest, of an older version."""
    mark = _SIGNED_JSON.search(content)
    if mark is None:
        return False if b'\n  "blake2b"' in content else None
    return _digest(_put(content, mark.start(1), _ZEROS)) == mark[1]


def _checked_footer(file: BinaryIO, path: Path) -> bytes | None:
    """The digest of the body that a good footer has."""
    footer = _read_from(file, _footer_start(file, path))
    found = list(_SIGNED.finditer(footer))
    if not found:
        return None
    mark = found[-1]
    if _digest(_put(footer, mark.start(2), _ZEROS)) != mark[2]:
        raise _damaged(path)
    return mark[1]


def _footer_start(file: BinaryIO, path: Path) -> int:
    size = file.seek(0, os.SEEK_END)
    if size < _TAIL_BYTES:
        raise _damaged(path)
    file.seek(size - _TAIL_BYTES)
    start = size - _TAIL_BYTES - int.from_bytes(file.read(4), "little")
    if start < 0 or file.read(4) != b"PAR1":
        raise _damaged(path)
    return start


def _read_from(file: BinaryIO, start: int) -> bytes:
    file.seek(start)
    return file.read()


def _digest_until(file: BinaryIO, stop: int) -> bytes:
    file.seek(0)
    digest = hashlib.blake2b(digest_size=16)
    for at in range(0, stop, _CHUNK):
        digest.update(file.read(min(_CHUNK, stop - at)))
    return digest.hexdigest().encode()


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


def _put(content: bytes, at: int, digest: bytes) -> bytes:
    return content[:at] + digest + content[at + len(digest) :]


def _damaged(path: Path) -> StorageError:
    return StorageError(
        f"{path}: not a whole part of a run: its bytes are not those that were written",
        hint=f"batcher audit {path.parent.parent}",
    )
