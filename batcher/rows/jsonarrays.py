"""What are the elements of a file that is one JSON array? Cut at its own commas, read one by one."""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson

from batcher.rows.cutting import Skip

# Whole strings, brackets, commas; last a quote that opens a string whose end is not here yet.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]|"', re.DOTALL)
_REST_OF_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_OPENING, _CLOSING, _QUOTE = b"[{", b"]}", b'"'[0]


class ArrayGrammar:
    """Elements end at the commas that stand in no string and in no bracket; blanks belong to the element beside them.

    Which bracket closes which is not looked at: an element where they do not fit is no JSON, and is told so when read.
    """

    counts_lines = False

    def ends(self, data: bytes) -> Sequence[int]:
        """See `Grammar`."""
        walk = _Walk()
        ends = []
        at = 0
        while (at := _behind_flat(data, at) or walk.comma(data, at)) > 0:
            ends.append(at)
        return ends

    def skip(self) -> Skip:
        """See `Grammar`."""
        return _Walk().comma


def _behind_flat(data: bytes, at: int) -> int:
    """Give the place behind the comma of an element without objects in it, 0 where it is none.

    What is JSON up to a comma has none of its own outside: the comma is the one that a walk over the tokens finds, in
    a third of the time.
    """
    end = data.find(b"},", at) + 1
    if not end:
        return 0
    try:
        orjson.loads(data[at:end])
    except orjson.JSONDecodeError:
        return 0
    return end + 1


class _Walk:
    """Where in the nesting we are; goes on from one piece of bytes to the next."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def comma(self, data: bytes, at: int = 0) -> int:
        """Give the place behind the next comma between elements, -1 where there is none in `data`."""
        if self._in_string:
            at = self._behind_string(data, at)
            if at < 0:
                return -1
        for token in _TOKEN.finditer(data, at):
            byte = data[token.start()]
            if byte == _QUOTE:
                if token.end() - token.start() == 1:
                    self._in_string = True
                    self._escaped = (len(data) - len(data.rstrip(b"\\"))) % 2 == 1
                    return -1
            elif byte in _OPENING:
                self._depth += 1
            elif byte in _CLOSING:
                self._depth = max(0, self._depth - 1)
            elif not self._depth:
                return token.end()
        return -1

    def _behind_string(self, data: bytes, at: int) -> int:
        rest = _REST_OF_STRING.match(data, at + self._escaped)
        end = rest.end() if rest else len(data)
        if end < len(data) and data[end] == _QUOTE:
            self._in_string = self._escaped = False
            return end + 1
        self._escaped = end < len(data)  # a backslash, whose partner comes with the next piece
        return -1
