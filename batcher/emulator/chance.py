"""Which way does a coin fall, when everybody who asks the same must see the same side?

Everything the emulator leaves to chance is drawn from its seed and from what was asked, never from a shared generator:
the order in which requests arrive must not change what they get.
"""

from __future__ import annotations

import hashlib
import random


def draw(seed: int, *words: bytes) -> int:
    """A number that depends on the seed and the words only, evenly spread over 0 to 2**64 - 1."""
    # Lengths keep ("ab", "c") and ("a", "bc") apart; blake2b costs under 1 µs for a short prompt.
    digest = hashlib.blake2b(seed.to_bytes(16, "big", signed=True), digest_size=8)
    for word in words:
        digest.update(len(word).to_bytes(8, "big"))
        digest.update(word)
    return int.from_bytes(digest.digest(), "big")


def share(drawn: int) -> float:
    """The draw as a number from 0 (inclusive) to 1 (exclusive)."""
    # 53 bits: dividing all 64 would round the largest draws up to 1.0.
    return (drawn >> 11) / 2**53


def second_share(drawn: int) -> float:
    """Another number from 0 to 1 out of the same draw, from its other end: for what must not depend on `share`."""
    return (drawn & 0xFFFFFFFF) / 2**32


def stream(drawn: int) -> random.Random:
    """A generator for whoever needs many numbers of one draw."""
    return random.Random(drawn)  # noqa: S311  made-up answers, not secrets
