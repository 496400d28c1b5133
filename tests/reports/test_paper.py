import os

from rich.text import Text

from batcher.reports.paper import drawn, grid, safe


def test_columns_stand_below_each_other_and_the_last_one_gives_way():
    rows = [("a", "one two three four five six seven eight"), ("longer", "x")]

    assert drawn([grid(rows)], width=40, colour=False) == [
        "  a       one two three four five six",
        "          seven eight",
        "  longer  x",
    ]


def test_a_head_names_the_columns():
    assert drawn([grid([("1", "2")], head=("left", "right"))], width=80, colour=False) == ["  left  right", "  1     2"]


def test_colours_are_the_callers_say(monkeypatch):
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "20"}.items():
        monkeypatch.setitem(os.environ, name, value)

    assert drawn([Text("x" * 30, "red")], width=0, colour=False) == ["x" * 30]
    assert drawn([Text("x", "red")], width=80, colour=True) == ["\x1b[31mx\x1b[0m"]


def test_marks_and_emoji_names_are_shown_as_they_are():
    assert drawn([safe("[bold]:smile: \x07[/bold]")], width=80, colour=False) == ["[bold]:smile: \ufffd[/bold]"]
    assert drawn([grid([("[red]x", ":smile:")])], width=80, colour=False) == ["  [red]x  :smile:"]
