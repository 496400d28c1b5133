import pytest

from batcher.engine.progress import Straggler
from batcher.reports.live import block_lines
from batcher.reports.stragglers import straggler_line, straggler_short
from tests.reports.builders import a_snapshot


def a_straggler(name="q17", **given):
    known = {"task": 17, "sample": None, "block": 3, "open_s": 95.4, "attempts": 3, "waits_for": "in flight"}
    return Straggler(id=name, **(known | given))


def seen(*stragglers, straggling=None):
    return a_snapshot(90, stragglers=stragglers, straggling=len(stragglers) if straggling is None else straggling)


def test_status_says_which_row_since_when_at_which_try_and_what_for():
    assert straggler_line(seen()) == ""
    assert straggler_line(seen(a_straggler())) == "block 3 waiting for q17 for 1 min 35 s (try 3, in flight)"
    many = seen(*(a_straggler(f"q{number}") for number in range(5)))
    assert straggler_line(many).count("1 min 35 s") == 3
    assert straggler_line(many).endswith(" and 2 more")
    two = seen(a_straggler(), a_straggler("q9", block=4, waits_for="retry budget", sample=2), straggling=7)
    assert straggler_line(two) == (
        "blocks 3, 4 waiting for q17 for 1 min 35 s (try 3, in flight)"
        " · q9 #2 for 1 min 35 s (try 3, the share of requests that ask again) and 5 more"
    )


@pytest.mark.parametrize(
    ("straggler", "count", "line"),
    [
        (a_straggler(), 1, "q17: 95 s, try 3, in flight"),
        (a_straggler(attempts=1, open_s=800, waits_for="backoff"), 1, "q17: 13 min, backoff"),
        (a_straggler(open_s=7_300), 12, "q17 (+11): 2 h, in flight"),
        (a_straggler("row-1234567"), 1, "row-1234567: 95 s, in flight"),
        (a_straggler("row-123456789"), 4, "row-1234567… (+3): 95 s, try 3"),
        (a_straggler("a-very-long-name-of-a-row"), 1, "a-very-long-name…: 95 s, try 3"),
        (a_straggler("two\nlines\x1b[31m"), 1, "two lines�[31m: 95 s, try 3"),
    ],
)
def test_the_block_has_thirty_columns_for_it(straggler, count, line):
    assert straggler_short(seen(straggler, straggling=count), 30) == line


def test_the_live_block_names_the_row_beneath_the_limit():
    lines = [str(line) for line in block_lines(seen(a_straggler()), columns=80, rows=24)]
    assert lines[-2] == "slow     q17: 95 s, try 3, in flight"
    assert all(len(line) <= 39 for line in lines)
    assert len(block_lines(seen(), columns=80, rows=24)) == len(lines) - 1


def test_a_low_terminal_keeps_the_pace_and_the_row_that_is_waited_for():
    lines = [str(line) for line in block_lines(seen(a_straggler()), columns=80, rows=5)]
    assert [line.split()[0] for line in lines[1:]] == ["limit", "slow", "pace"]
