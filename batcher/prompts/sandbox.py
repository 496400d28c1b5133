"""What may a template do? Jinja2's immutable sandbox, with lower ceilings and data printed as it stands in the file.

The sandbox keeps templates away from Python; it still allows `'a' * 10**8`, padding to any width and loops in loops in
loops. Those are stopped here: a template comes with the job, but the numbers in it may come from a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
from jinja2 import StrictUndefined, Undefined, pass_environment
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batcher.prompts.budget import CALL_STEPS, JOINED, TICKED, Budget
from batcher.prompts.growth import check, check_format, check_operation, joined, looked_at, replaced

_PADDING = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs", "translate"})


class NullError(Exception):
    """A template printed a null."""


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


def _joined(pieces: tuple[Any, ...]) -> str:
    texts = [str(piece) for piece in pieces]
    check(sum(map(len, texts)))
    return "".join(texts)


@pass_environment
def _ticked(environment: Sandbox, items: Any, characters: int) -> Iterator[Any]:
    return environment.budget.ticked(items, characters)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one template: strict about what is missing, plain in what it prints, bounded in all it does.

    Attributes:
        budget: begun anew for each row.
    """

    # Naming the operators also keeps Jinja from evaluating constant ones while it compiles.
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self) -> None:
        self.budget = Budget()
        super().__init__(undefined=StrictUndefined, finalize=self._printed, autoescape=False, cache_size=0)
        del self.globals["lipsum"]
        self.filters |= {"default": _default, "d": _default, "tojson": _json}
        self.filters = {name: looked_at(name, method) for name, method in self.filters.items()}
        self.filters |= {TICKED: _ticked, JOINED: _joined}
        # A key that a row lacks and a null are the same thing here, as they are in a table.
        self.tests |= {"defined": lambda value: not _is_missing(value), "undefined": _is_missing}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Refuse what the sandbox refuses, and methods that make text of any length."""
        if (isinstance(obj, str) and attr in _PADDING) or (isinstance(obj, int) and attr == "to_bytes"):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Format without attributes, as the sandbox does, and without making more text than any prompt has."""
        formatted = super().wrap_str_format(value)
        if formatted is None:
            return None

        def bounded(*args: Any, **options: Any) -> str:
            check_format(value.__self__, (*args, *options.values()))
            return formatted(*args, **options)

        return bounded

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate, unless the result would be larger than any prompt.

        Raises:
            TooLargeError: it would be.
        """
        check_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **options: Any) -> Any:  # noqa: N805, PYI063  Jinja2's
        """Call a function, a macro, a method or a recursive loop, each for a step.

        Raises:
            TooLargeError: the steps are used up, or the result would be larger than any prompt.
        """
        budget = __self.budget
        budget.step(steps=CALL_STEPS)
        if isinstance(__obj, LoopContext) and args:
            args = (budget.ticked(args[0]), *args[1:])
        elif isinstance(owner := getattr(__obj, "__self__", None), str):
            name = __obj.__name__
            if name == "replace" and len(args) >= 2:
                replaced(owner, args[0], args[1])
            elif name == "join" and args:
                args = (joined(args[0], owner),)
        return super().call(__context, __obj, *args, **options)

    def _printed(self, value: Any) -> str:
        text = text_of(value)
        self.budget.step(len(text))
        return text
