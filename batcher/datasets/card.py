"""What does the run directory say of itself to someone who finds it? A dataset card: a README that `datasets` reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from batcher.money.totals import Totals

_SIZES = (  # in the hub's own words
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)
_LARGER = "100M<n<1B"

COLUMNS: Mapping[str, str] = {
    "task, ordinal, sample": "number of the task; position of the row in the input; which ask of the row",
    "id": "the input's own, else `row-<ordinal>`",
    "prompt": "what was asked, rendered",
    "status": "`ok`, `blocked`, `truncated`, `invalid` or `failed`",
    "response": "visible text of the first candidate",
    "parsed, schema_valid": "the answer as JSON, when it satisfies the run's schema; whether it does",
    "candidates, prompt_feedback": "the whole reply",
    "usage_metadata": "tokens as the endpoint counted them, of the attempt that answered",
    "input_tokens, output_tokens": "billed, over all attempts",
    "cost_usd, wasted_usd": "over all attempts; of which for answers nobody can use; null: unknown price",
    "finish_reason": "of the first candidate",
    "error_kind, error_message": "why there is no answer",
    "model, model_version": "asked; served",
    "response_id, service_tier, created": "as the endpoint says",
    "attempts": "HTTP requests",
    "started_at, finished_at": "first request; outcome",
    "latency_ms, first_byte_ms": "of the last attempt",
    "request_hash": "over everything that can change the answer",
    "labels": "of the job",
    "raw": "the reply's body",
}
"""Our columns of `data/`, in its order -> what they are."""


def card(manifest: Mapping[str, Any], columns: Iterable[str], totals: Totals | None, verdict: str | None) -> str:
    """Write the card of a run, as Markdown behind YAML front matter. It names no licence: that is the user's to state.

    Args:
        manifest: what run.json says.
        columns: names of all columns of `data/`.
        totals: of the run; None while it is under way.
        verdict: how it ended; None while it is under way.
    """
    there = list(columns)
    known = [(names, said) for names, said in COLUMNS.items() if names.split(", ")[0] in there]
    ours = {name for names, _ in known for name in names.split(", ")}
    users = ", ".join(_code(name) for name in there if name not in ours)
    lines = [_front(manifest["tasks"]), f"# {manifest['job']['name']}", "", "| | |", "|---|---|"]
    lines += [f"| {label} | {said} |" for label, said in _facts(manifest, totals, verdict)]
    lines += ["", "| column | meaning |", "|---|---|"]
    lines += [f"| {', '.join(map(_code, names.split(', ')))} | {said} |" for names, said in known]
    lines += [f"| {users} | of the input, as given |"] if users else []
    return "\n".join([*lines, "", _REST, ""])


_REST = (
    "Every HTTP request, billed or not, is a row of `attempts/`; `run.json` has the job, the inputs and the versions,"
    " `prices.json` the rates."
)


def _front(rows: int) -> str:
    size = next((name for most, name in _SIZES if rows < most), _LARGER)
    return f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
size_categories:
- {size}
tags:
- synthetic
---
"""


def _facts(manifest: Mapping[str, Any], totals: Totals | None, verdict: str | None) -> list[tuple[str, str]]:
    samples = manifest["samples"]
    each = f", {samples:,} answers each" if samples > 1 else ""
    facts = [
        ("model", _code(manifest["job"]["model"].removeprefix("models/"))),
        ("rows", f"{manifest['rows']:,}{each}"),
        ("input", ", ".join(_code(source["name"]) for source in manifest["inputs"]) or "none"),
        ("planned", manifest["created_at"]),
        ("made by", f"batcher {manifest['versions']['batcher']}, run {_code(manifest['run_id'])}"),
        ("state", _plain(verdict) if verdict else "under way; finished parts are in `data/`"),
    ]
    if totals is not None:
        tokens = totals.tokens
        facts.append(("tokens", f"{tokens.input:,} in, {tokens.output:,} out"))
        cost = f"{totals.cost_usd:f}"
        exact = cost.rstrip("0").rstrip(".") if "." in cost else cost
        facts.append(("cost", f"{'at least ' if totals.unpriced else ''}${exact or '0'}"))
    return facts


def _code(text: str) -> str:
    """A name as code, whatever is in it; a table cell must stay one."""
    return f"`{_plain(text).replace('`', chr(39))}`"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
