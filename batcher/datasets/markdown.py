"""How does a text that others wrote stand in Markdown without becoming Markdown?

Names, templates and a server's words may hold backticks, pipes, links, tags or line breaks. Code shows them as they
are: neither Markdown nor HTML is read inside it.
"""

from __future__ import annotations

import re
import unicodedata

_RUN_OF_TICKS = re.compile("`+")


def code(text: str, *, longest: int = 300) -> str:
    """Give a text as inline code, fit for a cell of a table: one line, no backtick, no bare pipe."""
    line = " ".join(visible(text).split()).replace("`", "'")
    cut = f"{line[:longest]}…(+{len(line) - longest:,} chars)" if len(line) > longest else line
    return f"`{cut.replace('|', chr(92) + '|') or '(empty)'}`"


def block(text: str) -> str:
    """Give a text as a block of code, its lines kept; the fence is longer than any run of backticks in it."""
    longest = max(map(len, _RUN_OF_TICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{visible(text)}\n{fence}"


def visible(text: str) -> str:
    """Replace control characters but line feeds and tabs, surrogates and marks that turn the direction of writing."""
    return "".join(
        letter if letter in "\n\t" or unicodedata.category(letter)[0] != "C" else "\ufffd"
        for letter in text.replace("\r\n", "\n").replace("\r", "\n")
    )
