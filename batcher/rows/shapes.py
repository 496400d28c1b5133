"""What is a row of this input: where do its id and its prompt stand?

A shape is told by the keys of the first rows. A new one is a line in `_CARRIERS`, a member of `InputShape` and the code
in `prompts/build.py` that asks with it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batcher.errors import InputError
from batcher.job.spec import InputShape

ID_KEYS = ("id", "key", "custom_id", "task_id")

# Fields of a GenerateContentRequest that may stand beside `contents` in a row, in both spellings. `labels` and `store`
# are left out: as names of a user's own column they are likelier than as request fields.
REQUEST_FIELDS = frozenset({
    "contents",
    "systemInstruction", "system_instruction",
    "generationConfig", "generation_config",
    "tools",
    "toolConfig", "tool_config",
    "safetySettings", "safety_settings",
    "cachedContent", "cached_content",
    "serviceTier", "service_tier",
    "model",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a row of the input is.

    Attributes:
        kind: never `auto`.
        id_key: the column that names a row; None where rows have no name of their own.
        prompt_key: the column with the prompt, the contents or the request; None for a table (its template says).
        consumed: columns that the output does not repeat, because its `id` and `prompt` hold them.
    """

    kind: InputShape
    id_key: str | None = None
    prompt_key: str | None = None
    consumed: frozenset[str] = frozenset()


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, str) and value.lstrip().startswith("{"))


def _is_array(value: object) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Carrier:
    """A column that can hold what is asked. `weak` ones count only where no other is found."""

    kind: InputShape
    key: str
    fits: Callable[[object], bool]
    consumes: frozenset[str]
    weak: bool = False
    id_keys: tuple[str, ...] = ID_KEYS

    def found_in(self, samples: Sequence[Mapping[str, Any]]) -> bool:
        return any(self.fits(sample.get(self.key)) for sample in samples)


# JSON text in a string column counts as the array or object that it is: Parquet files often carry requests so.
_CARRIERS = (
    _Carrier(
        kind=InputShape.KEY_REQUEST,
        key="request",
        fits=_is_object,
        consumes=frozenset({"request"}),
        id_keys=("key", *ID_KEYS),
    ),
    _Carrier(kind=InputShape.CONTENTS, key="contents", fits=_is_array, consumes=REQUEST_FIELDS),
    _Carrier(kind=InputShape.PROMPT, key="prompt", fits=_is_text, consumes=frozenset({"prompt"})),
    _Carrier(kind=InputShape.PROMPT, key="text", fits=_is_text, consumes=frozenset({"text"}), weak=True),
)
TELLING_COLUMNS = frozenset({carrier.key for carrier in _CARRIERS} | set(ID_KEYS))
"""The columns whose values tell a shape; of others only the name is looked at."""


def detect(
    samples: Sequence[Mapping[str, Any]],
    *,
    wanted: InputShape,
    id_column: str | None,
    has_template: bool,
    where: str,
) -> Shape:
    """Tell the shape of an input by its first rows.

    Args:
        samples: the first readable rows, column -> value; empty for an input without any.
        wanted: the job's `input.shape`; `auto` asks us.
        id_column: the job's `input.id`.
        has_template: whether the job has a prompt template; rows are then a table, whatever their columns are called.
        where: how the user named the input, for messages.

    Raises:
        InputError: no column or more than one can be what is asked, or the id column is not there.
    """
    if wanted is InputShape.AUTO:
        wanted = InputShape.TABLE if has_template else wanted
    if wanted is InputShape.TABLE:
        return _table(samples, id_column=id_column, has_template=has_template, where=where)
    if not samples:
        kind = InputShape.PROMPT if wanted is InputShape.AUTO else wanted
        carrier = next(one for one in _CARRIERS if one.kind is kind)
    else:
        carrier = _carrier(samples, wanted=wanted, where=where)
    id_key = _id_key(samples, carrier.id_keys, id_column=id_column, where=where)
    return Shape(
        kind=carrier.kind,
        id_key=id_key,
        prompt_key=carrier.key,
        consumed=carrier.consumes | ({id_key} if id_key else frozenset()),
    )


def _table(samples: Sequence[Mapping[str, Any]], *, id_column: str | None, has_template: bool, where: str) -> Shape:
    if not has_template:
        raise InputError(
            f"{where}: rows of a table need a template that says what to ask",
            hint="--set 'prompt.template=Answer: {{ question }}'",
        )
    id_key = _id_key(samples, ID_KEYS, id_column=id_column, where=where)
    return Shape(kind=InputShape.TABLE, id_key=id_key, consumed=frozenset({id_key} if id_key else ()))


def _carrier(samples: Sequence[Mapping[str, Any]], *, wanted: InputShape, where: str) -> _Carrier:
    found = [one for one in _CARRIERS if wanted in (InputShape.AUTO, one.kind) and one.found_in(samples)]
    strong = [one for one in found if not one.weak] or found
    if not strong:
        raise _no_carrier(samples, wanted=wanted, where=where)
    if len(strong) > 1:
        raise _rivals(strong, where=where)
    return strong[0]


def _no_carrier(samples: Sequence[Mapping[str, Any]], *, wanted: InputShape, where: str) -> InputError:
    keys = [one.key for one in _CARRIERS if wanted in (InputShape.AUTO, one.kind)]
    columns = ", ".join(map(repr, _columns(samples))) or "none"
    return InputError(
        f"{where}: found nothing to ask in its columns ({columns}); wanted {' or '.join(map(repr, keys))}",
        hint="a template makes a prompt of any columns: --set 'prompt.template=Answer: {{ question }}'",
    )


def _rivals(carriers: Sequence[_Carrier], *, where: str) -> InputError:
    keys = " and ".join(repr(one.key) for one in carriers)
    flags = " or ".join(f"--set input.shape={one.kind}" for one in carriers)
    return InputError(f"{where}: {keys} could each be what is asked; say which", hint=flags)


def _columns(samples: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for sample in samples for key in sample))


def _id_key(
    samples: Sequence[Mapping[str, Any]], candidates: Sequence[str], *, id_column: str | None, where: str
) -> str | None:
    columns = _columns(samples)
    if id_column is None:
        return next((key for key in candidates if key in columns and _names_rows(samples, key)), None)
    if samples and id_column not in columns:
        raise InputError(
            f"{where}: input.id: column {id_column!r} not found{nearest(id_column, columns)}",
            hint=f"its columns: {', '.join(columns)}",
        )
    return id_column


def _names_rows(samples: Sequence[Mapping[str, Any]], key: str) -> bool:
    """A name is text or a whole number; `"id": {...}` is data."""
    return all(isinstance(sample.get(key, ""), str | int | None) for sample in samples)


def nearest(word: str, known: Collection[str]) -> str:
    """`; did you mean 'x'?` with the closest known word, or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
