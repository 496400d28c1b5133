"""What must never be stored or shown? The key, and whatever looks like one, in text that a server sent us."""

from __future__ import annotations

import re
from functools import lru_cache

HIDDEN = "[secret]"
_LOOKS_SECRET = re.compile(r"AIza[0-9A-Za-z_\-]{35}|ya29\.[0-9A-Za-z_\-]+|Bearer\s+[^\s\"']+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # the last: half a pair
LONGEST = 500
SHORTEST = 12


def scrub(text: str, secret: str) -> str:
    """One message of at most 500 characters without `secret`, without anything key-like, without control characters."""
    cleaned = text.replace(secret, HIDDEN) if secret else text
    cleaned = _CONTROL.sub(" ", _LOOKS_SECRET.sub(HIDDEN, cleaned))
    return cleaned if len(cleaned) <= LONGEST else cleaned[: LONGEST - 1] + "…"


def scrub_bytes(body: bytes, secret: bytes) -> bytes:
    """A reply's body without the key, however JSON spells it; a server that echoes it must not make us store it.

    A key of fewer than 12 characters stays: `test` stands in many a paid answer, and hiding it there would be damage.
    """
    if len(secret) < SHORTEST:
        return body
    if secret in body:
        body = body.replace(secret, HIDDEN.encode())
    return _spelt(secret).sub(HIDDEN.encode(), body) if b"\\" in body else body


@lru_cache(maxsize=4)
def _spelt(secret: bytes) -> re.Pattern[bytes]:
    """The secret with any of its characters escaped as JSON may (RFC 8259, section 7)."""
    return re.compile(b"".join(_either(char) for char in secret))


def _either(char: int) -> bytes:
    plain, code = re.escape(bytes([char])), b"\\\\u00%02x" % char
    digits = b"".join(b"[%c%c]" % (digit, digit ^ 0x20) if digit > 0x60 else bytes([digit]) for digit in code[-2:])
    return b"(?:%b|%b%b|\\\\%b)" % (plain, code[:-2], digits, plain)
