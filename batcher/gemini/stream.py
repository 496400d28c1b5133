"""Which one message do the chunks of a stream add up to?

What a chunk does not mention stays as it was. Counts are cumulative, so the last of each stands; parts are appended,
and a text that goes on in the next chunk is joined; of the rest the last that was said stands. Recorded streams behind
the rules: usage on every chunk and usage alone on the last (docker/docker-agent#2848, ankit373/hydra#858), a last chunk
without `index` or parts (jeremychone/rust-genai#161), candidates that end before the stream does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from batcher.gemini.counts import count
from batcher.gemini.errorshapes import error_of
from batcher.gemini.spelling import camel, snake

_UNSAID = frozenset({"", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED"})


def is_unsaid(reason: str | None) -> bool:
    """Whether a reason, to end or to block, is none: absent, empty or what stands for that."""
    return (reason or "").upper() in _UNSAID


def fold(chunks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Fold chunks into the one message that a unary reply would have been.

    Args:
        chunks: decoded, in order, in either spelling.

    Returns:
        A message in snake_case down to the fields of its candidates; `error` is normalised as `error_of` does it.
        Folding a beginning first and the rest onto it gives the same.
    """
    chunks = list(chunks)
    return _plain(chunks) or _folded(chunks)


def _plain(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Fold chunks that each bring some more text of one candidate, and else nothing but what the last says anew.

    Nearly every stream is one, and this takes half the time of `_folded`; None of any other.
    """
    last = chunks[-1] if chunks else {}
    names = _PLAIN_CAMEL if last.keys() <= _PLAIN_CAMEL.keys() else _PLAIN_SNAKE
    if "candidates" not in last or not last.keys() <= names.keys() or None in last.values():
        return None
    try:
        text = "".join(_texts(chunks, last, "usageMetadata" if names is _PLAIN_CAMEL else "usage_metadata"))
    except (AttributeError, KeyError, TypeError, ValueError):  # something is not what it is in a plain stream
        return None
    [candidate] = last["candidates"]
    whole = {"index": 0, "content": {"role": candidate["content"]["role"], "parts": [{"text": text}]}}
    reason = candidate.get("finishReason", candidate.get("finish_reason"))
    if reason is not None:
        whole["finish_reason"] = reason
    return {names[key]: value for key, value in last.items()} | {"candidates": [whole]}


def _texts(chunks: Sequence[Mapping[str, Any]], last: Mapping[str, Any], usage: str) -> Iterator[str]:
    """The text of each chunk; raises for one that has more to it."""
    fields, counts = last.keys(), last.get(usage, _NO_COUNTS)
    if None in counts.values():
        raise ValueError
    for chunk in chunks:
        [candidate] = chunk["candidates"]
        content = candidate["content"]
        [part] = content["parts"]
        known = (
            1
            + ("index" in candidate)
            + (chunk is last and ("finishReason" in candidate or "finish_reason" in candidate))
        )
        if (
            len(part) != 1
            or len(content) != 2
            or len(candidate) != known
            or type(content["role"]) is not str
            or candidate.get("index", 0) != 0
            or not chunk.keys() <= fields
            or not chunk.get(usage, _NO_COUNTS).keys() <= counts.keys()
        ):
            raise ValueError
        yield part["text"]


def _folded(chunks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    candidates: dict[int, _Candidate] = {}
    for chunk in chunks:
        if "error" not in message and (chunk.get("error") or not chunk.get("candidates")):
            error = error_of(chunk)
            if error is not None:
                message["error"] = error
        for key, value in chunk.items():
            if key == "candidates":
                _add_candidates(candidates, value)
            elif value is None:
                continue
            elif (name := snake(key)) in _LAST_STANDS:
                message[name] = value
            elif type(value) is dict:
                _add(message, name, value)
    if candidates:
        message["candidates"] = [candidate.folded() for candidate in candidates.values()]
    return message


def _add_candidates(candidates: dict[int, _Candidate], items: Any) -> None:
    for position, item in enumerate(items if type(items) is list else ()):
        if type(item) is dict:
            number = count(item.get("index"))
            index = position if number is None else number
            if index not in candidates:
                candidates[index] = _Candidate(index)
            candidates[index].add(item)


def _add(message: dict[str, Any], name: str, value: dict[str, Any]) -> None:
    if name == "usage_metadata":
        message[name] = _counted(message.get(name), value)
    elif name == "prompt_feedback":
        message[name] = _said(value) | message.get(name, {})  # it comes with the first chunk


def _counted(before: dict[str, Any] | None, after: dict[str, Any]) -> dict[str, Any]:
    if before is None or (after.keys() >= before.keys() and None not in after.values()):  # nearly every chunk
        return after
    return before | {key: value for key, value in after.items() if value is not None}


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {snake(key): value for key, value in fields.items() if value is not None}


_LAST_STANDS = frozenset({"model_version", "response_id", "created"})
_PLAIN_SNAKE = {name: name for name in ("candidates", "usage_metadata", *sorted(_LAST_STANDS))}
_PLAIN_CAMEL = {camel(name): name for name in _PLAIN_SNAKE}
_NO_COUNTS: dict[str, Any] = {}


class _Candidate:
    """One candidate of a message, while its chunks come in.

    Texts are kept in pieces and joined once: adding each to the text before it would take the square of their number.
    """

    __slots__ = ("_fields", "_mark", "_parts", "_pieces", "_role")

    def __init__(self, index: int) -> None:
        self._fields: dict[str, Any] = {"index": index}
        self._role: str | None = None
        self._parts: list[Any] = []
        self._mark: _Mark | None = None  # of the last part, when its text may go on
        self._pieces: list[str] = []

    def add(self, item: Mapping[str, Any]) -> None:
        """Take what one chunk says of it."""
        for key, value in item.items():
            if key == "content":
                if type(value) is dict:
                    self._add_content(value)
            elif key != "index" and value is not None:
                name = snake(key)
                merged = _MERGED.get(name) if name in self._fields else None
                self._fields[name] = merged(self._fields[name], value) if merged else value

    def _add_content(self, content: Mapping[str, Any]) -> None:
        role, parts = content.get("role"), content.get("parts")
        self._role = role if type(role) is str else self._role
        for position, part in enumerate(parts if type(parts) is list else [parts] if parts else []):
            mark, text = _text_in(part)
            if position or mark is None or mark != self._mark:
                self._join()
                self._parts.append(part)
                self._mark, self._pieces = mark, []
            elif mark[0] in _GROWING:
                self._parts[-1] = {mark[0]: self._parts[-1][mark[0]] | part[mark[0]]}  # an outcome comes last
            self._pieces.append(text)

    def _join(self) -> None:
        if len(self._pieces) > 1 and self._mark is not None:
            self._parts[-1] = _with_text(self._parts[-1], self._mark[0], "".join(self._pieces))

    def folded(self) -> dict[str, Any]:
        """Everything that was said of it, as one object."""
        self._join()
        content: dict[str, Any] = {"parts": self._parts} if self._parts else {}
        if self._role is not None:
            content["role"] = self._role
        return {**self._fields, "content": content}


_Mark = tuple[str, Any]
_PLAIN = {"text", "thought"}
_NOT_GOING_ON = (None, "")
_GROWING = {
    "executableCode": "code",
    "executable_code": "code",
    "codeExecutionResult": "output",
    "code_execution_result": "output",
}


def _text_in(part: Any) -> tuple[_Mark | None, str]:
    """Find the text of a part that may go on in the next chunk, behind the mark that the next part must share.

    A part with a signature or anything else beside its text stands alone: a signature belongs to its part, and a call
    of a function comes whole.
    """
    if type(part) is not dict:
        return _NOT_GOING_ON
    if type(part.get("text")) is str:
        return (("text", part.get("thought") is True), part["text"]) if part.keys() <= _PLAIN else _NOT_GOING_ON
    kind = next(iter(part), "") if len(part) == 1 else ""
    inner, name = part.get(kind), _GROWING.get(kind)
    if name is not None and type(inner) is dict and type(inner.get(name)) is str:
        return (kind, inner.get("id")), inner[name]
    return _NOT_GOING_ON


def _with_text(part: dict[str, Any], kind: str, text: str) -> dict[str, Any]:
    return {kind: part[kind] | {_GROWING[kind]: text}} if kind in _GROWING else part | {"text": text}


def _finish(before: Any, after: Any) -> Any:
    return before if type(after) is str and is_unsaid(after) else after


def _ratings(before: Any, after: Any) -> Any:
    """One rating a category, the last; what was blocked once stays blocked."""
    if type(before) is not list or type(after) is not list:
        return after
    merged: dict[Any, dict[str, Any]] = {}
    for rating in (*before, *after):
        if type(rating) is dict:
            category = str(rating.get("category"))
            was_blocked = merged.get(category, {}).get("blocked") is True
            merged[category] = rating | {"blocked": True} if was_blocked else rating
    return list(merged.values())


def _citations(before: Any, after: Any) -> Any:
    """Every source that was cited, once: some streams repeat them, some bring only the new ones."""
    if type(before) is not dict or type(after) is not dict:
        return after
    name = next((name for name in after if type(after[name]) is list), None)
    if name is None or type(before.get(name)) is not list:
        return before | after
    sources = {_plain_fields(source): source for source in (*before[name], *after[name]) if type(source) is dict}
    return before | after | {name: list(sources.values())}


def _plain_fields(source: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset((name, value) for name, value in source.items() if type(value) in (str, int, float))


_MERGED = {"finish_reason": _finish, "safety_ratings": _ratings, "citation_metadata": _citations}
