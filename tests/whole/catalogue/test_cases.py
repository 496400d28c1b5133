"""Every case of the catalogue has a test that says what must hold; the table says how each ended."""

import ast
from pathlib import Path

from tests.whole.catalogue.cases import NOT_YET_HERE, NUMBERS, WAITING, Ran, case_of, missing, table


def written_tests():
    """Every test function of the catalogue's files, by its own definition."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and case_of(node.name) is not None:
                yield node


def test_every_case_of_the_catalogue_has_a_test():
    assert missing([test.name for test in written_tests()]) == []


def test_every_test_of_a_case_says_what_must_hold():
    assert [test.name for test in written_tests() if not ast.get_docstring(test)] == []


def test_what_waits_has_no_test_yet():
    there = {case_of(test.name) for test in written_tests()}
    assert there & WAITING.keys() == set()
    assert {"D01"} <= set(missing(["test_d02_x"], lenient=frozenset()))
    assert set(NUMBERS) > NOT_YET_HERE


def test_a_case_that_is_not_there_is_missed():
    names = [f"test_d{number:02d}_holds" for number in NUMBERS if number not in {7, *WAITING}]
    assert missing(names, lenient=frozenset()) == ["D07"]
    assert missing([*names, "test_d07_holds[a]"], lenient=frozenset()) == []
    assert case_of("test_dog") is None


def test_the_table_has_one_line_a_case_and_the_worst_of_its_tests():
    ran = [
        Ran(1, ("test_wire.py", 9), "another half", "passed"),
        Ran(1, ("test_wire.py", 3), "a pause is kept", "passed"),
        Ran(2, ("test_wire.py", 20), "few are sent", "passed"),
        Ran(2, ("test_wire.py", 20), "few are sent", "failed"),
        Ran(3, ("test_wire.py", 30), "one row fails", "skipped"),
        Ran(3, ("test_wire.py", 40), "by another door", "passed"),
        Ran(4, ("test_wire.py", 50), "the same", "skipped"),
    ]
    lines = table(ran)
    assert lines[:5] == [
        "D01  passed   a pause is kept",
        "D02  failed   few are sent",
        "D03  passed   one row fails",
        "D04  skipped  the same",
        "D05  not run",
    ]
    assert lines[35].startswith("D36  waiting  an object store")
    assert len(lines) == 40
