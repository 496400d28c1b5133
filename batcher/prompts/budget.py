"""How much may a template do for one row? So many steps, so many characters, whatever it makes on the way.

A template comes with the job, but how far its loops go may be in a row: a loop in a loop over a long list is 10¹⁰ steps
that print nothing, and a text doubled sixty times is all the memory there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

MAX_RENDERED_CHARACTERS = 8 << 20
MAX_MADE_CHARACTERS = 4 * MAX_RENDERED_CHARACTERS  # what is captured (`{% set %}`, macros) and printed counts twice
MAX_STEPS = 300_000  # from a tenth of a second to two, by what a loop does
CALL_STEPS = 10  # a call of a macro or a method takes as long as ten turns of a loop
TICKED, JOINED = "@ticked", "@joined"  # names of filters that no template can spell


class TooLargeError(Exception):
    """A template made more text than a prompt may have, or took more steps than one is worth; the text says which."""

    def __init__(self, what: str = f"makes more than {MAX_RENDERED_CHARACTERS:,} characters") -> None:
        super().__init__(what)


class Budget:
    """What is left of one rendering."""

    __slots__ = ("_characters", "_steps")

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start with all of it."""
        self._steps = MAX_STEPS
        self._characters = MAX_MADE_CHARACTERS

    def step(self, characters: int = 0, steps: int = 1) -> None:
        """Take a step, or several, that make so many characters.

        Raises:
            TooLargeError: the budget is spent.
        """
        self._steps -= steps
        self._characters -= characters
        if self._steps < 0:
            raise TooLargeError(f"takes more than {MAX_STEPS:,} steps")
        if self._characters < 0:
            raise TooLargeError

    def ticked(self, items: Iterable[Any], characters: int = 0) -> Iterator[Any]:
        """Give the items of a loop, each for a step."""
        for item in items:
            self.step(characters)
            yield item


def bounded(tree: nodes.Template) -> nodes.Template:
    """Make every loop of a parsed template take its steps from the budget, and `~` look at what it would make."""
    _Bounded().visit(tree)
    return tree


class _Bounded(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  named by Jinja2
        self.generic_visit(node)
        text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.iter = _through(TICKED, node.iter, nodes.Const(text))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802  named by Jinja2
        self.generic_visit(node)
        return _through(JOINED, nodes.Tuple(node.nodes, "load").set_lineno(node.lineno))


def _through(name: str, node: nodes.Node, *arguments: nodes.Expr) -> nodes.Filter:
    filtered = nodes.Filter(node, name, list(arguments), [], None, None)
    filtered.set_lineno(node.lineno)
    return filtered
