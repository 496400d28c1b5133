import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from batcher.engine.progress import Phase
from batcher.reports.live import WIDTH, block_lines
from batcher.reports.screen import LiveBlock, Screen
from tests.reports.builders import a_snapshot
from tests.reports.terminals import FakeTerminal

TYPED = "$ batcher run job.toml".ljust(80, "x")


def a_terminal(columns=80, rows=24, above=()):
    """A terminal on which the command was typed, as readline does it: the row is full, so it seems to go on."""
    terminal = FakeTerminal(columns=80, rows=rows)
    terminal.write("".join(f"{line}\n" for line in above))
    terminal.write(TYPED)
    terminal.grid[terminal.y].goes_on = True
    terminal.write("\n\n")
    terminal.resize(columns, rows)
    return terminal


def texts(*lines):
    return [Text(line) for line in lines]


def test_a_block_is_drawn_over_itself():
    terminal = a_terminal()
    screen = Screen(terminal)
    screen.draw(texts("one", "two", "three"))
    screen.draw(texts("1", "22"))
    assert terminal.lines == [TYPED, "1", "22"]
    assert (terminal.x, terminal.screen[terminal.y - 1 - terminal.top]) == (0, "22")


def test_lines_that_come_meanwhile_stay_above_it():
    terminal = a_terminal()
    screen = Screen(terminal)
    screen.draw(texts("block"))
    screen.draw(texts("block"), above=["first", "second"])
    screen.draw(texts("block"), above=["long " * 30])
    assert terminal.lines == [TYPED, "first", "second", ("long " * 30).rstrip(), "block"]


def test_it_ends_without_a_trace():
    terminal = a_terminal()
    screen = Screen(terminal)
    screen.draw(texts("one", "two"))
    terminal.write("^C")
    screen.clear(above=["a last word"])
    terminal.write("the summary\n")
    assert terminal.lines == [TYPED, "a last word", "the summary"]
    screen.clear()
    assert terminal.lines[-1] == "the summary"
    assert terminal.cursor_shown
    assert terminal.wraps


def test_what_is_typed_meanwhile_is_wiped_away():
    terminal = a_terminal()
    screen = Screen(terminal)
    screen.draw(texts("one", "two"))
    terminal.write("^C")
    screen.draw(texts("one", "two"))
    assert terminal.lines == [TYPED, "one", "two"]


def test_no_moment_of_a_drawing_is_blank_and_the_cursor_is_never_lost():
    terminal = a_terminal()
    screen = Screen(terminal)
    screen.draw(texts("one", "two"))
    terminal.written.clear()
    screen.draw(texts("One", "Two"))
    (frame,) = terminal.written
    assert frame == "\x1b[?25l\r\x1b[2A\x1b[?7lOne\x1b[K\nTwo\x1b[K\n\x1b[?7h\x1b[J\x1b[?25h"


short = st.builds(lambda letter, length: letter * length, st.sampled_from("pqrs"), st.integers(1, WIDTH))
events = st.one_of(
    st.lists(short, min_size=1, max_size=10),
    st.tuples(st.just("log"), st.text("ab", min_size=1, max_size=120)),
    st.tuples(st.integers(WIDTH + 1, 200), st.integers(12, 50), st.booleans()),
)


@given(st.lists(events, max_size=12), st.lists(st.text("c", max_size=100), max_size=30))
def test_however_a_terminal_is_resized_there_is_one_block_and_every_line_that_was_said(events, before):
    """Also when it was not told yet how wide it now is."""
    terminal = a_terminal(above=before)
    screen = Screen(terminal)
    said, block = [], []
    for event in events:
        match event:
            case ["log", line]:
                said.append(line)
                screen.draw(texts(*block), above=[line])
            case [int(columns), int(rows), told]:
                terminal.told = None if told else terminal.size()
                terminal.resize(columns, rows)
            case _:
                block = event
                screen.draw(texts(*block))
    screen.draw(texts(*block))
    assert [line for line in terminal.lines if line] == [*filter(None, before), TYPED, *said, *block]
    assert "?J" not in terminal.codes
    screen.clear()
    assert [line for line in terminal.lines if line] == [*filter(None, before), TYPED, *said]


@pytest.mark.parametrize("columns", [20, 30, 39])
def test_on_a_terminal_made_narrower_than_its_lines_it_climbs_as_many_rows_as_they_now_take(columns):
    terminal = a_terminal(above=[f"line {n}" for n in range(30)])
    screen = Screen(terminal)
    snapshot = a_snapshot(50, p50_ms=300.0, p95_ms=900.0)
    screen.draw(block_lines(snapshot, columns=80, rows=24))
    terminal.resize(columns, 24)
    screen.draw(block_lines(snapshot, columns=columns, rows=24))
    terminal.resize(80, 24)
    assert sum("%" in line for line in terminal.lines) == 1
    assert all(len(line) < columns for line in terminal.lines[31:])


# the thread that draws


class Stuck(FakeTerminal):
    """Takes nothing until it is let go, as after Ctrl-S."""

    def __post_init__(self):
        super().__post_init__()
        self.let_go = threading.Event()
        self.holds = threading.Event()

    def write(self, text):
        self.holds.set()
        assert self.let_go.wait(30)
        super().write(text)


def test_a_run_is_shown_and_gone():
    terminal = FakeTerminal()
    with LiveBlock(terminal, every_s=0.001) as block:
        block.log("note: something")
        block.show(a_snapshot(50))
        while not any("50 %" in line for line in list(terminal.screen)):
            threading.Event().wait(0.001)
    assert terminal.lines == ["note: something"]
    assert block.last == a_snapshot(50)


def test_a_block_that_was_never_drawn_leaves_what_was_said():
    terminal = FakeTerminal()
    with LiveBlock(terminal, every_s=60) as block:
        block.log("note: something")
        block.show(a_snapshot(50))
    assert terminal.written == ["note: something\n"]


def test_a_terminal_that_takes_nothing_holds_nobody_up():
    terminal = Stuck()
    with LiveBlock(terminal, every_s=0.001) as block:
        block.show(a_snapshot(1))
        assert terminal.holds.wait(30)
        for done in range(100):
            block.show(a_snapshot(done))
            block.log("still there")
        terminal.let_go.set()
    assert terminal.lines == ["still there"] * 100


def test_a_terminal_that_is_gone_ends_nothing():
    class Gone(FakeTerminal):
        def write(self, text):
            raise OSError(5, "Input/output error")

    with LiveBlock(Gone(), every_s=0.001) as block:
        block.show(a_snapshot(1))
        block.log("nobody hears this")
        threading.Event().wait(0.01)


def test_in_the_background_it_draws_nothing_and_loses_nothing():
    terminal = FakeTerminal(ours=False)
    block = LiveBlock(terminal)
    block.show(a_snapshot(1))
    block.log("note: something")
    block.draw()
    assert terminal.written == []
    terminal.ours = True
    block.draw()
    assert terminal.lines[0] == "note: something"
    assert "1 %" in terminal.lines[1]


def test_it_makes_way_while_the_process_is_stopped():
    terminal = FakeTerminal()
    block = LiveBlock(terminal)
    block.show(a_snapshot(1))
    block.draw()
    with block.away():
        assert terminal.lines == []
        terminal.write("[1]+  Stopped\n$ fg\n")
    block.draw()
    assert terminal.lines[:2] == ["[1]+  Stopped", "$ fg"]
    assert sum("%" in line for line in terminal.lines) == 1


def test_a_run_that_goes_on_says_where_it_stood_above_its_block():
    terminal = FakeTerminal()
    block = LiveBlock(terminal)
    block.show(a_snapshot(0, phase=Phase.PLANNING, tasks=9))
    block.draw()
    assert terminal.lines == ["reading the input  9 rows"]
    block.show(a_snapshot(63, done_before=63))
    block.show(a_snapshot(64, done_before=63))
    block.draw()
    assert terminal.lines[0] == "continuing: 63 of 100 done before"
    assert sum("done before" in line for line in terminal.lines) == 1


def test_nothing_to_show_yet():
    terminal = FakeTerminal()
    block = LiveBlock(terminal)
    block.draw()
    assert terminal.written == []
    block.log("note: something")
    block.draw()
    assert terminal.lines == ["note: something"]
