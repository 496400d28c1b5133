from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from batcher.reports.panels import row_panels
from batcher.reports.rows import row_lines

ROWS = [
    {
        "id": "add",
        "status": "ok",
        "prompt": "What is [b]17[/b] + 25?",
        "response": "42\nYes.",
        "input_tokens": 9,
        "output_tokens": 2,
        "cost_usd": Decimal("0.000123"),
    },
    {"id": "bad", "status": "failed", "error_kind": "bad_input", "error_message": "p.jsonl:2: not JSON"},
]


def test_without_a_terminal_rows_are_plain_lines():
    assert row_panels(ROWS, width=0, colour=False) == [*row_lines(ROWS[0]), "", *row_lines(ROWS[1]), ""]


def test_in_a_terminal_each_row_has_a_box():
    assert row_panels(ROWS, width=44, colour=False) == [
        "╭─ add ────────────────────────────────────╮",
        "│ What is [b]17[/b] + 25?                  │",
        "│ ──────────────────────────────────────── │",
        "│ 42                                       │",
        "│ Yes.                                     │",
        "╰─ ok · 9 in, 2 out · $0.000123 ───────────╯",
        "╭─ bad ────────────────────────────────────╮",
        "│ bad_input: p.jsonl:2: not JSON           │",
        "╰─ failed ─────────────────────────────────╯",
    ]


def test_what_is_wrong_with_an_answer_stands_under_it():
    row = {"id": "a", "status": "invalid", "response": "{", "error_kind": "invalid_json", "error_message": "no end"}

    assert [line.strip("│ ") for line in row_panels([row], width=44, colour=False)[1:3]] == [
        "{",
        "invalid_json: no end",
    ]


def test_a_long_answer_is_cut():
    said = "".join(row_panels([{"response": "x" * 3_000}], width=80, colour=False))

    assert "…(+1,000 chars)" in said.replace("│", "").replace(" ", "").replace("(+1,000chars)", "(+1,000 chars)")


@given(st.text(max_size=300), st.integers(40, 120))
def test_no_answer_can_move_the_cursor_or_break_the_box(text, width):
    for line in row_panels([{"id": text, "prompt": text, "response": text}], width=width, colour=False):
        assert "\x1b" not in line


def test_colours_where_they_are_wanted():
    assert "\x1b[" in "".join(row_panels(ROWS, width=80, colour=True))
