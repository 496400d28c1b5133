"""How does a row become the text of a prompt? A Jinja2 template over its columns, compiled once.

What a row holds is printed, never rendered again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import jinja2
from jinja2 import meta, nodes

from batcher.errors import JobError
from batcher.prompts.budget import MAX_RENDERED_CHARACTERS, TooLargeError, bounded
from batcher.prompts.sandbox import NullError, Sandbox, text_of
from batcher.records import Problem, Row
from batcher.rows.shapes import nearest

WHOLE_ROW = "row"  # `{{ row['a column'] }}`, for names that are no identifiers; a column of that name comes first

# What an expression over somebody's data can end in; none of it may end a run.
_FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
_LOADING = {
    nodes.Include: "include",
    nodes.Extends: "extends",
    nodes.Import: "import",
    nodes.FromImport: "import",
}


class Template:
    """A compiled template.

    Args:
        source: Jinja2.
        setting: where it stands in the job, for messages: `[prompt] template`.
        columns: of the input; empty when nobody knows, and then no name is checked.
        where: how the user named the input.

    Attributes:
        columns: the ones it reads.
        named: of which by name, not as members of the whole row.

    Raises:
        JobError: the template is no Jinja2, or reads a column that is not there.
    """

    def __init__(self, source: str, *, setting: str, columns: Collection[str], where: str) -> None:
        self._setting = setting
        environment = Sandbox()
        self._budget = environment.budget
        try:
            tree = environment.parse(source)
            self._template = environment.from_string(bounded(environment.parse(source)))
        except jinja2.TemplateSyntaxError as error:
            raise JobError(f"{setting}, line {error.lineno}: {error.message}") from None
        _refuse_loading(tree, setting)
        # Jinja2 does not count its own globals, such as `range`; a column of that name is the one that is meant.
        named = {node.name for node in tree.find_all(nodes.Name)} & environment.globals.keys()
        names = meta.find_undeclared_variables(tree) | named.intersection(columns)
        self._whole_row = WHOLE_ROW in names and WHOLE_ROW not in columns
        names -= {WHOLE_ROW} if self._whole_row else set()
        if columns:
            _refuse_unknown(names, columns, setting=setting, where=where)
        self._used = tuple(sorted(names))
        self.named = frozenset(names)
        self.columns = self.named | (frozenset(columns) if self._whole_row else frozenset())
        self._parts, self._holes = _plain_parts(tree, names)

    def render(self, row: Row) -> str | Problem:
        """Make the text for one row, or say why there is none."""
        try:
            return self._joined(row.values) if self._parts else self._rendered(row.values)
        except NullError:
            return Problem(kind="bad_input", message=f"{row.where}: {self._null(row.values)}")
        except TooLargeError as error:
            return Problem(kind="too_large", message=f"{row.where}: {self._setting}: {error}")
        except jinja2.UndefinedError as error:
            return Problem(kind="bad_input", message=f"{row.where}: {self._setting}: {error.message}")
        except _FAILURES as error:
            return Problem(kind="bad_template", message=f"{row.where}: {self._setting}: {_in_short(error)}")

    def _joined(self, values: Mapping[str, Any]) -> str:
        """Fill text with columns, nothing else: what most templates are, at a fifth of what Jinja2 takes."""
        parts = self._parts.copy()
        for at, name in self._holes:
            value = values.get(name)
            parts[at] = value if type(value) is str else text_of(value)
        text = "".join(parts)
        if len(text) > MAX_RENDERED_CHARACTERS:
            raise TooLargeError
        return text

    def _rendered(self, values: Mapping[str, Any]) -> str:
        known: dict[str, Any] = {name: values.get(name) for name in self._used}
        if self._whole_row:
            known[WHOLE_ROW] = values
        pieces = []
        size = 0
        self._budget.begin()
        # Piece by piece, so that a loop that never tires is stopped at the cap and not by the machine's memory.
        for piece in self._template.root_render_func(self._template.new_context(known)):
            size += len(piece)
            if size > MAX_RENDERED_CHARACTERS:
                raise TooLargeError
            pieces.append(piece)
        return "".join(pieces)

    def _null(self, values: Mapping[str, Any]) -> str:
        nulls = [repr(name) for name in self._used if values.get(name) is None]
        if not nulls:
            return f"{self._setting} prints a null"
        return f"{'column' if len(nulls) == 1 else 'columns'} {', '.join(nulls)} is null"


def _in_short(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text.splitlines()[0][:200]


def _refuse_loading(tree: nodes.Template, setting: str) -> None:
    for node in tree.find_all(tuple(_LOADING)):
        raise JobError(f"{setting}, line {node.lineno}: a template cannot {_LOADING[type(node)]} another")


def _refuse_unknown(used: Iterable[str], columns: Collection[str], *, setting: str, where: str) -> None:
    for name in sorted(used):
        if name not in columns:
            raise JobError(
                f"{setting}: column {name!r} not found in {where}{nearest(name, columns)}",
                hint=f"its columns: {', '.join(columns)}",
            )


def _plain_parts(tree: nodes.Template, columns: Collection[str]) -> tuple[list[str], tuple[tuple[int, str], ...]]:
    """Take a template of text and bare columns apart: its pieces, and which of them are columns; else nothing."""
    parts: list[str] = []
    holes = []
    for statement in tree.body:
        if not isinstance(statement, nodes.Output):
            return [], ()
        for node in statement.nodes:
            if isinstance(node, nodes.TemplateData):
                parts.append(node.data)
            elif isinstance(node, nodes.Name) and node.name in columns:
                holes.append((len(parts), node.name))
                parts.append("")
            else:
                return [], ()
    return parts, tuple(holes)
