from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.request import canonical
from batcher.rows.chats import answer_text, chat_request, is_chat, split
from tests.strategies import json_values, texts

said = texts.filter(bool)
turns = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": said}), max_size=6
)
ROLES = {"user": "user", "assistant": "model"}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def wrong(*chat: Any) -> str:
    with pytest.raises(ValueError, match=r"^messages") as caught:
        chat_request(list(chat), where="messages")
    return str(caught.value).removeprefix("messages")


@given(turns)
def test_a_chat_is_its_question_and_its_answers(chat: list[dict[str, str]]) -> None:
    asked, answers = split(chat)

    assert [*asked, *answers] == chat
    assert not asked or asked[-1]["role"] != "assistant"
    assert answer_text(answers) == ("\n".join(turn["content"] for turn in answers) if answers else None)


@given(turns)
def test_every_turn_is_sent_once_and_in_order(chat: list[dict[str, str]]) -> None:
    spoken = [turn for turn in chat if turn["role"] != "system"]
    orders = [turn for turn in chat if turn["role"] == "system"]
    if not chat:
        assert wrong(*chat) == ": nothing is asked"
        return
    if not spoken:  # the last order is what is asked
        spoken = [orders.pop()]
    request = chat_request(chat, where="messages")

    assert [(content["role"], content["parts"][0]["text"]) for content in request["contents"]] == [
        (ROLES.get(turn["role"], "user"), turn["content"]) for turn in spoken
    ]
    instructions = "\n\n".join(turn["content"] for turn in orders)
    assert request.get("system_instruction", {"parts": [{"text": ""}]})["parts"] == [{"text": instructions}]
    assert canonical(request) == request


@given(json_values)
def test_whatever_a_chat_column_holds_is_a_request_or_a_reason(value: Any) -> None:
    assert is_chat(value) in (True, False)
    try:
        assert chat_request(value, where="messages")["contents"]
    except ValueError as error:
        assert str(error).startswith("messages")  # noqa: PT017  either is right


@given(turns)
def test_sharegpt_says_the_same_in_other_words(chat: list[dict[str, str]]) -> None:
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    theirs = [{"from": names[turn["role"]], "value": turn["content"]} for turn in chat]

    assert [len(side) for side in split(theirs)] == [len(side) for side in split(chat)]
    assert answer_text(split(theirs)[1]) == answer_text(split(chat)[1])
    if chat:
        assert chat_request(theirs, where="x") == chat_request(chat, where="x")


def test_a_null_field_is_an_absent_one_as_a_table_has_it() -> None:
    turn = {"role": "user", "content": "hi", "name": None, "tool_calls": None}

    assert chat_request([turn], where="messages") == chat_request([user("hi")], where="messages")


def test_parts_of_text_are_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}, "c"]

    (content,) = chat_request([user(parts)], where="messages")["contents"]
    assert content["parts"] == [{"text": "a"}, {"text": "b"}, {"text": "c"}]


def test_what_is_no_text_is_for_whoever_can_make_a_part_of_it() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}

    def medium(item: Mapping[str, Any]) -> dict[str, Any]:
        return {"inline_data": {"mime_type": "image/png", "data": item["image_url"]["url"].partition(",")[2]}}

    (content,) = chat_request([user([picture])], where="messages", medium=medium)["contents"]
    assert content["parts"] == [{"inline_data": {"mime_type": "image/png", "data": "AA=="}}]
    assert wrong(user([picture])) == "[0]: content of the type 'image_url' has no place here: wanted text"


def test_a_tool_is_called_and_answers_under_its_name() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 17, "b": 25}'}}
    chat = [
        user("What is 17 + 25?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]

    request = chat_request(chat, where="messages")
    assert canonical(request) == request
    assert request["contents"][1:] == [
        {"role": "model", "parts": [{"function_call": {"name": "add", "args": {"a": 17, "b": 25}}}]},
        {"role": "user", "parts": [{"function_response": {"name": "add", "response": {"result": 42}}}]},
    ]


def test_sharegpts_function_calls_are_calls() -> None:
    chat = [
        {"from": "human", "value": "What is 17 + 25?"},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 17}}'},
        {"from": "observation", "value": '{"sum": 42}'},
    ]

    assert [next(iter(content["parts"][0])) for content in chat_request(chat, where="x")["contents"]] == [
        *("text", "function_call", "function_response"),
    ]


def test_an_answer_that_calls_a_tool_is_kept_whole() -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add"}}]}

    assert orjson.loads(answer_text([turn]) or "") == [turn]


@pytest.mark.parametrize(
    ("turn", "why"),
    [
        ("hi", "[0]: wanted a turn, found text"),
        ({"role": "critic", "content": "a"}, "[0]: role: found 'critic', wanted user, assistant, system or tool"),
        ({"content": "a"}, "[0]: role: found None, wanted user, assistant, system or tool"),
        ({"role": "user", "content": ""}, "[0]: the turn is empty"),
        ({"role": "user"}, "[0]: the turn is empty"),
        ({"role": "user", "content": 3}, "[0]: content: wanted text or a list, found a number"),
        ({"role": "user", "content": [3]}, "[0]: content: wanted text or objects, found a number"),
        ({"role": "tool", "content": "42"}, "[0]: a tool's result that belongs to no call before it"),
        ({"role": "assistant", "tool_calls": [{}]}, "[0]: a tool call without the name of its function"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
            "[0]: arguments: not JSON",
        ),
    ],
)
def test_what_is_no_turn_says_so(turn: Any, why: str) -> None:
    assert wrong(turn) == why


@pytest.mark.parametrize(("chat", "found"), [(None, "nothing"), ("[]", "text"), ({"role": "user"}, "an object")])
def test_what_is_no_chat_says_so(chat: object, found: str) -> None:
    with pytest.raises(ValueError, match=f"^messages: wanted a list of turns, found {found}$"):
        chat_request(chat, where="messages")
