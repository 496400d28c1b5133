from __future__ import annotations

import io
from pathlib import Path

import pytest

from batcher.errors import InputError
from batcher.rows.index import Index
from batcher.rows.planning import plan_rows
from batcher.rows.readers import find_inputs
from batcher.rows.renamed import check_named
from tests.rows.files import an_input, planned, write_lines

ROWS = [{"prompt": "a"}]
SPOOL = Path("spool")
GAINED = "b.jsonl: not planned → part of the input"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jsonl", "b.jsonl"):
        write_lines(Path(name), ROWS)


def piped(content: bytes) -> Index:
    spec = an_input("-")
    files = find_inputs(spec, spool=SPOOL, stdin=io.BytesIO(content))
    return plan_rows(files, spec, block_rows=2, has_template=False, reserved=frozenset())


def changed(index: Index, *names: str, stdin: bytes | None = None) -> tuple[str, ...]:
    return check_named(index, an_input(*names), stdin=None if stdin is None else io.BytesIO(stdin), spool=SPOOL)


def test_the_same_files_by_another_name_are_the_same() -> None:
    index = planned(an_input("a.jsonl", "b.jsonl"), SPOOL)

    assert changed(index, "a.jsonl", "b.jsonl") == ()
    assert changed(index, "*.jsonl") == changed(index, ".") == ()


def test_other_files_are_another_input_and_each_is_named() -> None:
    index = planned(an_input("a.jsonl"), SPOOL)

    assert changed(index, "b.jsonl") == ("a.jsonl: planned → no part of the input", GAINED)
    assert changed(index, ".") == changed(index, "*.jsonl") == (GAINED,)
    assert changed(index, "-") == (
        "a.jsonl: planned → no part of the input",
        "-: not planned → part of the input",
    )
    with pytest.raises(InputError, match="no such file"):
        changed(index, "c.jsonl")


def test_the_order_and_the_number_of_the_same_files_are_part_of_the_input() -> None:
    index = planned(an_input("a.jsonl", "b.jsonl"), SPOOL)

    assert changed(index, "b.jsonl", "a.jsonl") == ("input.files: a.jsonl, b.jsonl → b.jsonl, a.jsonl",)
    assert changed(index, "a.jsonl", "b.jsonl", "b.jsonl", "b.jsonl") == (
        "input.files: a.jsonl, b.jsonl → a.jsonl, b.jsonl, b.jsonl and 1 more",
    )


def test_of_many_new_files_the_first_are_named() -> None:
    index = planned(an_input("a.jsonl"), SPOOL)
    for number in range(20):
        write_lines(Path(f"x{number:02}.jsonl"), ROWS)

    differences = changed(index, "[ax]*.jsonl")
    assert [line.partition(":")[0] for line in differences[:-1]] == [f"x{number:02}.jsonl" for number in range(10)]
    assert differences[-1] == "and 10 more files"


def test_what_was_piped_in_is_there_when_the_pipe_is_not() -> None:
    index = piped(b'{"prompt": "a"}\n')

    assert (
        changed(index, "-") == changed(index, "-", stdin=b"") == changed(index, "-", stdin=b'{"prompt": "a"}\n') == ()
    )
    assert changed(index, "-", stdin=b'{"prompt": "b"}\n') == ("-: standard input as it was spooled → another one",)
    assert [path.name for path in SPOOL.iterdir()] == ["stdin"]


def test_a_damaged_pipe_is_refused_and_leaves_nothing() -> None:
    index = piped(b'{"prompt": "a"}\n')

    with pytest.raises(InputError, match=r"^-: damaged"):
        changed(index, "-", stdin=b"\x1f\x8b\x08")
    assert [path.name for path in SPOOL.iterdir()] == ["stdin"]
