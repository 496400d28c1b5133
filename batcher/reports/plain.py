"""How does somebody else's text get into a terminal? Without a character that a terminal would obey.

Prompts, answers, names of files and columns and what servers say are data: none of it may move the cursor, colour what
follows, rename the window or turn the direction of writing.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

# What JSON's writer leaves as it is and a terminal may obey: the second control set (U+009B is ESC [ in one character),
# line separators and marks of direction; and half pairs, which cannot be written at all.
_LEFT_BY_JSON = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


class Drawn(str):
    """A line that we drew: the codes in it are our own, and what stands between them went through `plain`."""

    __slots__ = ()


def plain(text: str) -> str:
    """Replace control characters, but for line feeds; a line that is `Drawn` is left as it is."""
    if isinstance(text, Drawn) or (text.isascii() and text.isprintable()):
        return text
    return "".join(
        letter if letter == "\n" or unicodedata.category(letter)[0] != "C" else " " if letter == "\t" else "\ufffd"
        for letter in text.replace("\r\n", "\n")
    )


def json_text(document: Any, *, indent: int | None = None) -> str:
    """Write JSON for people and programs alike: every value as it is, every control character as an escape."""
    text = json.dumps(document, ensure_ascii=False, default=str, indent=indent)
    return _LEFT_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
