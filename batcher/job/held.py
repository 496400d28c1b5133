"""Which keys does this process hold? Whatever may speak for the whole process takes them out of what it says."""

from __future__ import annotations

LEAST_LETTERS = 12
"""A shorter key may be a word of an answer: `test`, `EMPTY`. Taking it out everywhere would be damage."""

_HELD: set[str] = set()  # one for the process, as its logs and its excepthook are


def hold(key: str) -> None:
    """Remember a key."""
    if len(key) >= LEAST_LETTERS:
        _HELD.add(key)


def held() -> tuple[str, ...]:
    """Give the keys, the longest first: one may be the beginning of another."""
    return tuple(sorted(_HELD, key=len, reverse=True)) if _HELD else ()
