import pytest

from batcher.datasets.order import Exported, Format
from batcher.reports.export import export_json, export_lines, progress_line


def exported(**given):
    defaults = {
        "to": Format.OPENAI_SFT,
        "target": "chat.jsonl",
        "written": 18,
        "tasks": 20,
        "left_out": {},
        "open": 0,
        "running": False,
        "size_bytes": 12_345,
        "notes": (),
    }
    return Exported(**defaults | given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"written": 20}, "exported 20 of 20"),
        ({"left_out": {"failed": 2}}, "exported 18 of 20: 2 failed left out"),
        ({"left_out": {"blocked": 1, "failed": 1}}, "exported 18 of 20: 1 blocked, 1 failed left out"),
        ({"open": 2}, "exported 18 of 20: 2 have no answer yet"),
        ({"open": 1, "left_out": {"failed": 1}}, "exported 18 of 20: 1 failed left out; 1 has no answer yet"),
        ({"left_out": {"open": 2}}, "exported 18 of 20: 2 without an answer yet left out"),
        ({"written": 1_200, "tasks": 5_000, "left_out": {"ok": 3_800}}, "exported 1,200 of 5,000: 3,800 ok left out"),
    ],
)
def test_the_first_line(given, said):
    assert export_lines(exported(**given))[0] == said
    assert export_json(exported(**given))["verdict"] == said


def test_where_it_is_and_what_to_know():
    lines = export_lines(exported(notes=("OpenAI asks for at least 10 examples",)))
    assert lines == [
        "exported 18 of 20",
        "",
        "  format    openai-sft",
        "  file      chat.jsonl",
        "  size      12.3 kB",
        "",
        "note: OpenAI asks for at least 10 examples",
    ]


def test_a_run_under_way_says_so():
    told = "the run is under way: this has its finished parts; export again when it is done"
    assert export_lines(exported(running=True, open=2))[-1] == f"note: {told}"
    assert told not in str(export_lines(exported(running=True)))


def test_as_json():
    assert export_json(exported(left_out={"failed": 2}, notes=("x",))) == {
        "verdict": "exported 18 of 20: 2 failed left out",
        "exit_code": 0,
        "format": "openai-sft",
        "file": "chat.jsonl",
        "exported": 18,
        "tasks": 20,
        "left_out": {"failed": 2},
        "open": 0,
        "size_bytes": 12_345,
        "notes": ["x"],
    }


def test_how_far_it_is():
    assert progress_line(1_500, 10_000) == " 15 %  1,500 of 10,000 rows"
    assert progress_line(0, 0) == "100 %  0 of 0 rows"
