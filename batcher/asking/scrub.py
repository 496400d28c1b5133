"""What must never be stored or shown? The key, and whatever looks like one, in text that a server sent us."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from functools import lru_cache

from batcher.job.held import LEAST_LETTERS

HIDDEN = "[secret]"
_LOOKS_SECRET = re.compile(r"AIza[0-9A-Za-z_\-]{35}|ya29\.[0-9A-Za-z_\-]+|Bearer\s+[^\s\"']+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # the last: half a pair
_ESCAPES = re.compile(r"[\\%&]")
_IN_JSON = re.compile(rb'["\\/]')  # what may be written as a backslash and itself
_IN_A_URL = re.compile(rb"[^0-9A-Za-z_.~\-]")
_IN_A_PAGE = re.compile(rb"[&<>\"']")
LONGEST = 500
LEAST_OF_A_MESSAGE = 4  # a key of one to three letters is in every other word; nobody's key is that short


def scrub(text: str, *secrets: str) -> str:
    """One message of at most 500 characters without `secrets`, without anything key-like, without control characters.

    A key of fewer than 12 characters goes where it stands alone: `test` is also a part of `latest`. One of fewer than 4
    stays.
    """
    cleaned = _CONTROL.sub(" ", hidden(text, secrets))
    return cleaned if len(cleaned) <= LONGEST else cleaned[: LONGEST - 1] + "…"


def hidden(text: str, secrets: Iterable[str]) -> str:
    """A text of any length without these secrets, however they are spelt, and without anything key-like."""
    for secret in secrets:
        if len(secret) >= LEAST_LETTERS:
            text = _spelt(secret).sub(HIDDEN, text) if _ESCAPES.search(text) else text.replace(secret, HIDDEN)
        elif len(secret) >= LEAST_OF_A_MESSAGE:
            text = _alone(secret).sub(HIDDEN, text)
    return _LOOKS_SECRET.sub(HIDDEN, text)


def scrub_bytes(body: bytes, secret: bytes) -> bytes:
    """A reply's body without the key, however JSON, a URL or a page spells it; an echo of it must not be stored.

    A key of fewer than 12 characters stays: `test` stands in many a paid answer, and hiding it there would be damage.
    """
    if len(secret) < LEAST_LETTERS:
        return body
    # Once a reply: the pattern takes 10 µs a kilobyte, so only bodies pay for it that could spell this key otherwise.
    own = _own_escapes(secret)
    if b"\\u00" in body or (own and any(sign in body for sign in own)):
        return _spelt_bytes(secret).sub(HIDDEN.encode(), body)
    return body.replace(secret, HIDDEN.encode()) if secret in body else body


@lru_cache(maxsize=4)
def _own_escapes(secret: bytes) -> tuple[bytes, ...]:
    """What begins an escape that some character of this key may need; nothing, for nearly every key."""
    needs = ((b"\\", _IN_JSON), (b"%", _IN_A_URL), (b"&", _IN_A_PAGE))
    return tuple(sign for sign, needed in needs if needed.search(secret))


@lru_cache(maxsize=4)
def _alone(secret: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(secret)}(?!\w)")


@lru_cache(maxsize=16)
def _spelt(secret: str) -> re.Pattern[str]:
    """The secret with any of its characters escaped as JSON (RFC 8259, section 7), a URL or a page may."""
    return re.compile("".join(_either(letter) for letter in secret))


@lru_cache(maxsize=4)
def _spelt_bytes(secret: bytes) -> re.Pattern[bytes]:
    return re.compile(_spelt(secret.decode("latin-1")).pattern.encode("latin-1"))


def _either(letter: str) -> str:
    plain, code = re.escape(letter), ord(letter)
    named = html.escape(letter)[1:-1] if html.escape(letter) != letter else "#"
    ways = (
        rf"\\u00{_either_case(code)}",
        rf"\\{plain}",
        rf"%{_either_case(code)}",
        rf"&(?:{named}|#0*{code}|#[xX]0*{_either_case(code)});",
        plain,  # the last: a backslash of the key's own also begins its escapes
    )
    return f"(?:{'|'.join(ways)})"


def _either_case(code: int) -> str:
    """Two hexadecimal digits, in capitals or not."""
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{code:02x}")
