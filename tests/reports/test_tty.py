import os
import pty
import termios

import pytest

from batcher.reports.tty import Tty, may_draw

PLAIN = {"TERM": "xterm-256color"}


@pytest.fixture
def line():
    """A stream on a terminal, and the other end of it."""
    outer, inner = pty.openpty()
    termios.tcsetwinsize(inner, (30, 100))
    with os.fdopen(inner, "w", encoding="utf-8") as stream:
        yield stream, outer
    os.close(outer)


def test_a_terminal_may_be_drawn_on(line):
    stream, _ = line
    assert may_draw(stream, PLAIN)
    assert may_draw(stream, PLAIN | {"NO_COLOR": "1", "CI": "false"})


@pytest.mark.parametrize("environ", [{}, {"TERM": "dumb"}, {"TERM": "unknown"}, PLAIN | {"CI": "true"}])
def test_a_terminal_that_moves_no_cursor_and_one_in_ci_may_not(line, environ):
    stream, _ = line
    assert not may_draw(stream, environ | {"FORCE_COLOR": "1"})


def test_a_file_may_not_whatever_the_environment_wants(tmp_path):
    with (tmp_path / "log").open("w", encoding="utf-8") as stream:
        assert not may_draw(stream, PLAIN | {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1"})


def test_one_that_cannot_show_our_letters_may_not(line):
    stream, _ = line
    stream.reconfigure(encoding="ascii")
    assert not may_draw(stream, PLAIN)


def test_its_size_is_its_own_and_follows_a_resize(line, monkeypatch):
    stream, outer = line
    monkeypatch.setenv("COLUMNS", "12")
    terminal = Tty(stream)
    assert terminal.size() == (100, 30)
    termios.tcsetwinsize(outer, (15, 40))
    assert terminal.size() == (40, 15)


def test_a_terminal_that_does_not_know_its_size_is_taken_for_a_usual_one(line):
    stream, outer = line
    termios.tcsetwinsize(outer, (0, 0))
    assert Tty(stream).size() == (80, 24)


def test_what_is_written_arrives_at_once(line):
    stream, outer = line
    Tty(stream).write("━ 50 %\n")
    assert os.read(outer, 100).decode() == "━ 50 %\r\n"
    assert Tty(stream).is_ours()
