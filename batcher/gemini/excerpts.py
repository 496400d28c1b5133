"""How is text from a server shown in one line, whatever is in it?"""

from __future__ import annotations

import re

# C0, C1, direction marks, line separators, byte order mark, lone surrogates: they forge log lines or cannot be stored.
_UNSHOWN = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff"
_UNSHOWN_ONE = re.compile(f"[{_UNSHOWN}]")
_UNSHOWN_RUN = re.compile(f"[{_UNSHOWN}]+")


def safe_excerpt(body: bytes, limit: int = 200) -> str:
    """Show the start of a body: at most `limit` characters, control and direction characters as escapes."""
    text = body[: 4 * limit].decode("utf-8", "replace")
    return _UNSHOWN_ONE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)[:limit]


def one_line(text: str, limit: int = 500) -> str:
    """Shorten a message to `limit` characters; a run of control characters becomes one blank."""
    return _UNSHOWN_RUN.sub(" ", text[: 4 * limit]).strip()[:limit]
