"""What must never be stored or shown? The key, and whatever looks like one, in text that a server sent us."""

from __future__ import annotations

import re
from functools import lru_cache

HIDDEN = "[secret]"
_LOOKS_SECRET = re.compile(r"AIza[0-9A-Za-z_\-]{35}|ya29\.[0-9A-Za-z_\-]+|Bearer\s+[^\s\"']+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # the last: half a pair
_SHORT_ESCAPE = re.compile(rb'["\\/]')  # what JSON may write as a backslash and itself
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
    # Once a reply: the pattern takes 10 µs a kilobyte, so only bodies pay for it that could spell this key otherwise.
    if b"\\u00" in body or (b"\\" in body and _SHORT_ESCAPE.search(secret)):
        return _spelt(secret).sub(HIDDEN.encode(), body)
    return body.replace(secret, HIDDEN.encode()) if secret in body else body


@lru_cache(maxsize=4)
def _spelt(secret: bytes) -> re.Pattern[bytes]:
    """The secret with any of its characters escaped as JSON may (RFC 8259, section 7)."""
    return re.compile(b"".join(_either(char) for char in secret))


def _either(char: int) -> bytes:
    plain, code = re.escape(bytes([char])), b"\\\\u00%02x" % char
    digits = b"".join(b"[%c%c]" % (digit, digit ^ 0x20) if digit > 0x60 else bytes([digit]) for digit in code[-2:])
    # The plain one last: a backslash of the key's own also begins its escapes.
    return b"(?:%b%b|\\\\%b|%b)" % (code[:-2], digits, plain, plain)
