"""What is a row of this input: where do its id and its prompt stand? Told by the first rows, never guessed."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from batcher.errors import InputError
from batcher.job.spec import InputShape
from batcher.rows.carriers import ANSWERS, CARRIERS, ID_KEYS, REQUEST_FIELDS, Carrier, Samples
from batcher.rows.jsontext import glimpsed

# What the output does not repeat, because its `id`, `prompt` and `reference` hold it. A chat stays: `prompt` holds
# only its last turn.
_CONSUMED: Mapping[InputShape, frozenset[str]] = {
    InputShape.GEMINI_BATCH: frozenset({"request"}),
    InputShape.VERTEX_BATCH: frozenset({"request"}),
    InputShape.CONTENTS: REQUEST_FIELDS,
    InputShape.GEMINI_TUNING: REQUEST_FIELDS,
    InputShape.OPENAI_BATCH: frozenset({"body", "method", "url"}),
}
# Where they are text; a list of turns stays, too.
_ASKED_AS_THEY_STAND = frozenset({
    InputShape.PREFERENCE,
    InputShape.PROMPT_COMPLETION,
    InputShape.OPENAI_EVALS,
    InputShape.INSPECT,
    InputShape.PROMPT,
})  # fmt: skip
_CHATS = frozenset({InputShape.MESSAGES, InputShape.SHAREGPT})
_REFERENCE_KEYS: Mapping[InputShape, str] = {
    InputShape.GEMINI_TUNING: "contents",
    InputShape.PROMPT_COMPLETION: "completion",
    InputShape.ALPACA: "output",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a row of the input is.

    Attributes:
        kind: never `auto`.
        id_key: the column that names a row; None where rows have no name of their own.
        prompt_key: the column with the prompt, the contents or the request; None for a table (its template says).
        consumed: columns that the output does not repeat, because its own columns hold them.
        reference_key: the column with the known answer, which becomes `reference`; None where the shape has none.
    """

    kind: InputShape
    id_key: str | None = None
    prompt_key: str | None = None
    consumed: frozenset[str] = frozenset()
    reference_key: str | None = None


class AmbiguousInputError(InputError):
    """The rows can be asked in more than one way.

    Args:
        message: where, and the columns.
        keys: the columns, or the one column, that can be what is asked.
        kinds: the shapes to choose from.
    """

    def __init__(self, message: str, *, keys: Sequence[str], kinds: Sequence[InputShape]) -> None:
        super().__init__(message, hint=" or ".join(f"--shape {kind}" for kind in kinds))
        self.keys = tuple(keys)
        self.kinds = tuple(kinds)


def detect(
    samples: Samples,
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
        InputError: no column or more than one (`AmbiguousInputError`) can be what is asked, the rows are answers and
            no questions, or the id column is not there.
    """
    if wanted is InputShape.AUTO and has_template:
        wanted = InputShape.TABLE
    if wanted is InputShape.TABLE:
        return _table(samples, id_column=id_column, has_template=has_template, where=where)
    carrier, kind = _told(samples, wanted=wanted, where=where) if samples else _untold(wanted)
    if samples and kind is InputShape.OPENAI_BATCH:
        _refuse_other_bodies(samples, carrier.key, where=where)
    id_key = _id_key(samples, carrier.id_keys, id_column=id_column, where=where)
    reference_key = carrier.key if kind in _CHATS else _REFERENCE_KEYS.get(kind)
    if reference_key not in (*_columns(samples), carrier.key):
        reference_key = None
    consumed = set(_CONSUMED.get(kind, ()))
    if kind in _ASKED_AS_THEY_STAND and not any(isinstance(sample.get(carrier.key), list) for sample in samples):
        consumed.add(carrier.key)
    if id_key is not None:
        consumed.add(id_key)
    if reference_key is not None and kind not in _CHATS:
        consumed.add(reference_key)
    return Shape(
        kind=kind,
        id_key=id_key,
        prompt_key=carrier.key,
        consumed=frozenset(consumed),
        reference_key=reference_key,
    )


def _untold(wanted: InputShape) -> tuple[Carrier, InputShape]:
    """Give an input without rows a shape all the same: its run has none, either."""
    kind = InputShape.PROMPT if wanted is InputShape.AUTO else wanted
    return next(one for one in CARRIERS if kind in one.kinds), kind


def _table(samples: Samples, *, id_column: str | None, has_template: bool, where: str) -> Shape:
    if not has_template:
        raise InputError(
            f"{where}: rows of a table need a template that says what to ask",
            hint=f"--template 'Answer: {{{{ {_likeliest(samples)} }}}}'",
        )
    id_key = _id_key(samples, ID_KEYS, id_column=id_column, where=where)
    return Shape(kind=InputShape.TABLE, id_key=id_key, consumed=frozenset({id_key} if id_key else ()))


def _told(samples: Samples, *, wanted: InputShape, where: str) -> tuple[Carrier, InputShape]:
    columns = _columns(samples)
    found = [one for one in CARRIERS if wanted in (InputShape.AUTO, *one.kinds) and one.found_in(samples)]
    if wanted is not InputShape.AUTO:
        if not found:
            raise _no_carrier(samples, wanted=wanted, where=where)
        return min(found, key=lambda one: (one.rank, one.kinds.index(wanted))), wanted
    ways = [(one, kind) for one in found for kind in one.tell(samples, columns)]
    rank = min((one.rank for one, _ in ways), default=0)
    ways = [(one, kind) for one, kind in ways if one.rank == rank]
    _refuse_answers(samples, columns, ways, where=where)
    if not ways:
        raise _no_carrier(samples, wanted=wanted, where=where)
    if len(ways) > 1:
        raise _rivals(ways, where=where)
    return ways[0]


def _refuse_answers(
    samples: Samples, columns: Collection[str], ways: Sequence[tuple[Carrier, InputShape]], *, where: str
) -> None:
    """Refuse what a batch job wrote: its requests have been asked already, or are not there at all."""
    has_answers = any(isinstance(glimpsed(sample.get(ANSWERS)), Mapping) for sample in samples)
    requests = [kind for _, kind in ways if kind in (InputShape.GEMINI_BATCH, InputShape.VERTEX_BATCH)]
    if requests and (has_answers or {"status", "processed_time"} <= set(columns)):
        hint = f"--shape {requests[0]} asks its requests again"
    elif not ways and has_answers and {"key", "custom_id"} & set(columns):
        hint = "give the file that was sent"
    else:
        return
    raise InputError(f"{where}: is what a batch job wrote ({_listed(columns)}), wanted what it was given", hint=hint)


def _refuse_other_bodies(samples: Samples, key: str, *, where: str) -> None:
    """Refuse the batch of another endpoint of OpenAI's, such as embeddings: not one of its rows can be asked."""
    bodies = [body for sample in samples if isinstance(body := glimpsed(sample.get(key)), Mapping)]
    if not any("messages" in body for body in bodies):
        urls = dict.fromkeys(url for sample in samples if isinstance(url := sample.get("url"), str))
        found = " and ".join(urls) or f"a {key} of {_listed(_columns(bodies))}"
        raise InputError(f"{where}: wanted messages, as a batch of /v1/chat/completions has them, found {found}")


def _no_carrier(samples: Samples, *, wanted: InputShape, where: str) -> InputError:
    keys = [one.key for one in CARRIERS if wanted in (InputShape.AUTO, *one.kinds)]
    return InputError(
        f"{where}: found nothing to ask in its columns ({_listed(_columns(samples)) or 'none'}); "
        f"wanted {' or '.join(map(repr, keys))}{'' if wanted is InputShape.AUTO else f' for the shape {wanted}'}",
        hint=f"a template makes a prompt of any columns: --template 'Answer: {{{{ {_likeliest(samples)} }}}}'",
    )


def _likeliest(samples: Samples) -> str:
    """Give a column to show a template with: the question, else the longest text; a table has only names here."""
    texts = {key: value or "" for sample in samples[:1] for key, value in sample.items() if _is_nameable(key, value)}
    return "question" if "question" in texts or not texts else max(texts, key=lambda key: len(texts[key]))


def _is_nameable(key: str, value: object) -> bool:
    return key.isidentifier() and key not in ID_KEYS and (value is None or isinstance(value, str))


def _rivals(ways: Sequence[tuple[Carrier, InputShape]], *, where: str) -> AmbiguousInputError:
    keys = list(dict.fromkeys(one.key for one, _ in ways))
    if len(keys) == 1:
        said = f"{keys[0]!r} ends with an answer in some rows and not in others"
        return AmbiguousInputError(f"{where}: {said}; say what it is", keys=keys, kinds=[kind for _, kind in ways])
    # Two chats can be of one kind; the flag then is the kind that means the column.
    kinds = [kind for _, kind in ways]
    kinds = kinds if len(set(kinds)) == len(kinds) else [one.kinds[0] for one, _ in ways]
    said = " and ".join(map(repr, keys))
    return AmbiguousInputError(f"{where}: {said} could each be what is asked; say which", keys=keys, kinds=kinds)


def _listed(columns: Collection[str]) -> str:
    return ", ".join(map(repr, columns))


def _columns(samples: Samples) -> list[str]:
    return list(dict.fromkeys(key for sample in samples for key in sample))


def _id_key(samples: Samples, candidates: Sequence[str], *, id_column: str | None, where: str) -> str | None:
    columns = _columns(samples)
    if id_column is None:
        return next((key for key in candidates if key in columns and _names_rows(samples, key)), None)
    if samples and id_column not in columns:
        raise InputError(
            f"{where}: input.id: column {id_column!r} not found{nearest(id_column, columns)}",
            hint=f"its columns: {', '.join(columns)}",
        )
    return id_column


def _names_rows(samples: Samples, key: str) -> bool:
    """A name is text or a whole number; `"id": {...}` is data."""
    return all(isinstance(sample.get(key, ""), str | int | None) for sample in samples)


def nearest(word: str, known: Collection[str]) -> str:
    """`; did you mean 'x'?` with the closest known word, or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
