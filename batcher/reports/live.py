"""What does a run look like while someone watches? A few short lines in which nothing moves but the numbers.

Never wider than 39 columns, however wide the terminal is: a terminal that is made narrower breaks the lines that no
longer fit and pushes what is on top out of reach, where it cannot be drawn over any more (seen in tmux 3.3). Lines that
fit 40 columns are never broken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from math import ceil

from rich.text import Text

from batcher.engine.progress import Outage, Phase, Snapshot, Spending, Totals
from batcher.records import Status
from batcher.reports.limits import began, limit, lowered_to, next_probe, until
from batcher.reports.money import dollars, roughly
from batcher.reports.stragglers import straggler_short
from batcher.reports.terminal import (
    milliseconds,
    pace,
    price_unknown,
    share,
    unhappy,
    whole_duration,
)

WIDTH = 39
_LABEL = 9
_CELL = 15  # two of them; they stay where they are whatever the numbers do, so that the eye finds them again
_LEAST_BAR = 4
_DROPPED_FIRST = (
    *("cached", "wasted", "latency", "tokens", "rows", "requests", "cost", "budget", "limit", "slow", "parked"),
)

Cell = tuple[str, str]
"""What is said, and rich's style of it."""

_NOTHING: Cell = ("", "")


def block_lines(snapshot: Snapshot, *, columns: int, rows: int) -> list[Text]:
    """Draw the run as it is now, in 1 to 11 lines.

    Args:
        snapshot: the run now.
        columns: of the terminal; no line is as long.
        rows: of the terminal; what matters least is left out where it is low.
    """
    if snapshot.phase is Phase.PLANNING:
        lines = [_reading(snapshot)]
    else:
        lines = [_bar(snapshot), *_fitting(dict(_lines(snapshot)), rows - 2)]
    for line in lines:
        line.truncate(min(columns - 1, WIDTH), overflow="ellipsis")
    return lines


def compact(count: int) -> str:
    """Write a big count with three significant digits: `9,999`, `12.3k`, `123k`, `1.05M`, `2.30B`."""
    if count < 10_000:
        return f"{count:,}"
    thousands = 1 if count < 999_500 else 2 if count < 999_500_000 else 3
    said = count / 1000**thousands
    digits = 2 if said < 9.995 else 1 if said < 99.95 else 0
    return f"{said:.{digits}f}{' kMB'[thousands]}"


def _fitting(lines: dict[str, Text], most: int) -> list[Text]:
    for name in _DROPPED_FIRST:
        if len(lines) <= max(most, 1):
            break
        lines.pop(name, None)
    return list(lines.values())


def _lines(snapshot: Snapshot) -> Iterator[tuple[str, Text]]:
    """Name and line, in the order of the closing summary, which takes the block's place."""
    totals = snapshot.totals
    tokens = totals.tokens
    yield "rows", _line("rows", _statuses(totals))
    yield "tokens", _line("tokens", [(f"{compact(tokens.input)} in", ""), (f"{compact(tokens.output)} out", "")])
    if tokens.cached or tokens.thinking:  # parts of what stands above them
        cached = f"{compact(tokens.cached)} cached" if tokens.cached else ""
        thinking = f"{compact(tokens.thinking)} thinking" if tokens.thinking else ""
        yield "cached", _line("", [(cached, "dim"), (thinking, "dim")])
    yield "cost", _line("cost", _cost(snapshot))
    if snapshot.spending is not None:
        yield "budget", _line("budget", _budget(snapshot.spending))
    if totals.wasted_usd:
        yield "wasted", _line("", [(f"{dollars(totals.wasted_usd)} wasted", "yellow")])
    waiting = f"{snapshot.waiting:,} waiting" if snapshot.waiting else ""
    yield "requests", _line("requests", [(f"{snapshot.in_flight:,} in flight", ""), (waiting, "")])
    yield "latency", _line("latency", _latency(snapshot))
    throttled: Cell = (f"{totals.throttled:,} got 429" if totals.throttled else "", "yellow")
    held = _line("limit", [(_limit(snapshot), "cyan"), throttled])
    yield "limit", _outage(snapshot.outage) if snapshot.outage else held
    if snapshot.stragglers:
        yield "slow", _line("slow", [(straggler_short(snapshot, WIDTH - _LABEL), "yellow")])
    if snapshot.parked:
        rows = sum(each.rows for each in snapshot.parked)
        waiting = f"{rows:,} wait" if rows else ""
        yield "parked", _line("parked", [(until(snapshot.parked), "bold yellow"), (waiting, "yellow")])
    yield "pace", _pace(snapshot)


def _line(label: str, cells: Sequence[Cell]) -> Text:
    line = Text.assemble((f"{label:<{_LABEL}}", "dim"))
    for said, style in cells:
        line.append(said, style).append(" " * max(1, _CELL - len(said)))
    line.rstrip()
    return line


def _bar(snapshot: Snapshot) -> Text:
    tasks, done = snapshot.tasks, snapshot.totals.done
    head = f"{share(done, tasks):>3} %  "
    tail = f"  {done:>{len(f'{tasks:,}')},} of {tasks:,}"
    if len(head) + _LEAST_BAR + len(tail) > WIDTH:  # hundreds of millions
        tail = f"  {compact(done)} of {compact(tasks)}"
    length = WIDTH - len(head) - len(tail)
    full = length * done // tasks if tasks else length
    return Text.assemble((head, "bold"), ("━" * full, "green"), ("─" * (length - full), "dim"), (tail, "bold"))


def _reading(snapshot: Snapshot) -> Text:
    return Text.assemble("reading the input  ", (f"{snapshot.tasks:,} rows", "bold"))


def _statuses(totals: Totals) -> list[Cell]:
    others = list(unhappy(totals.by_status))
    good = totals.by_status.get(Status.OK, 0)
    said: Cell = (f"{good:,} ok", "green" if good else "")
    if not others:
        return [said]
    style = "red" if any(status is Status.FAILED for status, _ in others) else "yellow"
    named = str(others[0][0]) if len(others) == 1 else "not ok"
    return [said, (f"{totals.done - good:,} {named}", style)]


def _cost(snapshot: Snapshot) -> list[Cell]:
    totals, projected = snapshot.totals, snapshot.projected_usd
    if price_unknown(totals):
        return [("price unknown", "yellow")]
    least = ">" if totals.unpriced else ""
    is_guess = projected is not None and totals.done < snapshot.tasks
    return [
        (f"{least}{dollars(totals.cost_usd)}", "bold"),
        (f"→ ~{roughly(projected)}", "") if is_guess and projected is not None else _NOTHING,
    ]


def _budget(spending: Spending) -> list[Cell]:
    """The one cap that is nearer: a second line would say less than what it pushes out."""
    money = spending.spent_usd / spending.cap_usd if spending.cap_usd else -1
    if spending.cap_tokens and spending.spent_tokens / spending.cap_tokens > money:
        return [
            (f"{compact(spending.spent_tokens)} of {compact(spending.cap_tokens)}", ""),
            (f"{compact(spending.held_tokens)} tokens held", "dim"),
        ]
    cap = spending.cap_usd or Decimal(0)
    return [(f"{roughly(spending.spent_usd)} of {roughly(cap)}", ""), (f"{roughly(spending.held_usd)} held", "dim")]


def _latency(snapshot: Snapshot) -> list[Cell]:
    if snapshot.p50_ms is None or snapshot.p95_ms is None:
        return []
    return [(f"p50 {milliseconds(snapshot.p50_ms)}", ""), (f"p95 {milliseconds(snapshot.p95_ms)}", "")]


def _outage(outage: Outage) -> Text:
    """What holds a run back altogether has the line of the limits for itself."""
    probe = next_probe(outage).removeprefix("next ")
    return _line("outage", [(began(outage), "bold yellow"), (probe, "yellow")])


def _limit(snapshot: Snapshot) -> str:
    """Name what holds the run back in the few letters that a cell has."""
    if snapshot.limited_by in ("open tasks", "retry budget"):
        return "retries"
    if lowered := lowered_to(snapshot):
        return lowered
    return limit(snapshot.limited_by).replace("input tokens", "tokens")


def _pace(snapshot: Snapshot) -> Text:
    if snapshot.phase is Phase.SEALING:
        return _line("pace", [("writing the last parts", "bold")])
    if snapshot.phase is Phase.DRAINING:
        return _line("stopping", [("Ctrl-C again leaves at once" if snapshot.in_flight else "", "bold yellow")])
    if not snapshot.rate_per_s and snapshot.totals.done == snapshot.done_before:
        return _line("pace", [("no answer yet", "")])
    said = pace(snapshot.rate_per_s) if snapshot.rate_per_s else "0 rows/s"
    return _line("pace", [(said, "bold"), (_left(snapshot.eta_s), "bold")])


def _left(eta_s: float | None) -> str:
    """Say how long it will take; a guess of ten minutes or more has no seconds, which would only be restless."""
    if eta_s is None:
        return ""
    return f"{ceil(eta_s / 60)} min left" if 600 <= eta_s <= 3540 else f"{whole_duration(eta_s)} left"
