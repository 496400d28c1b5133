"""What trainers ask of a line, restated as rules with their sources, and strategies for conversations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

TEXTS = st.text(max_size=40)


@st.composite
def conversations(draw):
    """Turns of text, the answer last, with or without a system instruction."""
    turns = [{"role": "system", "content": draw(TEXTS)}] if draw(st.booleans()) else []
    roles = draw(st.lists(st.sampled_from(["user", "assistant"]), max_size=2))
    turns += [{"role": role, "content": draw(TEXTS)} for role in roles]
    return [*turns, {"role": "user", "content": draw(TEXTS)}, {"role": "assistant", "content": draw(TEXTS)}]


def is_conversational(example: Mapping[str, Any]) -> bool:
    """TRL's rule (trl 1.16.0, data_utils.py, `is_conversational`), for whichever of its keys it happens to look at.

    It takes any one of the keys that it knows, and wants a list there whose first item is a mapping with a role. It
    looks at one key of a set, in no order: so all that are there must do.
    """
    known = [example[key] for key in ("prompt", "chosen", "rejected", "completion", "messages") if key in example]
    return bool(known) and all(
        isinstance(value, list) and value and isinstance(value[0], dict) and "role" in value[0] for value in known
    )


def trl_template_keys(example: Mapping[str, Any]) -> bool:
    """TRL's `apply_chat_template` raises KeyError for `messages` beside any other key that it knows."""
    known = {"prompt", "chosen", "rejected", "completion", "messages", "label"}
    return known.intersection(example) == {"messages"}


def openai_faults(example: Mapping[str, Any]) -> list[str]:
    """What the format check of OpenAI's cookbook (Chat_finetuning_data_prep, 2023-08-22) would count."""
    faults = [] if example.keys() == {"messages"} else ["unrecognized_key"]
    messages = example.get("messages") or []
    for message in messages:
        if not {"role", "content"} <= message.keys():
            faults.append("message_missing_key")
        if message.keys() - {"role", "content", "name", "function_call", "weight"}:
            faults.append("message_unrecognized_key")
        if message.get("role") not in {"system", "user", "assistant", "function"}:
            faults.append("unrecognized_role")
        if not isinstance(message.get("content"), str):
            faults.append("missing_content")
    if not any(message.get("role") == "assistant" for message in messages):
        faults.append("example_missing_assistant_message")
    return faults
