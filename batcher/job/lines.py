"""On which line of a TOML text does a setting stand? tomllib does not say; error messages must."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

Path = tuple[str | int, ...]

# Longest first: a triple quote must not be read as an empty string and a quote. Strings hide brackets, `=` and `#`.
_STRINGS_AND_COMMENTS = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")' r"|'''.*?'{3,5}(?!')" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'" r"|#[^\n]*",
    re.DOTALL,
)
_STRING = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'')
_ARRAY_HEADER = re.compile(r"\s*\[\[(.+)\]\]\s*$")
_HEADER = re.compile(r"\s*\[(.+)\]\s*$")
_NAME = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*')"""
_DOTTED = re.compile(rf"{_NAME}(?:[ \t]*\.[ \t]*{_NAME})*")
_KEY = re.compile(rf"\s*({_DOTTED.pattern})\s*=")


def dotted(key: str) -> tuple[str, ...]:
    """Split a TOML key (`a.b`, `a."b.c"`) into its names.

    Raises:
        tomllib.TOMLDecodeError: it is not a key.
    """
    if _DOTTED.fullmatch(key) is None:
        raise tomllib.TOMLDecodeError(f"{key!r} is no key")
    names: list[str] = []
    node: Any = tomllib.loads(f"{key} = 0")
    while isinstance(node, dict):
        name, node = next(iter(node.items()))
        names.append(name)
    return tuple(names)


def lines_of(text: str) -> Mapping[Path, int]:
    """Find the line of every table and key of a valid TOML text.

    Keys inside inline tables and arrays are left out: they stand on the line of the key that opens them, or below it.

    Args:
        text: TOML that `tomllib` has accepted.

    Returns:
        Path -> line number, from 1; the n-th `[[a.b]]` is `("a", "b", n)`, from 0.
    """
    found: dict[Path, int] = {}
    seen: dict[tuple[str, ...], int] = {}
    table: Path = ()
    open_brackets = 0
    for number, line in enumerate(_STRINGS_AND_COMMENTS.sub(_without_breaks, text).split("\n"), start=1):
        if open_brackets == 0 and (header := _ARRAY_HEADER.match(line) or _HEADER.match(line)):
            names = dotted(header[1])
            if header.re is _ARRAY_HEADER:
                seen[names] = seen.get(names, -1) + 1
            table = _through_arrays(names, seen)
            found.setdefault(table, number)
            continue
        if open_brackets == 0 and (key := _KEY.match(line)):
            found.setdefault(table + dotted(key[1]), number)
        bare = _STRING.sub("", line)
        open_brackets += bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}")
    return found


def line_at(lines: Mapping[Path, int], path: Path) -> int | None:
    """Give the line of the path, or of the nearest table or key around it; None when nothing of it is written."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None


def _without_breaks(match: re.Match[str]) -> str:
    """Keep short strings (they may be keys); of the rest keep only the line breaks, so that line numbers hold."""
    token = match[0]
    if token.startswith(("#", '"""', "'''")):
        return "\n" * token.count("\n")
    return token


def _through_arrays(names: tuple[str, ...], seen: Mapping[tuple[str, ...], int]) -> Path:
    """Put the current index behind every name that is an array of tables."""
    path: list[str | int] = []
    for depth, name in enumerate(names, start=1):
        path.append(name)
        if names[:depth] in seen:
            path.append(seen[names[:depth]])
    return tuple(path)
