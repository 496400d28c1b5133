from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator.texts import key_words, text_for


def text(prompt: str, *, variant: int = 0, drawn: int = 1) -> str:
    return text_for(prompt, drawn=drawn, variant=variant)


PASSAGE = (
    "Passage: The lighthouse was built in 1887. Its keeper, Anna Berg, wrote a diary every night. "
    "In 1954 the lamp was made automatic.\n"
)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("What is 17 * 23?", "391"),
        ("Translate to French: Good morning", "Good morning"),
        ("Translate the following sentence into German: I am here.", "I am here."),
        ("Echo: one two", "one two"),
        ("Please repeat after me: la la", "la la"),
        ("Summarize this: It rained all day. Nobody went out. We read.", "It rained all day."),
        (PASSAGE + "Question: Who wrote a diary?\nAnswer:", "Its keeper, Anna Berg, wrote a diary every night."),
        (PASSAGE + "Question: When was the lamp made automatic?", "In 1954 the lamp was made automatic."),
        ("Context: Rain fell. The dog ran home.\nQ: Where did the dog run?\nA:", "The dog ran home."),
        ("Review: What a joyful, positive film.\nAnswer with one of: positive, negative, neutral", "positive"),
        ("Is this spam or ham? Reply with one of: spam, ham\nThis ham is ham, really.", "ham"),
        ("Choose from: red / green", "red"),
    ],
)
def test_a_prompt_that_asks_for_something_definite_gets_it(prompt: str, answer: str) -> None:
    assert text(prompt) == answer


@pytest.mark.parametrize(
    ("header", "expression"),
    [
        ("def add(a: int, b: int) -> int:", "a + b"),
        ("def size(text: str) -> int:", "len(str(text))"),
        ("def truncate(number: float) -> float:", "float(number) % 1.0"),
        ("def has(numbers: List[float], threshold: float) -> bool:", "bool(numbers)"),
        ("def sort(numbers: List[int]) -> List[int]:", "sorted(numbers)"),
        ("def shout(text) -> str:", "str(text)"),
        ("def same(thing):", "thing"),
        ("def nothing():", "None"),
    ],
)
def test_a_function_that_was_begun_gets_a_body_that_python_can_read(header: str, expression: str) -> None:
    prompt = f'from typing import List\n\n\n{header}\n    """Do it.\n    >>> it\n    """\n'
    body = text(prompt)
    assert body == f"    return {expression}\n"
    ast.parse(prompt + body)


def test_only_the_last_function_is_continued() -> None:
    prompt = "def other(x):\n    return x\n\ndef main(values: list) -> list:\n"
    assert text(prompt) == "    return sorted(values)\n"


def test_other_prompts_get_a_paragraph_about_their_own_words() -> None:
    answer = text("Tell me something about glaciers and fjords in Norway.")
    assert any(word in answer for word in ("glaciers", "fjords", "Norway"))
    assert answer.count(".") == 3


@given(st.text(max_size=200), st.integers(0, 2**64 - 1), st.integers(0, 7))
def test_every_prompt_gets_some_text_and_always_the_same(prompt: str, drawn: int, variant: int) -> None:
    first = text(prompt, drawn=drawn, variant=variant)
    assert first.strip() or prompt.strip() == "" or "def " in prompt or ":" in prompt
    assert first == text(prompt, drawn=drawn, variant=variant)


@pytest.mark.parametrize("prompt", ["What is 17 * 23?", "Echo: hi", "Tell me about whales"])
def test_several_candidates_read_differently(prompt: str) -> None:
    assert len({text(prompt, variant=n, drawn=n) for n in range(8)}) == 8


def test_key_words_are_the_less_common_ones_each_once_in_order() -> None:
    assert key_words("What about the whale, the ocean and the whale's ocean?") == ["whale", "ocean", "whale's"]
    assert key_words("is it a 42?") == []


def test_a_long_prompt_is_only_looked_at_in_its_beginning() -> None:
    assert key_words("whale " + " " * 10_000 + "ocean") == ["whale"]


@pytest.mark.parametrize(
    "prompt",
    [
        "text: lorem ipsum " * 20_000,
        "def f(" * 50_000,
        "options " + "word " * 50_000,
        "what is " + "1+" * 100_000,
        "compute " + "( " * 100_000,
        "Question: " * 20_000 + "context: " * 20_000,
        "echo" + " " * 300_000,
    ],
)
def test_no_prompt_keeps_it_busy(prompt: str) -> None:
    """Quadratic patterns took 20 s here; the suite's own timeout is the judge, not a clock."""
    assert text(prompt)


def test_a_question_at_the_end_of_a_long_prompt_is_seen() -> None:
    filler = "Nothing happened for a long while. " * 2_000
    assert (
        text(filler + PASSAGE + "Question: Who wrote a diary?") == "Its keeper, Anna Berg, wrote a diary every night."
    )
