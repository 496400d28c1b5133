import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.datasets.messages import Answered, Asked, Gap, Turns, turns_of
from batcher.errors import PlanChanged
from batcher.gemini.canonical import canonical
from batcher.gemini.request import encode
from batcher.job.spec import Dialect
from batcher.records import Problem
from tests.builders import a_request

HASH = b"0123456789abcdef"


def content(role, *parts):
    made = {"parts": [{"text": part} if isinstance(part, str) else part for part in parts]}
    return made if role is None else {"role": role, **made}


def said(*turns):
    return [{"role": role, "content": text} for role, text in turns]


def answered(ordinal=0, prompt="And 2 + 2?", request_hash=HASH):
    return Answered(ordinal, prompt, request_hash)


THREE_TURNS = {
    "contents": [content("user", "What is 1 + 1?"), content("model", "2"), content("user", "And 2 + 2?")],
    "system_instruction": content(None, "You are ", "a calculator."),
}
THREE_TURNS_SAID = said(
    ("system", "You are a calculator."), ("user", "What is 1 + 1?"), ("assistant", "2"), ("user", "And 2 + 2?")
)


def test_all_turns_are_kept():
    assert turns_of(THREE_TURNS) == THREE_TURNS_SAID


def test_a_turn_without_a_role_is_the_users():
    assert turns_of({"contents": [content(None, "Hi")]}) == said(("user", "Hi"))


def test_thoughts_are_left_out():
    thought = {"text": "hm", "thought": True}
    request = {"contents": [content("model", thought, {"text": "2", "thought_signature": "x"}), content("user", "So?")]}
    assert turns_of(request) == said(("assistant", "2"), ("user", "So?"))


@pytest.mark.parametrize(
    "turn",
    [
        content("user", "What is this?", {"inline_data": {"mime_type": "image/png", "data": "aGk="}}),
        content("model", {"function_call": {"name": "add", "args": {}}}),
        content("function", "4"),
        content("system", "late"),
    ],
)
def test_what_is_more_than_text_is_a_gap(turn):
    assert turns_of({"contents": [content("user", "Hi"), turn]}) is Gap.NO_TEXT


def proven(system=None):
    """Turns of a job whose rows are texts and nothing else."""
    return Turns(system, lambda _prompt: HASH)


def test_a_prompt_that_is_proven_to_be_all_needs_no_input():
    row = answered(prompt="Hi")
    source = proven("Be brief.")
    source.take(gone())
    assert proven().of(row) == said(("user", "Hi"))
    assert source.of(row) == said(("system", "Be brief."), ("user", "Hi"))
    assert source.notes() == []


def requests(*rows, dialect=Dialect.GOOGLE):
    """Each row: (ordinal, request, hash)."""
    return iter(
        [
            Asked(
                ordinal,
                f"row-{ordinal}",
                a_request("And 2 + 2?", body=encode(request, dialect=dialect, model="m"), request_hash=request_hash),
            )
            for ordinal, request, request_hash in rows
        ]
    )


def rebuilt(asked, system=None):
    source = Turns(system, lambda _prompt: None)
    source.take(asked)
    return source


@pytest.mark.parametrize("dialect", list(Dialect))
def test_turns_come_back_from_the_request_in_either_dialect(dialect):
    source = rebuilt(requests((0, canonical(THREE_TURNS), HASH), dialect=dialect))
    assert source.of(answered()) == THREE_TURNS_SAID
    assert source.notes() == []


@given(gaps=st.lists(st.integers(1, 3), min_size=1, max_size=6), samples=st.integers(1, 3))
def test_rows_find_their_own_request_whatever_is_skipped(gaps, samples):
    ordinals = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    one = [(n, {"contents": [content("user", f"turn {n}")]}, HASH) for n in range(ordinals[-1] + 1)]
    source = rebuilt(requests(*one))
    for ordinal in ordinals:
        for _ in range(samples):
            assert source.of(answered(ordinal)) == said(("user", f"turn {ordinal}"))


def test_a_retry_with_other_settings_keeps_its_turns_and_says_so():
    source = rebuilt(requests((0, THREE_TURNS, b"another hash 123")))
    assert source.of(answered()) == THREE_TURNS_SAID
    assert source.notes() == ["1 row was retried with other settings: its system instruction is the run's"]


def test_another_prompt_is_never_passed_off_as_the_one_that_was_asked():
    source = rebuilt(requests((0, THREE_TURNS, b"another hash 123")))
    assert source.of(answered(prompt="And 3 + 3?")) == said(("user", "And 3 + 3?"))
    assert source.notes() == [
        "1 row could not be made again as it was asked: what is left is `prompt` and the job's system instruction"
    ]


def gone():
    yield from requests((0, THREE_TURNS, HASH))
    raise PlanChanged("rows.jsonl: changed since it was planned")


def test_an_input_that_changes_under_way_is_told():
    source = rebuilt(gone(), system="Be brief.")
    assert source.of(answered(0)) == THREE_TURNS_SAID
    for ordinal in (1, 2):
        assert source.of(answered(ordinal)) == said(("system", "Be brief."), ("user", "And 2 + 2?"))
    assert source.notes() == [
        (
            "2 rows could not be made again as they were asked (rows.jsonl: changed since it was planned):"
            " what is left is `prompt` and the job's system instruction"
        )
    ]


def test_a_row_that_was_never_sent_has_no_turns_to_come_back():
    source = rebuilt(iter([Asked(0, "a", Problem(kind="bad_input", message="x"))]))
    assert source.of(answered(prompt=None)) is Gap.NO_PROMPT


def test_orjson_reads_what_was_written():
    assert orjson.loads(next(requests((0, THREE_TURNS, HASH))).made.body)["contents"][1]["role"] == "model"
