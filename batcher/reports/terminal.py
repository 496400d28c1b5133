"""What does a run say in a terminal? Plain lines on the way, then a summary that ends with what to type next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from batcher.engine.progress import Phase, Snapshot, Summary, Tokens, Totals
from batcher.records import Status
from batcher.reports.budget import budget, budget_briefly
from batcher.reports.limits import limit, limit_now, until
from batcher.reports.money import dollars

_LINE_EVERY_S = 30.0
_STEPS = 10
_LABEL_WIDTH = 10

JsonValue = str | int | float | bool | list[Any] | dict[str, Any] | None


class ProgressPrinter:
    """Writes a line when there is something new to say: each tenth of the way, each 30 s, each phase, each outage.

    Args:
        write: takes one line without its end.
        width: columns of the terminal; a longer line gives up what it can. 0: there is none.
    """

    def __init__(self, write: Callable[[str], None], *, width: int = 0) -> None:
        self._write = write
        self._width = width
        self._said: Snapshot | None = None

    def __call__(self, snapshot: Snapshot) -> None:
        """Look at the run; say it, or stay silent."""
        line = next_line(self._said, snapshot, width=self._width)
        if line is not None:
            self._said = snapshot
            self._write(line)


def next_line(previous: Snapshot | None, snapshot: Snapshot, *, width: int = 0) -> str | None:
    """Give the line to print now, or None when it would say nothing new.

    Args:
        previous: the snapshot of the last line printed; None before the first.
        snapshot: the run now.
        width: columns it should fit; 0 for any.
    """
    if previous is None or previous.phase is not snapshot.phase:
        return _opening(previous, snapshot, width)
    further = snapshot.phase is Phase.ASKING and _step(snapshot) > _step(previous)
    outage = snapshot.outage
    if outage is not None and previous.outage is None:
        line = progress_line(snapshot, width=width)
        told = f"{line} ({outage.said})"
        return told if not width or len(told) <= width else line
    if {each.lane for each in snapshot.parked} - {each.lane for each in previous.parked}:
        return f"{progress_line(snapshot, width=width)}{_waiting(snapshot, previous)}"
    is_over = outage is None and previous.outage is not None
    if further or is_over or snapshot.elapsed_s - previous.elapsed_s >= _LINE_EVERY_S:
        return progress_line(snapshot, width=width)
    return None


def _waiting(snapshot: Snapshot, previous: Snapshot) -> str:
    """Name the models that wait for another day since the last line."""
    known = {each.lane for each in previous.parked}
    told = (f"{each.lane} has used up its day, {until([each])}" for each in snapshot.parked if each.lane not in known)
    return f" ({'; '.join(told)})"


def summary_lines(summary: Summary) -> list[str]:
    """Say how the run ended: verdict, a small table, notes, and last of all the next command to type."""
    lines = [summary.verdict, ""]
    lines += [entry(label, text) for label, text in summary_facts(summary)]
    lines += ["", *(f"note: {note}" for note in summary.notes)] if summary.notes else []
    return [*lines, "", entry("next", summary.next_command)]


def summary_facts(summary: Summary) -> list[tuple[str, str]]:
    """Give the small table of a summary: label, text."""
    table = [
        ("answers" if summary.samples > 1 else "rows", _counts(summary)),
        ("not asked", _spared(summary.totals)),
        ("tokens", _tokens(summary.totals.tokens)),
        ("cost", cost(summary.totals)),
        ("budget", budget(summary.spending)),
        ("requests", _requests(summary)),
        ("latency", latency(summary)),
        ("time", _time(summary)),
        ("output", summary.run_dir),
    ]
    return [(label, text) for label, text in table if text]


def summary_json(summary: Summary) -> dict[str, JsonValue]:
    """Say the same as one JSON document; money as exact decimal text, unknown money as null."""
    totals = summary.totals
    return {
        "verdict": summary.verdict,
        "exit_code": int(summary.exit_code),
        "run_dir": summary.run_dir,
        "rows": summary.rows,
        "samples": summary.samples,
        "tasks": summary.tasks,
        **totals_json(totals),
        "budget": None if summary.spending is None else dict(summary.spending.as_json()),
        "sent": summary.sent,
        "elapsed_s": round(summary.elapsed_s, 3),
        "rows_per_s": round(summary.rows_per_s, 3),
        "limited_by": summary.limited_by,
        "p50_ms": summary.p50_ms and round(summary.p50_ms, 1),
        "p95_ms": summary.p95_ms and round(summary.p95_ms, 1),
        "next_command": summary.next_command,
        "notes": list(summary.notes),
    }


def totals_json(totals: Totals) -> dict[str, JsonValue]:
    """Give the counts, tokens and money of a run as JSON values."""
    tokens = totals.tokens
    return {
        "done": totals.done,
        "by_status": {str(status): totals.by_status.get(status, 0) for status in Status},
        "attempts": totals.attempts,
        "throttled": totals.throttled,
        "maybe_billed": totals.maybe_billed,
        "spared": totals.spared,
        "tokens": {
            "input": tokens.input,
            "cached": tokens.cached,
            "output": tokens.output,
            "thinking": tokens.thinking,
        },
        "cost_usd": None if price_unknown(totals) else f"{totals.cost_usd:f}",
        "wasted_usd": None if price_unknown(totals) else f"{totals.wasted_usd:f}",
        "unpriced": totals.unpriced,
    }


def totals_lines(totals: Totals, tasks: int) -> list[str]:
    """Say how far a run is and what it has taken so far, as lines of the same table as the summary."""
    return [
        entry("done", f"{share(totals.done, tasks)} %  {totals.done:,} of {tasks:,}"),
        entry("rows", _statuses(totals.by_status)),
        *([entry("not asked", _spared(totals))] if totals.spared else []),
        entry("tokens", _tokens(totals.tokens)),
        entry("cost", cost(totals)),
    ]


def _spared(totals: Totals) -> str:
    return f"{totals.spared:,} of them: another run or row had paid for the answer" if totals.spared else ""


def duration(seconds: float) -> str:
    """Write a time span with two units at most: `12.4 s`, `3 min 12 s`, `2 h 05 min`, `1 d 3 h`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 60:
        return f"{minutes} min {whole % 60:02} s"
    if hours < 24:
        return f"{hours} h {minutes % 60:02} min"
    return f"{days} d {hours % 24} h"


def whole_duration(seconds: float) -> str:
    """Write a time span that is a guess, rounded up: it has no tenths, and without them a line fits 80 columns."""
    return duration(seconds) if seconds >= 60 else f"{math.ceil(seconds)} s"


def milliseconds(span_ms: float) -> str:
    """Write a latency with two significant digits, as exact as it is known: `8.5 ms`, `310 ms`, `1.2 s`, `130 s`."""
    rounded = float(f"{span_ms:.2g}")
    return f"{rounded:g} ms" if rounded < 1000 else f"{rounded / 1000:g} s"


def latency(seen: Snapshot | Summary) -> str:
    """Say how long answers take; empty when there were none."""
    if seen.p50_ms is None or seen.p95_ms is None:
        return ""
    return f"p50 {milliseconds(seen.p50_ms)} · p95 {milliseconds(seen.p95_ms)}"


def cost(totals: Totals) -> str:
    """Say what a run has cost; a lower bound and an unknown price are called that."""
    if price_unknown(totals):
        return "price unknown"
    said = dollars(totals.cost_usd)
    if totals.unpriced:
        said = f"at least {said} ({_count(totals.unpriced, 'request')} of unknown price)"
    return f"{said} · {dollars(totals.wasted_usd)} of it wasted" if totals.wasted_usd else said


def _opening(previous: Snapshot | None, snapshot: Snapshot, width: int) -> str | None:
    done = snapshot.totals.done
    if snapshot.phase is Phase.PLANNING:
        return "reading the input"
    if done and snapshot.done_before == snapshot.tasks:
        return f"nothing left to ask: {done:,} of {snapshot.tasks:,} done before" if previous is None else None
    if snapshot.phase is Phase.SEALING:
        return "writing the last parts"
    if snapshot.phase is Phase.DRAINING:
        left = _count(snapshot.in_flight, "request")
        return f"stopping: waiting for {left} in flight" if snapshot.in_flight else "stopping"
    if snapshot.done_before:
        return f"continuing: {done:,} of {snapshot.tasks:,} done before"
    return f"asking {snapshot.tasks:,}" if not done else progress_line(snapshot, width=width)


def progress_line(snapshot: Snapshot, *, width: int = 0) -> str:
    """Say how far the run is, in one line of at most `width` columns if that can be; 0 for any."""
    if snapshot.phase is Phase.PLANNING:
        return f"reading the input: {_count(snapshot.tasks, 'row')} so far"
    totals = snapshot.totals
    said = [f"{share(totals.done, snapshot.tasks):>3} %  {totals.done:,} of {snapshot.tasks:,}"]
    said += [f"{count:,} {status}" for status, count in unhappy(totals.by_status)]
    if snapshot.rate_per_s:
        said.append(pace(snapshot.rate_per_s))
    if snapshot.spending is not None:
        said.append(budget_briefly(snapshot.spending))
    elif totals.cost_usd:
        said.append(dollars(totals.cost_usd))
    if snapshot.eta_s is not None and totals.done < snapshot.tasks:
        said.append(f"{whole_duration(snapshot.eta_s)} left")
    if not snapshot.limited_by:
        return " · ".join(said)
    held_by = limit_now(snapshot)
    whole, shorter = " · ".join([*said, f"limited by {held_by}"]), " · ".join([*said, held_by])
    if not width or len(whole) <= width:
        return whole
    return shorter if len(shorter) <= width else " · ".join(said)


def _step(snapshot: Snapshot) -> int:
    return snapshot.totals.done * _STEPS // snapshot.tasks if snapshot.tasks else 0


def share(done: int, tasks: int) -> int:
    """Give the percentage, rounded down: 100 % is said when it is true."""
    return done * 100 // tasks if tasks else 100


def unhappy(by_status: Mapping[Status, int]) -> Iterator[tuple[Status, int]]:
    """Name what did not end well, and how often."""
    return ((status, by_status[status]) for status in Status if status is not Status.OK and by_status.get(status))


def _statuses(by_status: Mapping[Status, int]) -> str:
    return " · ".join(f"{by_status[status]:,} {status}" for status in Status if by_status.get(status)) or "none"


def _counts(summary: Summary) -> str:
    counts = _statuses(summary.totals.by_status)
    if missing := summary.tasks - summary.totals.done:
        counts += f" · {missing:,} not asked yet"
    return f"{counts} ({summary.rows:,} rows, {summary.samples} samples each)" if summary.samples > 1 else counts


def _tokens(tokens: Tokens) -> str:
    cached = f" ({tokens.cached:,} cached)" if tokens.cached else ""
    thinking = f" ({tokens.thinking:,} thinking)" if tokens.thinking else ""
    return f"{tokens.input:,} in{cached} · {tokens.output:,} out{thinking}"


def _requests(summary: Summary) -> str:
    attempts = summary.totals.attempts
    said = f"{summary.sent:,}" if summary.sent == attempts else f"{summary.sent:,} now, {attempts:,} in all"
    if summary.totals.throttled:
        said += f" · {summary.totals.throttled:,} answered 429"
    return said


def _time(summary: Summary) -> str:
    said = [duration(summary.elapsed_s)]
    if summary.rows_per_s:
        said.append(pace(summary.rows_per_s))
    if summary.sent:
        said += [f"limited by {limit(summary.limited_by)}"] if summary.limited_by else []
    return " · ".join(said)


def pace(rows_per_s: float) -> str:
    """Write a pace by the second, or by the minute where a second sees less than one row."""
    if rows_per_s >= 100:
        return f"{rows_per_s:,.0f} rows/s"
    return f"{rows_per_s:.1f} rows/s" if rows_per_s >= 1 else f"{rows_per_s * 60:.1f} rows/min"


def price_unknown(totals: Totals) -> bool:
    """Whether the cost is no more than a guess of nothing: some answers have no price, and none has one."""
    return bool(totals.unpriced) and not totals.cost_usd


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def entry(label: str, text: str) -> str:
    """Write one line of a summary: label, text."""
    return f"  {label:<{_LABEL_WIDTH}}{text}"
