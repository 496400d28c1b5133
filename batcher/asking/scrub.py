"""What must never be stored or shown? The key, and whatever looks like one, in text that a server sent us."""

from __future__ import annotations

import re

HIDDEN = "[secret]"
_LOOKS_SECRET = re.compile(r"AIza[0-9A-Za-z_\-]{35}|ya29\.[0-9A-Za-z_\-]+|Bearer\s+[^\s\"']+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
LONGEST = 500


def scrub(text: str, secret: str) -> str:
    """One message of at most 500 characters without `secret`, without anything key-like, without control characters."""
    cleaned = text.replace(secret, HIDDEN) if secret else text
    cleaned = _CONTROL.sub(" ", _LOOKS_SECRET.sub(HIDDEN, cleaned))
    return cleaned if len(cleaned) <= LONGEST else cleaned[: LONGEST - 1] + "…"


def scrub_bytes(body: bytes, secret: bytes) -> bytes:
    """A reply's body without the key; a server that echoes it must not make us store it."""
    return body.replace(secret, HIDDEN.encode()) if secret and secret in body else body
