"""How does a forecast look: on paper, in a terminal, as JSON?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from batcher.engine.outlook import Estimate, Forecast, Money, PriceChange, Reach, Span
from batcher.job.complaints import shown
from batcher.reports.money import dollars
from batcher.reports.paper import drawn, grid, safe
from batcher.reports.plain import plain
from batcher.reports.terminal import duration

_LONGEST_TEXT = 600
_DEFAULT = "default"
_IN_JOB_FILE = re.compile(r"(.*/)([^/]+:\d+)")


def forecast_lines(
    forecast: Forecast, *, next_command: str, width: int = 0, colour: bool = False, all_settings: bool = False
) -> list[str]:
    """Say what a run would do; the first line is what it comes to, the last one what to type next.

    Args:
        forecast: of the run.
        next_command: what to type next.
        width: columns of the terminal; 0 when there is none.
        colour: whether colours may be used.
        all_settings: those that nobody set, too.
    """
    things: list[RenderableType] = [
        "",
        grid([*_facts(forecast)]),
        *_first(forecast),
        "",
        grid([*_takes(forecast)], head=("", "low", "likely", "high", "from")),
        "",
        grid([*_limits(forecast)], head=("limit", "rows/min", "by")),
        "",
        grid([*_settings(forecast, all_settings)], head=("setting", "value", "from"), wide=2),
        *_notes(forecast, all_settings=all_settings),
    ]
    # The last line is whole, however long: it is there to be copied.
    return [_headline(forecast), *drawn(things, width=width, colour=colour), "", f"  next  {plain(next_command)}"]


def forecast_json(forecast: Forecast, *, next_command: str) -> dict[str, Any]:
    """Say the same as one JSON document; money as exact decimal text, unknown money as null."""
    first, resume, pace, assumed = forecast.first, forecast.resume, forecast.pace, forecast.assumed
    return {
        "job": forecast.job,
        "model": forecast.model,
        "endpoint": forecast.endpoint,
        "fallback_models": [{"model": model, "cost_usd": _money_json(taken)} for model, taken in forecast.behind],
        "run_dir": forecast.run_dir,
        "input": {
            "files": [{"name": name, "format": kind, "bytes": size} for name, kind, size in forecast.files],
            "shape": forecast.shape,
            "id_key": forecast.id_key,
            "prompt_key": forecast.prompt_key,
            "rows": forecast.rows,
            "rows_exact": forecast.rows_exact,
            "looked_at": forecast.looked_at,
            "cannot_be_asked": forecast.problems[0],
            "problems": list(forecast.problems[1]),
        },
        "samples": forecast.samples,
        "first": first
        and {"id": first.id, "where": first.where, "prompt": first.prompt, "system": first.system}
        | {"request": _cut(first.request)},
        "resume": resume
        and {"state": resume.state, "done": resume.done, "left": resume.left, "pid": resume.pid}
        | {"cost_usd": None if resume.cost_usd is None else f"{resume.cost_usd:f}"},
        "spared": forecast.spared,
        "requests": forecast.left,
        "tokens": {
            "input": _span_json(forecast.estimate.input_tokens, 0) | {"from": assumed.input_from},
            "output": _span_json(forecast.estimate.output_tokens, 0) | {"from": assumed.output_from},
        },
        "cost_usd": _money_json(forecast.estimate),
        "flex_cost_usd": forecast.flex and _money_json(forecast.flex),
        "service_tier": forecast.tier,
        "unpriced": list(forecast.estimate.unpriced),
        "rate_card": forecast.card,
        "budget": forecast.reach and _reach_json(forecast.reach),
        "price_changes": [_change_json(change) for change in forecast.price_changes],
        "time_s": _span_json(pace.time_s, 1) | {"from": assumed.latency_from},
        "days": pace.days,
        "bottleneck": pace.bottleneck,
        "limits": [
            {"name": limit.name, "rows_per_min": _span_json(limit.rows_per_min, 3), "by": limit.arithmetic}
            for limit in pace.limits
        ],
        "settings": [{"name": one.name, "value": one.value, "from": one.source} for one in forecast.settings],
        "notes": list(forecast.notes),
        "next_command": next_command,
    }


def full_run(forecast: Forecast) -> str:
    """Say in one line what the whole run comes to, for whoever has just asked its first rows."""
    cost = forecast.estimate.cost_usd
    if cost is None:
        return f"full run ~ price unknown ({_left(forecast)})"
    at_least = "at least " if forecast.estimate.unpriced else ""
    between = "" if cost.low == cost.high else f"; {_usd(cost.low)} to {_usd(cost.high)}"
    return f"full run ~ {at_least}{_usd(cost.likely)} ({_left(forecast)}{between})"


def _left(forecast: Forecast) -> str:
    """The rows, less those that need no asking."""
    if not forecast.spared:
        return _rows(forecast)
    unit = "rows" if forecast.samples == 1 else "answers"
    return f"the {forecast.left:,} {unit} left of {forecast.rows * forecast.samples:,}"


def _headline(forecast: Forecast) -> str:
    if forecast.first is None and forecast.problems[0]:
        return f"{forecast.job}: no row can be asked ({forecast.looked_at:,} looked at)"
    if not forecast.left:
        return f"{forecast.job}: nothing to ask; run sends nothing"
    return f"{forecast.job}: {_requests(forecast)} to {forecast.model}, {_likely(forecast.estimate)}"


def _requests(forecast: Forecast) -> str:
    return f"{'' if forecast.rows_exact else 'about '}{forecast.left:,} request{'' if forecast.left == 1 else 's'}"


def _likely(estimate: Estimate) -> str:
    cost = estimate.cost_usd
    if cost is None:
        return "price unknown"
    at_least = "at least " if estimate.unpriced else "about "
    return f"{at_least}{_usd(cost.likely)} ({_usd(cost.low)} to {_usd(cost.high)})"


def _rows(forecast: Forecast) -> str:
    said = f"{'' if forecast.rows_exact else 'about '}{forecast.rows:,} row{'' if forecast.rows == 1 else 's'}"
    return said if forecast.samples == 1 else f"{said} x {forecast.samples} samples"


def _facts(forecast: Forecast) -> Iterator[tuple[str, Text]]:
    if places := [one.source for one in forecast.settings if _IN_JOB_FILE.fullmatch(one.source)]:
        yield "job", safe(places[0].rpartition(":")[0])
    for at, (name, kind, size) in enumerate(forecast.files[:3]):
        yield "" if at else "input", safe(f"{name} ({kind}, {_bytes(size)})")
    if len(forecast.files) > 3:
        yield "", Text(f"and {len(forecast.files) - 3:,} more files")
    yield "rows", Text(f"{_rows(forecast)}; {_looked_at(forecast)}")
    yield "shape", safe(_shape(forecast))
    if forecast.problems[0]:
        yield "", Text(f"{forecast.problems[0]:,} of the rows looked at cannot be asked:", "yellow")
        yield from (("", safe(problem, "yellow")) for problem in forecast.problems[1])
    yield "endpoint", safe(forecast.endpoint)
    for model, taken in forecast.behind:
        yield "fallback", safe(f"{model}: {_likely(taken)} if it answered them all")
    yield "output", safe(_output(forecast))


def _looked_at(forecast: Forecast) -> str:
    looked, rows = forecast.looked_at, forecast.rows
    return "all of them looked at" if looked == rows else f"{looked:,} of them looked at"


def _shape(forecast: Forecast) -> str:
    asked = f", what is asked in column {forecast.prompt_key!r}" if forecast.prompt_key else ", asked by the template"
    named = f", names in column {forecast.id_key!r}" if forecast.id_key else ""
    return f"{forecast.shape}{asked}{named}"


def _output(forecast: Forecast) -> str:
    resume = forecast.resume
    if resume is None:
        return f"{forecast.run_dir} (new)"
    cost = "price unknown" if resume.cost_usd is None else _usd(resume.cost_usd)
    owner = f"; process {resume.pid} runs it now" if resume.pid is not None else ""
    return f"{forecast.run_dir}: {resume.done:,} done for {cost}, {resume.left:,} left ({resume.state}){owner}"


def _first(forecast: Forecast) -> Iterator[RenderableType]:
    first = forecast.first
    if first is None:
        return
    if first.system is not None:
        yield from ("", Text("  system"), _quoted(first.system))
    yield from ("", Text("  first prompt  ") + safe(f"{first.id} ({first.where})", "dim"))
    yield _quoted(first.prompt if first.prompt is not None else "(no text in its last turn)")


def _quoted(text: str) -> RenderableType:
    cut = text[:_LONGEST_TEXT]
    cut += f"…(+{len(text) - len(cut):,} chars)" if len(text) > len(cut) else ""
    return Padding(safe(cut.strip("\n"), "cyan"), (0, 0, 0, 4))


def _takes(forecast: Forecast) -> Iterator[tuple[str | Text, ...]]:
    estimate, assumed, pace = forecast.estimate, forecast.assumed, forecast.pace
    yield ("tokens in", *_counts(estimate.input_tokens), safe(assumed.input_from))
    yield ("tokens out", *_counts(estimate.output_tokens), safe(assumed.output_from))
    yield _cost("cost", estimate, _priced_by(forecast))
    if estimate.most_usd is not None:
        yield ("  at most", "", "", _usd(estimate.most_usd), "the longest answers allowed; no retries")
    if forecast.flex is not None:
        yield _cost("  in flex", forecast.flex, "--set request.service_tier=flex")
    if forecast.reach is not None and forecast.left:
        yield from _reach(forecast.reach)
    days = f"; {pace.days:,} days of quota" if pace.days and pace.days > 1 else ""
    held = f"bottleneck: {pace.bottleneck}{days}; an answer's time: {assumed.latency_from}"
    yield ("time", *map(_time, pace.time_s), safe(held))


def _reach(reach: Reach) -> Iterator[tuple[str | Text, ...]]:
    """The cap, and how many of the requests fit: for sure, and likely."""
    likely = "?" if reach.likely is None else f"{reach.likely:,}"
    if reach.cap_usd is not None:
        spent = f", {_usd(reach.spent_usd)} of it spent" if reach.spent_usd else ""
        said = f"a cap of {dollars(reach.cap_usd)}{spent}; up to {_usd(reach.request_usd)} are held for a request"
    else:
        spent = f", {reach.spent_tokens:,} of them used" if reach.spent_tokens else ""
        said = f"a cap of {reach.cap_tokens:,} tokens{spent}; up to {reach.request_tokens:,} are held for a request"
    yield ("budget fits", f"{reach.surely:,}", likely, "", said)


def _reach_json(reach: Reach) -> dict[str, Any]:
    return {
        "max_cost_usd": None if reach.cap_usd is None else f"{reach.cap_usd:f}",
        "spent_usd": f"{reach.spent_usd:f}",
        "held_for_a_request_usd": f"{reach.request_usd:f}",
        "max_tokens": reach.cap_tokens,
        "spent_tokens": reach.spent_tokens,
        "held_for_a_request_tokens": reach.request_tokens,
        "fits_surely": reach.surely,
        "fits_likely": reach.likely,
    }


def _cost(label: str, estimate: Estimate, source: str) -> tuple[str | Text, ...]:
    cost = estimate.cost_usd
    if cost is None:
        return (label, *[Text("unknown", "yellow")] * 3, safe(f"no price for {', '.join(estimate.unpriced)}; never 0"))
    but = f"; without {', '.join(estimate.unpriced)}, whose price is unknown" if estimate.unpriced else ""
    return (label, *map(_usd, cost), safe(source + but))


def _priced_by(forecast: Forecast) -> str:
    return f"{forecast.tier} prices of {forecast.card.partition(' ')[0]}, nothing cached"


def _limits(forecast: Forecast) -> Iterator[tuple[str | Text, ...]]:
    pace = forecast.pace
    for limit in pace.limits:
        holds = limit.name == pace.bottleneck
        style = "bold" if holds else ""
        low, _, high = (_rounded(rate) for rate in limit.rows_per_min)
        rate = low if low == high else f"{low} to {high}"
        yield Text(f"{limit.name}{' ←' * holds}", style), Text(rate, style), Text(limit.arithmetic, style)
    if not pace.limits:
        yield "none", "", ""


def _settings(forecast: Forecast, all_settings: bool) -> Iterator[tuple[str | Text, ...]]:
    for setting in forecast.settings:
        if all_settings or setting.source != _DEFAULT:
            yield setting.name, safe(shown(setting.value)), safe(_IN_JOB_FILE.sub(r"\2", setting.source))


def _notes(forecast: Forecast, *, all_settings: bool) -> Iterator[RenderableType]:
    defaults = sum(setting.source == _DEFAULT for setting in forecast.settings)
    if defaults and not all_settings:
        yield Text(f"  and {defaults} at their defaults: -v shows them", "dim")
    notes = [*forecast.notes, *map(_change, forecast.price_changes)]
    if notes:
        yield ""
    yield from (safe(f"note: {note}", "yellow") for note in notes)


def _change(change: PriceChange) -> str:
    (input_was, input_is), (output_was, output_is) = change.input_usd, change.output_usd
    return (
        f"the price of {change.model} changes on {change.day}: a million tokens in ${input_was:f} → ${input_is:f},"
        f" out ${output_was:f} → ${output_is:f}"
    )


def _change_json(change: PriceChange) -> dict[str, Any]:
    (input_was, input_is), (output_was, output_is) = change.input_usd, change.output_usd
    return {
        "model": change.model,
        "day": change.day,
        "input_usd_per_million": {"before": f"{input_was:f}", "after": f"{input_is:f}"},
        "output_usd_per_million": {"before": f"{output_was:f}", "after": f"{output_is:f}"},
    }


def _span_json(span: Span, digits: int) -> dict[str, Any]:
    ends = [round(end, digits) if digits else round(end) for end in span]
    return dict(zip(("low", "likely", "high"), ends, strict=True))


def _money_json(estimate: Estimate) -> dict[str, Any] | None:
    cost: Money | None = estimate.cost_usd
    if cost is None:
        return None
    most = None if estimate.most_usd is None else f"{estimate.most_usd:f}"
    return {"low": f"{cost.low:f}", "likely": f"{cost.likely:f}", "high": f"{cost.high:f}", "most": most}


def _cut(node: Any) -> Any:
    """Shorten the long texts of a request: a picture in it has a million characters."""
    if isinstance(node, str):
        return node if len(node) <= _LONGEST_TEXT else f"{node[:_LONGEST_TEXT]}…(+{len(node) - _LONGEST_TEXT:,} chars)"
    if isinstance(node, dict):
        return {name: _cut(value) for name, value in node.items()}
    return [_cut(value) for value in node] if isinstance(node, list) else node


def _counts(span: Span) -> Sequence[str]:
    return [_rounded(end) for end in span]


def _rounded(number: float) -> str:
    """Three digits that matter: the rest of an estimate means nothing."""
    for unit, least in ((" G", 1e9), (" M", 1e6), (" k", 1e4)):
        if number >= least * 0.9995:
            return f"{number / least * (10 if unit == ' k' else 1):.3g}{unit}"
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _usd(amount: Decimal) -> str:
    if not amount:
        return dollars(amount)
    return dollars(amount.quantize(Decimal(1).scaleb(amount.adjusted() - 2), ROUND_HALF_EVEN))


def _time(seconds: float) -> str:
    if seconds < 60 or seconds >= 3_600:
        return f"{seconds:.2g} s" if seconds < 60 else duration(seconds)
    return f"{seconds / 60:.2g} min"


def _bytes(size: int) -> str:
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= least:
            return f"{size / least:.3g} {unit}"
    return f"{size} bytes"
