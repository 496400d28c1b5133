"""What does the model answer?

The same question (contents, system instruction, tools, settings) has the same answer under the same seed, whatever its
dialect and whenever it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from batcher.emulator import chance
from batcher.emulator.faults import FaultKind
from batcher.emulator.pictures import PICTURE_TOKENS, is_alone, is_asked_for, painted
from batcher.emulator.schemas import Material, text_for_enum, value_for
from batcher.emulator.spelling import Asked
from batcher.emulator.texts import key_words, text_for
from batcher.emulator.usage import Usage, of_request, text_tokens, text_within, thinking_tokens

LONGEST_TOKENS = 8192
"""What an answer may take when the request sets no limit."""
_AND_SO_ON = " and so on"  # two tokens and a half


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function the model wants called."""

    name: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to answer.

    Attributes:
        text: None where there is no visible text.
        picture: a PNG.
        thought: a summary of the thinking, when it was asked for.
        tokens: of the visible part.
        avg_logprobs: when log probabilities were asked for.
        cited: whether it recites a source.
        unsafe: whether its safety ratings say so.
    """

    text: str | None = None
    picture: bytes | None = None
    call: Call | None = None
    thought: str | None = None
    finish: str = "STOP"
    tokens: int = 0
    avg_logprobs: float | None = None
    cited: bool = False
    unsafe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Everything a reply to a generate request tells.

    Attributes:
        searched: what was searched for, when a search tool was on.
        block_reason: why there are no candidates, when the prompt is to blame.
        most_tokens: what each candidate was allowed, its thoughts included.
    """

    candidates: tuple[Candidate, ...]
    usage: Usage
    model: str
    searched: str | None = None
    block_reason: str | None = None
    most_tokens: int = LONGEST_TOKENS


def answer(asked: Asked, *, model: str, seed: int, thinks: bool = True, request_usage: Usage | None = None) -> Answer:
    """The model's answer.

    Args:
        asked: the request in canonical form.
        model: its id; another model answers differently where there is no right answer.
        thinks: whether thinking tokens can be told; what cannot be told must not be billed.
        seed: of the emulator; as with the model.
        request_usage: the request's own tokens where they have been counted already.
    """
    drawn = chance.draw(seed, model.encode(), asked.identity())
    candidates = tuple(_candidate(asked, drawn + n, n, model) for n in range(asked.config.get("candidate_count", 1)))
    used = request_usage or of_request(asked)
    visible = sum(each.tokens for each in candidates)
    usage = replace(
        used,
        candidates=visible,
        pictures=PICTURE_TOKENS * sum(each.picture is not None for each in candidates),
        thoughts=_thoughts(asked, model, drawn, visible) if thinks else 0,
    )
    most = asked.config.get("max_output_tokens", LONGEST_TOKENS)
    return Answer(candidates=candidates, usage=usage, model=model, searched=_searched(asked), most_tokens=most)


def spoilt(whole: Answer, kind: FaultKind) -> Answer:
    """What is left of an answer once the service has withheld a part of it.

    The input is charged all the same, the output as far as it is told.
    """
    if kind is FaultKind.BLOCKED:
        return _without_output(replace(whole, candidates=(), block_reason="PROHIBITED_CONTENT"), thoughts=0)
    if kind is FaultKind.EMPTY:
        return _without_output(replace(whole, candidates=()), thoughts=0)
    if kind in _OF_ANOTHER_LENGTH:
        return _OF_ANOTHER_LENGTH[kind](whole)
    if kind in _MISSAID:
        return _retold(whole, _MISSAID[kind])
    withheld = _WITHHELD.get(kind)
    if withheld is None:
        return whole
    thoughts = whole.usage.thoughts if kind is FaultKind.MAX_TOKENS_EMPTY else 0
    return _without_output(replace(whole, candidates=tuple(withheld for _ in whole.candidates)), thoughts=thoughts)


_WITHHELD = {
    FaultKind.MAX_TOKENS_EMPTY: Candidate(finish="MAX_TOKENS"),
    FaultKind.SAFETY: Candidate(finish="SAFETY", unsafe=True),
    FaultKind.RECITATION: Candidate(finish="RECITATION", cited=True),
    FaultKind.OTHER: Candidate(finish="OTHER"),
    FaultKind.NEW_REASON: Candidate(finish="QUIET_HOURS"),  # a reason no client has heard of yet
}


def _broken_off(text: str) -> str:
    """No JSON any more: the last character is missing, and with it the end of the object, the list or the string."""
    return text[:-1] if text[-1:] in ("}", "]", '"') else f"{text},"


def _misfitting(text: str) -> str:
    """JSON of another form: the first field of an object, or the whole of anything else, is wrapped up."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if isinstance(value, dict) and value:
        name, inner = next(iter(value.items()))
        value[name] = "wrapped" if isinstance(inner, dict) else {"wrapped": inner}
    else:
        value = {"wrapped": value} if isinstance(value, list) else [value]
    return orjson.dumps(value).decode()


_MISSAID = {FaultKind.BAD_JSON: _broken_off, FaultKind.MISMATCH: _misfitting}


def _retold(whole: Answer, say: Callable[[str], str]) -> Answer:
    """Every candidate with another text, charged as that text."""
    texts = [None if each.text is None else say(each.text) for each in whole.candidates]
    told = tuple(
        each if text is None else replace(each, text=text, tokens=text_tokens(text))
        for each, text in zip(whole.candidates, texts, strict=True)
    )
    return replace(whole, candidates=told, usage=replace(whole.usage, candidates=sum(each.tokens for each in told)))


def _without_output(left: Answer, *, thoughts: int) -> Answer:
    return replace(left, usage=replace(left.usage, candidates=0, pictures=0, thoughts=thoughts))


def _halved(whole: Answer) -> Answer:
    """Every candidate cut in the middle, as if the limit had been reached there."""
    halves = tuple(_cut_to(each, each.tokens // 2, finish="MAX_TOKENS") for each in whole.candidates)
    usage = replace(whole.usage, candidates=sum(each.tokens for each in halves), pictures=0)
    return replace(whole, candidates=halves, usage=usage)


def _filled(whole: Answer) -> Answer:
    """Every candidate goes on and on, until thoughts and candidates have used up all that the request allows."""
    count = len(whole.candidates)
    left = whole.most_tokens * count - whole.usage.thoughts
    limits = [left // count + (n < left % count) for n in range(count)]
    full = tuple(
        _cut_to(replace(each, text=(each.text or "") + _AND_SO_ON * limit), limit, finish="MAX_TOKENS")
        for each, limit in zip(whole.candidates, limits, strict=True)
    )
    return replace(
        whole, candidates=full, usage=replace(whole.usage, candidates=sum(each.tokens for each in full), pictures=0)
    )


_OF_ANOTHER_LENGTH = {FaultKind.MAX_TOKENS: _halved, FaultKind.FULL_OUTPUT: _filled}


def _cut_to(candidate: Candidate, tokens: int, *, finish: str) -> Candidate:
    text = text_within(candidate.text or "", tokens)
    return replace(candidate, text=text or None, picture=None, call=None, finish=finish, tokens=text_tokens(text))


def _candidate(asked: Asked, drawn: int, index: int, model: str) -> Candidate:
    thought = f"Let me think about {asked.prompt[:60].strip() or 'this'}." if _tells_thoughts(asked) else None
    call = _call(asked, drawn)
    paints = call is None and is_asked_for(asked.config, model)
    # A call is charged as its JSON text.
    speaks = call is None and not (paints and is_alone(asked.config))
    text = _stopped(_text(asked, drawn, index), asked.config.get("stop_sequences") or ()) if speaks else ""
    spoken = text_tokens(text) if call is None else text_tokens(orjson.dumps([call.name, call.args]).decode())
    whole = Candidate(
        text=text or None,
        picture=painted(drawn) if paints else None,
        call=call,
        thought=thought,
        tokens=spoken + (PICTURE_TOKENS if paints else 0),
        avg_logprobs=-chance.share(drawn) if asked.config.get("response_logprobs") else None,
    )
    most = asked.config.get("max_output_tokens", LONGEST_TOKENS)
    return whole if whole.tokens <= most else _cut_to(whole, most, finish="MAX_TOKENS")


def _text(asked: Asked, drawn: int, index: int) -> str:
    config = asked.config
    mime_type = config.get("response_mime_type", "text/plain")
    schema = config.get("response_json_schema") or config.get("response_schema") or {}
    if mime_type == "application/json":
        return orjson.dumps(value_for(schema or _FREE_JSON, _material(asked, drawn))).decode()
    if mime_type == "text/x.enum":
        return text_for_enum(schema, _material(asked, drawn))
    return text_for(asked.prompt, drawn=drawn, variant=index)


# JSON without a schema: an object with the answer in it.
_FREE_JSON = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


def _material(asked: Asked, drawn: int) -> Material:
    words = tuple(key_words(asked.prompt)[:12])
    return Material(answer=text_for(asked.prompt, drawn=drawn), words=words, chance=chance.stream(drawn))


def _stopped(text: str, stop_sequences: Sequence[str]) -> str:
    ends = [found for stop in stop_sequences if stop and (found := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def _call(asked: Asked, drawn: int) -> Call | None:
    """The function to call: only where the request leaves no choice (mode ANY)."""
    calling = asked.body.get("tool_config", {}).get("function_calling_config", {})
    if calling.get("mode") != "ANY":
        return None
    allowed = calling.get("allowed_function_names")
    declared = [each for tool in asked.body.get("tools", ()) for each in tool.get("function_declarations", ())]
    open_to = [each for each in declared if each.get("name") and (not allowed or each["name"] in allowed)]
    if not open_to:
        return None
    chosen = open_to[drawn % len(open_to)]
    schema = chosen.get("parameters_json_schema") or chosen.get("parameters") or {"type": "object"}
    args = value_for(schema, _material(asked, drawn))
    return Call(name=chosen["name"], args=args if isinstance(args, dict) else {})


def _thoughts(asked: Asked, model: str, drawn: int, visible: int) -> int:
    """Thinking tokens; visible ones have the first claim on the limit, so that the text never depends on thinking."""
    most: int = asked.config.get("max_output_tokens", LONGEST_TOKENS) * asked.config.get("candidate_count", 1)
    return max(0, min(thinking_tokens(asked, model=model, drawn=drawn), most - visible))


def _tells_thoughts(asked: Asked) -> bool:
    thinking: Mapping[str, Any] = asked.config.get("thinking_config", {})
    return bool(thinking.get("include_thoughts")) and thinking.get("thinking_budget") != 0


def _searched(asked: Asked) -> str | None:
    on = any("google_search" in tool or "google_search_retrieval" in tool for tool in asked.body.get("tools", ()))
    return " ".join(key_words(asked.prompt)[:4]) if on else None
