"""How does it look what the runs of this machine know of limits? In lines, as JSON."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Any

from batcher.engine.hostlimits import Known, said_by


def known_lines(known: Known) -> list[str]:
    """Say what was learnt and what of today is used; the first line is the verdict."""
    count = len(known.learnt)
    lines = [f"{count or 'no'} limit{'' if count == 1 else 's'} learnt"]
    owners = [each.owner for each in known.learnt] + [each.owner for each in known.today]
    for owner in dict.fromkeys(owners):
        lines += ["", f"  {owner}"]
        for each in known.learnt:
            if each.owner == owner:
                lines.append(f"    {each.quota:<16}  {each.value:>12,.10g}  {said_by(each)}")
        for day in known.today:
            if day.owner == owner:
                lines.append(f"    {'sent today':<16}  {day.requests:>12,}  until {_moment(day.resets_at_us)}")
    if known.learnt:
        lines += ["", "  next  batcher limits --forget"]
    return lines


def known_json(known: Known) -> dict[str, Any]:
    """Say the same as one JSON document."""
    return {"learnt": [asdict(each) for each in known.learnt], "today": [asdict(each) for each in known.today]}


def forgotten_lines(dropped: int) -> list[str]:
    """Say how many limits were dropped."""
    return [f"{dropped or 'no'} limit{'' if dropped == 1 else 's'} forgotten"]


def forgotten_json(dropped: int) -> dict[str, Any]:
    """Say the same as one JSON document."""
    return {"forgotten": dropped}


def _moment(at_us: int) -> str:
    return f"{dt.datetime.fromtimestamp(at_us // 1_000_000, dt.UTC):%Y-%m-%d %H:%M} UTC"
