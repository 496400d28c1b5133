from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator.arithmetic import result_of

NUMBERS = st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("prompt", "result"),
    [
        ("What is 17 * 23?", "391"),
        ("What's 2+2?", "4"),
        ("Compute (3 + 4) * 5.", "35"),
        ("Calculate 1,000,000 / 8", "125000"),
        ("what is 10 divided by 4?", "2.5"),
        ("What is 17 times 23, please?", "391"),
        ("How much is 7 minus 12?", "-5"),
        ("12 \u00d7 12 =", "144"),
        ("12 \u00f7 5 = ?", "2.4"),
        ("What is 2 ^ 10?", "1024"),
        ("What is 3 to the power of 4?", "81"),
        ("3 x 4", "12"),
        ("1 / 3", "0.333333"),
        ("What is 0.1 + 0.2?", "0.3"),
        ("What is 7 % 4?", "3"),
        ("What is -3 + 5?", "2"),
        ("Evaluate ((2)) * (3 + 1)", "8"),
        ("What is the result (of 3 * 3)?", "9"),
    ],
)
def test_a_calculation_is_done(prompt: str, result: str) -> None:
    assert result_of(prompt) == result


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "What is love?",
        "What is 42?",
        "The meeting of 2025-06-01 was moved.",
        "Call 555-1234 before noon.",
        "What is 1 / 0?",
        "What is 9 ** 99999?",
        "What is 99999999 ** 60?",
        "What is " + "1+" * 500 + "1?",
        "What is 0 ** -1?",
    ],
)
def test_what_is_no_calculation_or_too_large_a_one_is_left_alone(prompt: str) -> None:
    assert result_of(prompt) is None


@given(NUMBERS, NUMBERS, st.sampled_from("+-*"))
def test_whole_numbers_come_out_exactly(first: int, second: int, sign: str) -> None:
    expected = {"+": first + second, "-": first - second, "*": first * second}[sign]
    assert result_of(f"What is {first} {sign} {second}?") == str(expected)


@given(NUMBERS, st.integers(1, 10**4))
def test_fractions_are_right_to_six_decimals(first: int, second: int) -> None:
    found = result_of(f"Calculate {first} / {second}")
    assert found is not None
    assert abs(Fraction(found) - Fraction(first, second)) <= Fraction(1, 10**6)


@given(st.text(alphabet="0123456789+-*/(). what is", max_size=60))
def test_no_prompt_makes_it_stumble(prompt: str) -> None:
    found = result_of(prompt)
    assert found is None or float(found) is not None
