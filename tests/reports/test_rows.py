import unicodedata
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.reports.plain import plain
from batcher.reports.rows import row_lines


def test_a_row_with_its_answer():
    row = {
        "id": "add",
        "status": "ok",
        "prompt": "What is 17 + 25?\nThink.",
        "response": "42\n\nYes.",
        "input_tokens": 1_009,
        "output_tokens": 2,
        "cost_usd": Decimal("0.000123"),
    }

    assert row_lines(row) == [
        "add  ok · 1,009 in, 2 out · $0.000123",
        "  > What is 17 + 25?",
        "    Think.",
        "    42",
        "",
        "    Yes.",
    ]


@pytest.mark.parametrize(
    ("row", "lines"),
    [
        (
            {"id": "a", "status": "failed", "error_kind": "bad_input", "error_message": "x:1: no"},
            ["a  failed", "    bad_input: x:1: no"],
        ),
        (
            {"id": "a", "status": "truncated", "response": "", "finish_reason": "MAX_TOKENS"},
            ["a  truncated", "    MAX_TOKENS"],
        ),
        ({"id": "a", "status": "failed", "input_tokens": 0, "output_tokens": 0, "cost_usd": Decimal(0)}, ["a  failed"]),
        ({}, ["row  open"]),
    ],
)
def test_a_row_without_an_answer_says_why(row, lines):
    assert row_lines(row) == lines


def test_a_long_answer_is_cut():
    assert row_lines({"response": "x" * 1_604})[-1] == f"    {'x' * 400}…(+1,204 chars)"


@given(st.text())
def test_an_answer_cannot_move_the_cursor(text):
    shown = "\n".join(row_lines({"id": text, "prompt": text, "response": text}))

    assert all(letter == "\n" or unicodedata.category(letter)[0] != "C" for letter in shown)
    assert plain(plain(text)) == plain(text)


def test_an_answer_that_is_not_what_was_asked_for_says_why_below_it():
    row = {
        "id": "a",
        "status": "invalid",
        "response": "[1]",
        "error_kind": "schema_mismatch",
        "error_message": '$: [1] is not of type "object"',
    }

    assert row_lines(row) == ["a  invalid", "    [1]", '  ! schema_mismatch: $: [1] is not of type "object"']


def test_colours_of_an_answer_are_made_visible():
    assert plain("\x1b[31mred\x1b[0m\ttab\r\nend") == "\ufffd[31mred\ufffd[0m tab\nend"


@given(st.text(alphabet="ab \n", max_size=300), st.integers(0, 60))
def test_breaking_lines_loses_no_word(text, width):
    whole, broken = row_lines({"response": text}), row_lines({"response": text}, width=width)

    assert " ".join(whole).split() == " ".join(broken).split()


def test_long_lines_break_between_words_and_code_keeps_its_indent():
    row = {
        "id": "a",
        "status": "ok",
        "prompt": "Say what it is, please",
        "response": "def f():\n    return 1\n" + "word " * 9,
    }

    assert row_lines(row, width=26) == [
        "a  ok",
        "  > Say what it is, please",
        "    def f():",
        "        return 1",
        "    word word word word",
        "    word word word word",
        "    word",
    ]
