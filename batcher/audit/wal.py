"""Is SQLite's write-ahead log whole? Its checksums, read as SQLite's file format describes them.

SQLite takes the first frame that does not fit for the end of the log, and drops what comes behind it without a word.
After a kill or a power cut that is right: the last write was never acknowledged. A bit that rots in the middle looks
the same to SQLite; here, frames behind it that still fit each other give it away.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEADER, _FRAME = 32, 24
_MAGIC = 0x377F0682
_WORD = 0xFFFFFFFF

Sum = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a log.

    Attributes:
        is_certain: False where a write that was cut off would look the same.
    """

    found: str
    is_certain: bool


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame, and whether it fits to the checksum that the one before it says it has."""

    fits: bool
    commits: bool
    salts: tuple[int, int]


def wal_fault(path: Path) -> Fault | None:
    """Look through the log of a database; None when there is none or it is in order."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if not content:
        return None
    header = struct.unpack(">8I", content[:_HEADER]) if len(content) >= _HEADER else None
    if header is None or header[0] | 1 != _MAGIC | 1:
        return Fault(found="the log has no header", is_certain=True)
    order = ">" if header[0] & 1 else "<"
    if _sum(content[: _HEADER - 8], (0, 0), order) != header[6:8]:
        return Fault(found="the log's header does not fit its checksum", is_certain=True)
    frames = list(_frames(content, header[2], order, header[6:8]))
    return _fault(frames, header[4:6], is_cut=bool((len(content) - _HEADER) % (_FRAME + header[2])))


def _fault(frames: list[_Frame], salts: tuple[int, int], *, is_cut: bool) -> Fault | None:
    """Judge by what follows the first frame that does not fit."""
    good = next((at for at, frame in enumerate(frames) if not frame.fits or frame.salts != salts), len(frames))
    behind = frames[good:]
    if any(frame.fits and frame.salts == salts for frame in behind[1:]):
        return Fault(found=f"frame {good:,} of the log does not fit its checksum, others behind it do", is_certain=True)
    if behind and (behind[0].salts == salts or _nearly(behind[0].salts, salts)):
        return Fault(found=f"frame {good:,} of the log, the last, does not fit its checksum", is_certain=False)
    if (good and not frames[good - 1].commits) or (is_cut and not behind):
        return Fault(found=f"the log ends in the middle of a write, at frame {good:,}", is_certain=False)
    return None


def _nearly(found: tuple[int, int], wanted: tuple[int, int]) -> bool:
    """Whether one of two random numbers is right: then the other one has changed."""
    return (found[0] == wanted[0]) != (found[1] == wanted[1])


def _frames(content: bytes, page: int, order: str, begin: Sum) -> Iterator[_Frame]:
    before = begin
    for at in range(_HEADER, len(content) - _FRAME - page + 1, _FRAME + page):
        _, size, salt1, salt2, sum1, sum2 = struct.unpack(">6I", content[at : at + _FRAME])
        summed = _sum(content[at + _FRAME : at + _FRAME + page], _sum(content[at : at + 8], before, order), order)
        yield _Frame(fits=summed == (sum1, sum2), commits=size > 0, salts=(salt1, salt2))
        before = sum1, sum2


def _sum(content: bytes, begin: Sum, order: str) -> Sum:
    first, second = begin
    words = iter(struct.unpack(f"{order}{len(content) // 4}I", content))
    for word in words:
        first = (first + word + second) & _WORD
        second = (second + next(words) + first) & _WORD
    return first, second
