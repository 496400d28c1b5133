"""What does a chat in another maker's words ask? OpenAI and TRL messages, ShareGPT turns: to contents.

A chat is a list of turns, `{"role", "content"}` or ShareGPT's `{"from", "value"}`. Its trailing answers are not asked
again: `split` gives them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

Turn = Mapping[str, Any]
Part = dict[str, Any]
Medium = Callable[[Mapping[str, Any]], Part]
"""Makes a part of a content item that is no text (`{"type": "image_url", …}`); ValueError says why it cannot."""

USER, MODEL, SYSTEM, TOOL = "user", "model", "system", "tool"
_ROLES = {
    "user": USER,
    "human": USER,
    "assistant": MODEL,
    "model": MODEL,
    "gpt": MODEL,
    "chatgpt": MODEL,
    "bot": MODEL,
    "function_call": MODEL,
    "system": SYSTEM,
    "developer": SYSTEM,
    "tool": TOOL,
    "function": TOOL,
    "ipython": TOOL,
    "observation": TOOL,
    "function_response": TOOL,
}
# OpenAI's evals write examples as system messages with a name; as an instruction they would be answered by nobody.
_EXAMPLES = {"example_user": USER, "example_assistant": MODEL}
_TEXT_TYPES = ("text", "input_text", "output_text")


def no_medium(item: Mapping[str, Any]) -> Part:
    """Refuse what is no text.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"content of the type {item.get('type')!r} has no place here: wanted text")


def is_chat(value: object) -> bool:
    """Say whether a value is a list of turns."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(turn, Mapping) and _speaker(turn) for turn in value)


def is_sharegpt(value: object) -> bool:
    """Say whether a chat is in ShareGPT's words."""
    return isinstance(value, list) and any(isinstance(turn, Mapping) and turn.get("from") for turn in value)


def split(turns: Sequence[Turn]) -> tuple[Sequence[Turn], Sequence[Turn]]:
    """Part a chat into what is asked and the answers at its end, which may be none."""
    end = len(turns)
    while end and isinstance(turns[end - 1], Mapping) and _role(turns[end - 1]) == MODEL:
        end -= 1
    return turns[:end], turns[end:]


def answer_text(turns: Sequence[Turn]) -> str | None:
    """Give the text of answers; where they have none, but call a tool, the JSON of the turns; None for no turns."""
    texts = [text for turn in turns if (text := _text(_content(turn)))]
    if texts:
        return "\n".join(texts)
    return orjson.dumps(list(turns), default=str).decode() if turns else None


def chat_request(turns: object, *, where: str, medium: Medium = no_medium) -> dict[str, Any]:
    """Make the request that asks for the next turn of a chat.

    System turns become the instruction, whatever their place: Gemini takes one. In a chat of system turns alone, as
    some of OpenAI's evals are, the last of them is what is asked.

    Args:
        turns: the chat without the answers that are not to be sent.
        where: its column, for messages.
        medium: makes parts of what is no text.

    Raises:
        ValueError: it is no chat, or asks nothing; the text says which turn.
    """
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise ValueError(f"{where}: wanted a list of turns, found {_named(turns)}")  # noqa: TRY004  a row's fault
    contents: list[dict[str, Any]] = []
    instructions: list[str] = []
    calls: dict[str, str] = {}
    for place, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise ValueError(f"{where}[{place}]: wanted a turn, found {_named(turn)}")  # noqa: TRY004  a row's fault
        try:
            role = _role(turn)
            if role == SYSTEM:
                instructions.append(_only_text(turn))
            elif role is not None:
                contents.append(_content_of(turn, role, calls, medium))
            else:
                raise ValueError(f"role: found {_speaker(turn)!r}, wanted user, assistant, system or tool")  # noqa: TRY301
        except ValueError as error:
            raise ValueError(f"{where}[{place}]: {error}") from None
    if not contents and instructions:
        contents.append({"role": USER, "parts": [{"text": instructions.pop()}]})
    if not contents:
        raise ValueError(f"{where}: nothing is asked")
    request: dict[str, Any] = {"contents": contents}
    if instructions:
        request["system_instruction"] = {"parts": [{"text": "\n\n".join(instructions)}]}
    return request


def _content_of(turn: Turn, role: str, calls: dict[str, str], medium: Medium) -> dict[str, Any]:
    if role == TOOL:
        return {"role": USER, "parts": [_tool_result(turn, calls)]}
    parts = _parts(_content(turn), medium) if _speaker(turn) != "function_call" else []
    if role == MODEL:
        parts += [_tool_call(call, calls) for call in _tool_calls(turn)]
    if not parts:
        raise ValueError("the turn is empty")
    return {"role": role, "parts": parts}


def _parts(content: object, medium: Medium) -> list[Part]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"text": content}]
    if not isinstance(content, list):
        raise ValueError(f"content: wanted text or a list, found {_named(content)}")  # noqa: TRY004  a row's fault
    return [_part(item, medium) for item in content]


def _part(item: object, medium: Medium) -> Part:
    if isinstance(item, str):
        return {"text": item}
    if not isinstance(item, Mapping):
        raise ValueError(f"content: wanted text or objects, found {_named(item)}")  # noqa: TRY004  a row's fault
    if item.get("type", "text") in _TEXT_TYPES and isinstance(item.get("text"), str):
        return {"text": item["text"]}
    return medium(item)


def _only_text(turn: Turn) -> str:
    parts = _parts(_content(turn), no_medium)
    return "".join(part["text"] for part in parts)


def _tool_calls(turn: Turn) -> list[Mapping[str, Any]]:
    if _speaker(turn) == "function_call":  # ShareGPT: the whole turn is the call, as JSON text
        return [{"function": _object(_content(turn), "a function call")}]
    calls = turn.get("tool_calls") or ()
    single = turn.get("function_call")  # OpenAI before tools
    found = [*calls, {"function": single}] if isinstance(single, Mapping) else [*calls]
    return [call if isinstance(call, Mapping) else {} for call in found]


def _tool_call(call: Mapping[str, Any], calls: dict[str, str]) -> Part:
    function = call.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str):
        raise ValueError("a tool call without the name of its function")  # noqa: TRY004  a row's fault
    calls[str(call.get("id") or "")] = name
    return {"function_call": {"name": name, "args": _object(function.get("arguments") or {}, "arguments")}}


def _tool_result(turn: Turn, calls: Mapping[str, str]) -> Part:
    name = turn.get("name") or calls.get(str(turn.get("tool_call_id") or ""))
    if not isinstance(name, str):
        raise ValueError("a tool's result that belongs to no call before it")  # noqa: TRY004  a row's fault
    content = _content(turn)
    text = content if isinstance(content, str) else _only_text(turn)
    try:
        result = orjson.loads(text)
    except orjson.JSONDecodeError:
        result = text
    return {"function_response": {"name": name, "response": result if isinstance(result, dict) else {"result": result}}}


def _object(value: object, what: str) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise ValueError(f"{what}: not JSON") from None
    if not isinstance(value, Mapping):
        raise ValueError(f"{what}: wanted an object, found {_named(value)}")  # noqa: TRY004  a row's fault
    return value


def _speaker(turn: Turn) -> object:
    return turn.get("role") or turn.get("from")


def _role(turn: Turn) -> str | None:
    role = _ROLES.get(str(_speaker(turn)).lower())
    return _EXAMPLES.get(str(turn.get("name")), role) if role == SYSTEM else role


def _content(turn: Turn) -> object:
    """Give what a turn says: OpenAI's `content`, ShareGPT's `value`, Gemini's `parts`."""
    return next((turn[key] for key in ("content", "value", "parts") if turn.get(key) is not None), None)


def _text(content: object) -> str:
    items = content if isinstance(content, list) else [content]
    texts = [item.get("text") if isinstance(item, Mapping) else item for item in items]
    return "".join(text for text in texts if isinstance(text, str))


def _named(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
