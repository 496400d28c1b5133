"""What may a template do? Jinja2's immutable sandbox, with lower ceilings and data printed as it stands in the file.

The sandbox keeps templates away from Python; it still allows `'a' * 10**8` and padding to any width. Those are stopped
here: a template comes with the job, but the numbers in it may come from a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sized
from typing import Any

import orjson
from jinja2 import StrictUndefined, Undefined, filters
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_RENDERED_CHARACTERS = 8 << 20
_MAX_WIDTH = 10_000
_MAX_POWER_BITS = 100_000

_PADDING = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})
_WIDE_FIELD = re.compile(r"\d{5,}|\{[^}]*\{")  # of str.format; a width may itself be a field
_WIDE = re.compile(r"%[^a-zA-Z%]*(?:\*|\d{5,})")


class NullError(Exception):
    """A template printed a null."""


class TooLargeError(Exception):
    """A template made more text than a prompt may have."""


def text_of(value: Any) -> str:
    """Print a value as the input file has it: text bare, everything else as JSON (`true`, `{"a":1}`).

    Raises:
        NullError: the value is null; the text "None" or "null" must never be sent in its place.
        jinja2.UndefinedError: there is no such value.
    """
    if type(value) is str:
        return value
    if value is None:
        raise NullError
    if isinstance(value, bool | dict | list | tuple):
        return _json(value)
    return str(value)


def _json(value: Any, indent: int | None = None) -> str:
    # Jinja's own tojson writes `<` as \u003c, for web pages; a model should read what the data says.
    return orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 if indent else None).decode()


def _is_missing(value: Any) -> bool:
    return value is None or isinstance(value, Undefined)


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    return default_value if _is_missing(value) or (boolean and not value) else value


def _narrow(method: Callable[..., Any]) -> Callable[..., Any]:
    """Bound the width that a padding filter may be asked for."""

    def bounded(value: Any, width: Any = 4, *args: Any, **options: Any) -> Any:
        if (isinstance(width, int) and width > _MAX_WIDTH) or (isinstance(width, str) and len(width) > _MAX_WIDTH):
            raise TooLargeError
        return method(value, width, *args, **options)

    return bounded


def _format(value: Any, *args: Any, **options: Any) -> str:
    _check_format(value)
    return filters.do_format(value, *args, **options)


def _check_format(pattern: Any) -> None:
    if isinstance(pattern, str) and _WIDE.search(pattern):
        raise TooLargeError


def _length(value: Any) -> int:
    return len(value) if isinstance(value, Sized) else 0


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all templates: strict about what is missing, plain about what it prints."""

    # Naming the operators also keeps Jinja from evaluating constant ones while it compiles.
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, finalize=text_of, autoescape=False, cache_size=0)
        del self.globals["lipsum"]
        self.filters |= {
            "default": _default,
            "d": _default,
            "tojson": _json,
            "center": _narrow(filters.do_center),
            "indent": _narrow(filters.do_indent),
            "format": _format,
        }
        # A key that a row lacks and a null are the same thing here, as they are in a table.
        self.tests |= {"defined": lambda value: not _is_missing(value), "undefined": _is_missing}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Refuse what the sandbox refuses, and methods that make text of any length."""
        return not (isinstance(obj, str) and attr in _PADDING) and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Format without attributes, as the sandbox does, and without widths beyond any prompt."""
        formatted = super().wrap_str_format(value)
        if formatted is None:
            return None

        def bounded(*args: Any, **options: Any) -> str:
            if _WIDE_FIELD.search(value.__self__):
                raise TooLargeError
            return formatted(*args, **options)

        return bounded

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate, unless the result would be larger than any prompt.

        Raises:
            TooLargeError: it would be.
        """
        if operator == "*" and isinstance(left, int) != isinstance(right, int):
            sized, times = (right, left) if isinstance(left, int) else (left, right)
            size = _length(sized) * times if isinstance(times, int) else 0
        elif operator == "+":
            size = _length(left) + _length(right)
        else:
            size = 0
        if size > MAX_RENDERED_CHARACTERS or (operator == "**" and _power_bits(left, right) > _MAX_POWER_BITS):
            raise TooLargeError
        if operator == "%":
            _check_format(left)
        return super().call_binop(context, operator, left, right)


def _power_bits(base: Any, exponent: Any) -> int:
    if not isinstance(base, int) or not isinstance(exponent, int):
        return 0
    return base.bit_length() * abs(exponent)
