"""How large would it be? Asked before an operation of a template makes it: afterwards the memory would be gone.

What none of these knows grows by a small factor at most, and its result is looked at when it is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sized
from functools import wraps
from typing import Any

from batcher.prompts.budget import MAX_MADE_CHARACTERS, MAX_RENDERED_CHARACTERS, TooLargeError

MAX_WIDTH = 10_000
_MAX_GROUPS = 100_000  # of `batch` and `slice`; as many as Jinja2's own limit of `range`
_MAX_NUMBER_BITS = 100_000
_WIDE_FIELD = re.compile(r"\d{5,}|\{[^}]*\{")  # of str.format; a width may itself be a field
_WIDE = re.compile(r"%[^a-zA-Z%]*(?:\*|\d{5,})")

# Filters that take a long text beside the one they work on.
_LONG_ARGUMENTS = frozenset({"replace", "join", "default", "d", "map", "select", "reject", "selectattr", "rejectattr"})
_MAX_SLOW = 1 << 20  # characters that `wordwrap` and `urlize` take: seconds go by over more
_MAX_MARK = 100  # of a wrapped line's end, or of a link's attributes: there once for each of thousands


def length(value: Any) -> int:
    """How many items or characters it has; 0 for what has none."""
    return len(value) if isinstance(value, Sized) else 0


def check(size: int) -> None:
    """Refuse what would be larger than any prompt.

    Raises:
        TooLargeError: it would be.
    """
    if size > MAX_RENDERED_CHARACTERS:
        raise TooLargeError


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Refuse an operation by what it would make; see `check`."""
    if isinstance(left, int) and isinstance(right, int):
        if operator == "*" and left.bit_length() + right.bit_length() > _MAX_NUMBER_BITS:
            raise TooLargeError
        if operator == "**" and left.bit_length() * abs(right) > _MAX_NUMBER_BITS:
            raise TooLargeError
    elif operator == "*":
        sized, times = (right, left) if isinstance(left, int) else (left, right)
        check(length(sized) * times if isinstance(times, int) else 0)
    elif operator == "+":
        check(length(left) + length(right))
    elif operator == "%" and isinstance(left, str):
        check_printf(left, right)


def check_printf(pattern: str, values: Any) -> None:
    """Refuse `pattern % values` by its widths, and by how often a long value stands in it."""
    each = values.values() if isinstance(values, Mapping) else values if isinstance(values, tuple | list) else (values,)
    if _WIDE.search(pattern):
        raise TooLargeError
    check(len(pattern) + pattern.count("%") * _longest(each))


def check_format(pattern: str, values: Iterable[Any]) -> None:
    """Refuse `pattern.format(…)` by its widths, and by how often a long value stands in it."""
    if _WIDE_FIELD.search(pattern):
        raise TooLargeError
    check(len(pattern) + pattern.count("{") * _longest(values))


def replaced(text: Any, old: Any, new: Any) -> None:
    """Refuse to replace many short texts by long ones."""
    text, old, new = str(text), str(old), str(new)
    check(len(text) + (text.count(old) * max(0, len(new) - len(old)) if len(new) > len(old) else 0))


def joined(values: Iterable[Any], mark: Any = "") -> list[Any]:
    """Give the values of a join, a list of them, unless it would be too long."""
    every = list(values)
    check(sum(map(length, every)) + len(str(mark)) * len(every))
    return every


def looked_at(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter refuse what would blow up, and look at the text that it gives."""
    takes_first = hasattr(method, "jinja_pass_arg")  # the environment or the like stands before the value

    @wraps(method)
    def careful(*args: Any, **options: Any) -> Any:
        first, (value, *others) = args[:takes_first], args[takes_first:]
        given = [*others, *options.values()]
        if name not in _LONG_ARGUMENTS and any(isinstance(each, str) and len(each) > MAX_WIDTH for each in given):
            raise TooLargeError
        if name in _OWN:
            value = _OWN[name](value, *others, **options)
        result = method(*first, value, *others, **options)
        if isinstance(result, str) and len(result) > MAX_MADE_CHARACTERS:
            raise TooLargeError
        return result

    return careful


def _longest(values: Iterable[Any]) -> int:
    return max((len(each) if isinstance(each, str) else len(str(each)) for each in values), default=0)


def _replace(value: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> Any:
    replaced(value, old, new)
    return value


def _join(value: Any, d: Any = "", *_: Any, **__: Any) -> Any:
    return joined(value, d)


def _narrow(value: Any, width: Any = 4, *_: Any, **__: Any) -> Any:
    if (isinstance(width, int) and width > MAX_WIDTH) or (isinstance(width, str) and len(width) > MAX_WIDTH):
        raise TooLargeError
    return value


def _grouped(value: Any, count: Any = 1, *_: Any, **options: Any) -> Any:
    wanted = options.get("linecount", options.get("slices", count))
    if isinstance(wanted, int) and wanted > _MAX_GROUPS:
        raise TooLargeError
    return value


def _marked(value: Any, *others: Any, **options: Any) -> Any:
    marks = (*others, *options.values())
    if length(value) > _MAX_SLOW or any(isinstance(each, str) and len(each) > _MAX_MARK for each in marks):
        raise TooLargeError
    return value


def _printf(value: Any, *args: Any, **options: Any) -> Any:
    check_printf(str(value), options or args)
    return value


_OWN: Mapping[str, Callable[..., Any]] = {
    "replace": _replace,
    "join": _join,
    "center": _narrow,
    "indent": _narrow,
    "batch": _grouped,
    "slice": _grouped,
    "wordwrap": _marked,
    "urlize": _marked,
    "format": _printf,
}
