from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from batcher.errors import InputError
from batcher.job.spec import InputShape
from batcher.rows.shapes import AmbiguousInputError, Shape, detect
from tests.strategies import json_rows

CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]


def shape_of(
    *samples: dict[str, Any],
    wanted: InputShape = InputShape.AUTO,
    id_column: str | None = None,
    has_template: bool = False,
) -> Shape:
    return detect(samples, wanted=wanted, id_column=id_column, has_template=has_template, where="in.jsonl")


@pytest.mark.parametrize(
    ("sample", "kind", "prompt_key", "id_key"),
    [
        ({"prompt": "a"}, InputShape.PROMPT, "prompt", None),
        ({"text": "a", "lang": "en"}, InputShape.PROMPT, "text", None),
        ({"prompt": "a", "text": "b"}, InputShape.PROMPT, "prompt", None),
        ({"id": 7, "prompt": "a"}, InputShape.PROMPT, "prompt", "id"),
        ({"task_id": "HumanEval/0", "prompt": "def f():"}, InputShape.PROMPT, "prompt", "task_id"),
        ({"custom_id": "c", "key": "k", "prompt": "a"}, InputShape.PROMPT, "prompt", "key"),
        ({"id": {"a": 1}, "key": "k", "prompt": "a"}, InputShape.PROMPT, "prompt", "key"),
        ({"contents": CONTENTS}, InputShape.CONTENTS, "contents", None),
        ({"contents": '[{"parts": []}]', "text": "a"}, InputShape.CONTENTS, "contents", None),
        ({"key": "k", "request": {"contents": CONTENTS}}, InputShape.GEMINI_BATCH, "request", "key"),
        ({"id": 1, "key": "k", "request": {"contents": CONTENTS}}, InputShape.GEMINI_BATCH, "request", "key"),
    ],
)
def test_a_row_tells_its_shape(sample: dict[str, Any], kind: InputShape, prompt_key: str, id_key: str | None) -> None:
    shape = shape_of(sample)

    assert (shape.kind, shape.prompt_key, shape.id_key) == (kind, prompt_key, id_key)
    assert {prompt_key, id_key} - {None} <= shape.consumed


def test_a_template_makes_any_row_a_table() -> None:
    shape = shape_of({"id": 1, "prompt": "a", "contents": CONTENTS}, has_template=True)

    assert shape == Shape(kind=InputShape.TABLE, id_key="id", consumed=frozenset({"id"}))


def test_two_carriers_are_refused_with_the_flags_that_decide() -> None:
    with pytest.raises(InputError) as caught:
        shape_of({"prompt": "a", "contents": CONTENTS})

    assert caught.value.message == "in.jsonl: 'contents' and 'prompt' could each be what is asked; say which"
    assert caught.value.hint == "--shape contents or --shape prompt"


def test_carriers_in_different_rows_are_rivals_too() -> None:
    with pytest.raises(InputError, match="could each be"):
        shape_of({"prompt": "a"}, {"contents": CONTENTS})


@pytest.mark.parametrize("wanted", [InputShape.PROMPT, InputShape.CONTENTS])
def test_an_explicit_shape_decides_between_rivals(wanted: InputShape) -> None:
    assert shape_of({"prompt": "a", "contents": CONTENTS}, wanted=wanted).kind is wanted


def test_nothing_to_ask_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        shape_of({"question": "a", "answer": "b"})

    assert caught.value.message == (
        "in.jsonl: found nothing to ask in its columns ('question', 'answer'); "
        "wanted 'request' or 'contents' or 'body' or 'messages' or 'conversations' or 'prompt' or 'instruction' "
        "or 'input' or 'text'"
    )
    assert caught.value.hint == "a template makes a prompt of any columns: --template 'Answer: {{ question }}'"


@pytest.mark.parametrize(
    ("sample", "column"),
    [
        ({"id": "a long name of a row", "n": 7, "title": "a", "the body": "abc def", "mail": "abc"}, "mail"),
        ({"question": "a", "context": "a b c"}, "question"),
        ({"id": None, "ctx": None, "endings": None}, "ctx"),
        ({"n": 7}, "question"),
    ],
)
def test_the_template_that_is_shown_has_a_column_of_the_rows(sample: dict[str, Any], column: str) -> None:
    for wanted in (InputShape.AUTO, InputShape.TABLE):
        with pytest.raises(InputError) as caught:
            shape_of(sample, wanted=wanted)
        assert caught.value.hint.endswith(f"--template 'Answer: {{{{ {column} }}}}'")


def test_a_shape_that_the_rows_do_not_have_is_refused() -> None:
    with pytest.raises(InputError, match=r"wanted 'request' for the shape gemini-batch$"):
        shape_of({"prompt": "a"}, wanted=InputShape.GEMINI_BATCH)


def test_a_table_needs_a_template() -> None:
    with pytest.raises(InputError, match="need a template"):
        shape_of({"prompt": "a"}, wanted=InputShape.TABLE)


def test_the_jobs_id_column_wins_and_must_exist() -> None:
    assert shape_of({"id": 1, "name": "x", "prompt": "a"}, id_column="name").id_key == "name"
    with pytest.raises(InputError, match=r"input\.id: column 'nam' not found; did you mean 'name'\?"):
        shape_of({"name": "x", "prompt": "a"}, id_column="nam")


@pytest.mark.parametrize("wanted", [InputShape.AUTO, InputShape.PROMPT, InputShape.CONTENTS, InputShape.GEMINI_BATCH])
def test_an_input_without_rows_has_a_shape_all_the_same(wanted: InputShape) -> None:
    assert shape_of(wanted=wanted, id_column="name").id_key == "name"


QUESTION = [{"role": "user", "content": "hi"}]
ANSWERED = [*CONTENTS, {"role": "model", "parts": [{"text": "yes"}]}]


@pytest.mark.parametrize(
    ("sample", "kind"),
    [
        ({"prompt": "a", "completion": "b"}, InputShape.PROMPT_COMPLETION),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, InputShape.PREFERENCE),
        ({"prompt": "a", "chosen": "b"}, InputShape.PROMPT),
        ({"messages": QUESTION}, InputShape.MESSAGES),
        ({"messages": '[{"role": "user", "content": "hi"}]'}, InputShape.MESSAGES),
        ({"conversations": QUESTION}, InputShape.MESSAGES),
        ({"conversations": [{"from": "human", "value": "hi"}]}, InputShape.SHAREGPT),
        ({"messages": ["a", "b"], "prompt": "c"}, InputShape.PROMPT),
        ({"body": "Dear Ana", "prompt": "Answer this mail"}, InputShape.PROMPT),
        ({"instruction": "a", "input": "b", "output": "c", "text": "all of it"}, InputShape.ALPACA),
        ({"instruction": "a", "generation": None, "model_name": "m"}, InputShape.ALPACA),
        ({"input": "a", "target": "b"}, InputShape.INSPECT),
        ({"input": QUESTION, "ideal": "b"}, InputShape.OPENAI_EVALS),
        ({"text": "a", "input": "b"}, InputShape.PROMPT),
        ({"prompt": "[INST] a"}, InputShape.PROMPT),
        ({"prompt": "[1]"}, InputShape.PROMPT),
        ({"contents": ANSWERED}, InputShape.GEMINI_TUNING),
        ({"request": {"contents": CONTENTS}, "lang": "en"}, InputShape.VERTEX_BATCH),
        ({"request": "Please help", "prompt": "a"}, InputShape.PROMPT),
    ],
)
def test_the_most_specific_signature_counts(sample: dict[str, Any], kind: InputShape) -> None:
    assert shape_of(sample).kind is kind


@pytest.mark.parametrize(
    ("sample", "hint"),
    [
        ({"messages": QUESTION, "prompt": "a"}, "--shape messages or --shape prompt"),
        ({"messages": QUESTION, "conversations": QUESTION}, "--shape messages or --shape sharegpt"),
        (
            {"messages": QUESTION, "conversations": [{"from": "human", "value": "a"}]},
            "--shape messages or --shape sharegpt",
        ),
        ({"prompt": "### Response: 42", "instruction": "a", "output": "42"}, "--shape prompt or --shape alpaca"),
        ({"request": {}, "key": "k", "contents": CONTENTS}, "--shape gemini-batch or --shape contents"),
        ({"body": {"messages": QUESTION}, "messages": QUESTION}, "--shape openai-batch or --shape messages"),
    ],
)
def test_rivals_are_never_guessed_and_each_flag_decides(sample: dict[str, Any], hint: str) -> None:
    with pytest.raises(AmbiguousInputError) as caught:
        shape_of(sample)
    assert caught.value.hint == hint
    chosen = [shape_of(sample, wanted=kind) for kind in caught.value.kinds]
    assert [shape.kind for shape in chosen] == list(caught.value.kinds)
    assert {shape.prompt_key for shape in chosen} == set(caught.value.keys)


def test_contents_that_end_with_an_answer_now_and_then_are_ambiguous() -> None:
    with pytest.raises(AmbiguousInputError) as caught:
        shape_of({"contents": CONTENTS}, {"contents": ANSWERED})
    assert caught.value.message == (
        "in.jsonl: 'contents' ends with an answer in some rows and not in others; say what it is"
    )
    assert caught.value.hint == "--shape contents or --shape gemini-tuning"


def test_what_stands_in_the_output_is_consumed_and_a_chat_stays() -> None:
    assert shape_of({"prompt": "a", "completion": "b"}).consumed == {"prompt", "completion"}
    assert shape_of({"prompt": QUESTION, "completion": QUESTION}).consumed == {"completion"}
    assert shape_of({"messages": QUESTION, "id": 1}).consumed == {"id"}
    assert shape_of({"instruction": "a", "input": "", "output": "b"}).consumed == {"output"}
    assert shape_of({"instruction": "a"}).reference_key is None


@given(json_rows)
def test_any_row_has_a_shape_or_is_refused(row: dict[str, Any]) -> None:
    try:
        shape = shape_of(row)
    except InputError:
        return
    assert shape.kind is not InputShape.AUTO
    assert shape.prompt_key in row


def test_the_batch_of_another_endpoint_is_refused() -> None:
    row = {"custom_id": "a", "body": {"model": "m", "input": "hi"}}
    wanted = "in.jsonl: wanted messages, as a batch of /v1/chat/completions has them, found"

    with pytest.raises(InputError) as caught:
        shape_of({**row, "url": "/v1/embeddings"})
    assert caught.value.message == f"{wanted} /v1/embeddings"
    with pytest.raises(InputError) as caught:
        shape_of(row, wanted=InputShape.OPENAI_BATCH)
    assert caught.value.message == f"{wanted} a body of 'model', 'input'"
    assert shape_of(row, {"body": {"messages": QUESTION}}).kind is InputShape.OPENAI_BATCH
