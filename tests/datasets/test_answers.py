import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.datasets.answers import Examples, Said, said_in
from batcher.datasets.messages import Answered, Gap, Turns
from batcher.records import Candidate
from batcher.store.nested import candidates

HASH = b"0123456789abcdef"
ROW = Answered(0, "Hi", HASH)
CALL = {"functionCall": {"name": "add", "args": {}}}
PICTURE = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
CODE = {"executableCode": {"language": "PYTHON", "code": "1"}}


def examples(*, every=False, fits=lambda _text: True):
    return Examples(Turns(None, lambda _prompt: HASH), every=every, fits=fits)


def said(text="4", *parts, finish_reason="STOP"):
    return Said(text, orjson.dumps(parts).decode() if parts else None, finish_reason)


def answers(found):
    assert all(each[:-1] == [{"role": "user", "content": "Hi"}] for each in found)
    assert {each[-1]["role"] for each in found} == {"assistant"}
    return [each[-1]["content"] for each in found]


@pytest.mark.parametrize("text", [None, "", " \n"])
@pytest.mark.parametrize("every", [False, True])
def test_no_text_is_no_example(text, every):
    assert examples(every=every).of(ROW, [said(text)]) is Gap.NO_ANSWER
    assert examples(every=every).of(ROW, []) is Gap.NO_ANSWER


@pytest.mark.parametrize("part", [CALL, PICTURE, CODE, "text", None])
def test_an_answer_that_is_more_than_text_is_a_gap(part):
    assert examples().of(ROW, [said("Look:", {"text": "Look:"}, part)]) is Gap.MORE_ANSWER
    assert examples().of(ROW, [said(None, part)]) is Gap.MORE_ANSWER


@pytest.mark.parametrize(
    "part",
    [
        {"text": "hm", "thought": True},
        {"thought": True, **PICTURE},
        {"text": "", "thoughtSignature": "c2ln"},
        {"thoughtSignature": "c2ln"},
        {"thought_signature": "c2ln"},
    ],
)
def test_thoughts_and_their_signatures_are_no_part_of_an_answer(part):
    assert answers(examples().of(ROW, [said("4", part, {"text": "4"})])) == ["4"]


def test_a_gap_in_the_turns_is_a_gap():
    assert examples().of(Answered(0, None, None), [said()]) is Gap.NO_PROMPT


def test_candidates_after_the_first_are_told():
    made = examples()
    for row in ([said("a")], [said("b"), said("c")]):
        made.of(ROW, row)
    assert made.notes() == [
        "1 row has candidates after the first, which are left out: --candidates all takes them, too"
    ]


def test_every_candidate_that_ended_well_is_an_example():
    made = examples(every=True, fits=lambda text: text != "odd")
    cut, odd = said("cu", finish_reason="MAX_TOKENS"), said("odd")
    assert answers(made.of(ROW, [said("a"), cut, said("b"), odd, said("c", finish_reason=None), said(None)])) == [
        "a",
        "b",
        "c",
    ]
    assert answers(made.of(ROW, [said(None, CALL), said("d")])) == ["d"]
    assert made.of(ROW, [said(None, CALL), cut]) is Gap.MORE_ANSWER
    assert made.notes() == ["4 examples of 2 rows, one of each candidate; 4 that did not end well left out"]


def test_the_row_says_how_its_first_candidate_ended():
    """Who asks for truncated rows gets them."""
    assert answers(examples(every=True).of(ROW, [said("cu", finish_reason="MAX_TOKENS")])) == ["cu"]


TEXT = st.none() | st.text(max_size=5)


@given(rows=st.lists(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=3), max_size=5), data=st.data())
def test_candidates_come_back_row_by_row_from_any_slice(rows, data):
    column = candidates(
        [
            [Candidate(index=n, text=t, parts=p, finish_reason=f, thoughts="hm") for n, (t, p, f) in enumerate(row)]
            for row in rows
        ]
    )
    start = data.draw(st.integers(0, len(rows)))
    assert said_in(column.slice(start)) == [[Said(*each) for each in row] for row in rows[start:]]


def test_a_null_has_no_candidates():
    kind = candidates([]).type
    assert said_in(pa.nulls(2, kind)) == [[], []]
