import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.assumed import assume
from batcher.engine.learnt import Lesson
from batcher.engine.outlook import Span
from tests.builders import a_job

SEEN = Span(19.0, 20.0, 21.0)


def a_lesson(**given):
    defaults = {
        "run_dir": "out/he",
        "rows": 1_000,
        "same_job": True,
        "covered": 0.0,
        "input_scale": Span(1.1, 1.2, 1.3),
        "output": SEEN,
        "latency_s": Span(0.5, 1.0, 1.5),
    }
    return Lesson(**defaults | given)


def test_without_a_lesson_all_of_it_is_called_a_guess():
    found = assume(a_job(generation__thinking_config={"thinking_budget": 0}), None)

    assert found.input_scale == Span(0.75, 1.0, 1.25)
    assert found.input_from == "a guess by script and digits, ± 25 %"
    assert (found.output.low, found.output.high) == (5, 800)
    assert found.output_from == "a guess: 5 to 800 tokens an answer; nothing seen yet"
    assert found.latency_from == "a guess by their length"
    assert 0.3 < found.latency_s.low < found.latency_s.likely < found.latency_s.high < 60


def test_what_a_run_taught_is_said_with_its_name():
    found = assume(a_job(), a_lesson())

    assert (found.input_scale, found.latency_s) == (Span(1.1, 1.2, 1.3), Span(0.5, 1.0, 1.5))
    assert found.input_from == found.output_from == found.latency_from == "learnt from 1,000 rows of out/he"
    assert found.output.likely == 20.0
    assert 18.5 < found.output.low <= 19.0
    assert 21.0 <= found.output.high < 22.5


def test_another_job_of_the_model_teaches_how_it_counts_tokens_and_nothing_else():
    found = assume(a_job(), a_lesson(same_job=False, output=None, latency_s=None, rows=1))

    assert found.input_from == "learnt from 1 row of out/he (the same model, another job)"
    assert found.output_from.startswith("a guess: ")
    assert found.latency_from == "a guess by their length"


def test_the_first_rows_of_a_file_do_not_speak_for_the_rest():
    """jobs/hello: five sums with answers of one token, then letters of hundreds."""
    found = assume(a_job(), a_lesson(rows=5, output=Span(1.0, 1.0, 1.05)))

    assert found.output_from == "learnt from 5 rows of out/he, which are few"
    assert found.output.high > 100


def test_rows_that_are_asked_again_speak_for_themselves():
    found = assume(a_job(), a_lesson(rows=5, covered=1.0))

    assert found.output == SEEN
    assert found.output_from == "learnt from 5 rows of out/he"


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_what_was_seen_is_always_inside(rows, covered):
    found = assume(a_job(), a_lesson(rows=rows, covered=covered)).output

    assert found.low <= SEEN.low
    assert found.likely == SEEN.likely
    assert found.high >= SEEN.high


@given(st.integers(1, 1_000), st.integers(1, 1_000))
def test_more_rows_make_no_wider_range(rows, more):
    few, many = (assume(a_job(), a_lesson(rows=count)).output for count in (rows, rows + more))

    assert many.high - many.low <= few.high - few.low + 1e-9


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({"model": "gemini-2.5-flash"}, 2_800),
        ({"model": "gemini-2.0-flash"}, 800),
        ({"model": "gemini-2.5-flash-lite"}, 800),
        ({"generation__max_output_tokens": 64}, 64),
        ({"generation__candidate_count": 3, "generation__thinking_config": {"thinking_budget": 0}}, 2_400),
    ],
)
def test_the_guess_knows_what_the_job_allows(settings, most):
    assert assume(a_job(**settings), None).output.high == most
