"""Who is told how it goes: nobody, a function, lines, or one line of a notebook that changes."""

from batcher.api.narration import ChangingLine, narration
from tests.reports.builders import a_snapshot


class Display:
    """Takes what `IPython.display.display` takes."""

    def __init__(self):
        self.shown = []

    def __call__(self, content, *, raw, display_id):
        assert (raw, display_id) == (True, True)
        self.shown.append(content)
        return self

    def update(self, content, *, raw):
        self.shown[-1] = content


def test_a_notebook_has_one_output_with_the_last_line():
    display = Display()
    line = ChangingLine(display)
    for said in ("reading the input", "asking 100", " 50 %  50 of 100"):
        line(said)

    assert display.shown == [{"text/plain": " 50 %  50 of 100"}]


def test_nobody_is_told(capsys):
    told = narration(progress=False)
    told.show(a_snapshot())
    told.log("note")

    assert capsys.readouterr() == ("", "")


def test_a_function_is_given_every_snapshot(capsys):
    seen = []
    told = narration(progress=seen.append)
    for done in (0, 1):
        told.show(a_snapshot(done))
    told.log("note")

    assert seen == [a_snapshot(0), a_snapshot(1)]
    assert capsys.readouterr() == ("", "")


def test_lines_go_to_stderr(capsys):
    told = narration(progress=True)
    told.show(a_snapshot())
    told.log("note: something")

    assert capsys.readouterr() == ("", "asking 100\nnote: something\n")
