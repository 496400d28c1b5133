from __future__ import annotations

import ast
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from batcher.errors import JobError
from batcher.store.failpoints import NAMES, FailPoints

SOURCE = Path(__file__).parents[2] / "batcher"


def points_in_the_code() -> set[str]:
    calls = [
        node
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "hit"
    ]
    return {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}


def test_every_point_is_in_the_code_and_every_hit_has_a_name():
    assert points_in_the_code() == set(NAMES)


def test_nothing_armed_nothing_happens():
    for name in NAMES:
        FailPoints().hit(name)


@pytest.mark.parametrize(
    ("text", "armed"),
    [("", {}), ("frozen", {"frozen": 1}), ("frozen:3,sealed", {"frozen": 3, "sealed": 1})],
)
def test_points_are_read_from_text(text, armed):
    assert FailPoints.parse(text).armed == armed


def test_an_unknown_point_is_refused():
    with pytest.raises(JobError, match="no point is named 'frosen'") as refused:
        FailPoints.parse("frosen")

    assert "frozen" in refused.value.hint


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("eio", OSError, "Input/output error"),
        ("enospc", OSError, "No space left on device"),
        ("io-error", sqlite3.OperationalError, "disk I/O error"),
        ("full", sqlite3.OperationalError, "database or disk is full"),
        ("bug", RuntimeError, "nobody foresaw this"),
    ],
)
def test_a_fault_is_raised_once_at_its_count(fault, kind, said):
    points = FailPoints.parse(f"sealed:2={fault}")
    points.hit("sealed")
    with pytest.raises(kind, match=said):
        points.hit("sealed")
    points.hit("sealed")


def test_an_unknown_fault_is_refused():
    with pytest.raises(JobError, match="no fault is named 'fire'") as refused:
        FailPoints.parse("sealed=fire")

    assert refused.value.hint == "known: eio, enospc, io-error, full, bug"


def test_an_armed_point_counts_down_and_kills():
    program = (
        "from batcher.store.failpoints import FailPoints\n"
        "points = FailPoints.parse('sealed:3')\n"
        "for turn in range(5):\n"
        "    print(turn, flush=True)\n"
        "    points.hit('frozen')\n"
        "    points.hit('sealed')\n"
    )
    died = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)

    assert died.returncode == -signal.SIGKILL
    assert died.stdout.split() == ["0", "1", "2"]
