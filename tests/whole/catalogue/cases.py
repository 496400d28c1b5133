"""Which cases does the catalogue have, which of them wait, and how did each end?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

NUMBERS = tuple(range(1, 41))
WAITING = {36: "an object store that slows down: waits for buckets, as does the object-store half of D37"}
NOT_YET_HERE: frozenset[int] = frozenset()
"""Cases whose tests are being written; empty once they are in."""

_NAME = re.compile(r"^test_d(\d\d)_\w+")
_WORST_FIRST = ("failed", "skipped", "passed")


@dataclass(frozen=True, slots=True)
class Ran:
    """One test of a case.

    Attributes:
        place: where it stands: the first test of a case says what the case is about.
    """

    case: int
    place: tuple[str, int]
    holds: str
    outcome: str


def case_of(test: str) -> int | None:
    """The case that a test is of, by its name; None when it is of none."""
    found = _NAME.match(test)
    return int(found[1]) if found else None


def missing(tests: Iterable[str], *, lenient: frozenset[int] = NOT_YET_HERE) -> list[str]:
    """Name the cases that have no test and do not wait."""
    there = {case_of(test) for test in tests}
    return [_label(case) for case in NUMBERS if case not in there | WAITING.keys() | lenient]


def table(ran: Iterable[Ran]) -> list[str]:
    """One line a case: its number, how it ended, what must hold."""
    by_case: dict[int, list[Ran]] = {}
    for each in ran:
        by_case.setdefault(each.case, []).append(each)
    return [_line(case, by_case.get(case, [])) for case in NUMBERS]


def _line(case: int, ran: list[Ran]) -> str:
    if not ran:
        ended = "waiting" if case in WAITING else "not run"
        return f"{_label(case)}  {ended:<7}  {WAITING.get(case, '')}".rstrip()
    outcomes = {each.outcome for each in ran}
    ended = next((outcome for outcome in _WORST_FIRST if outcome in outcomes), "failed")
    if ended == "skipped" and "passed" in outcomes:  # of several doors, one is there
        ended = "passed"
    return f"{_label(case)}  {ended:<7}  {min(ran, key=lambda each: each.place).holds}"


def _label(case: int) -> str:
    return f"D{case:02d}"
