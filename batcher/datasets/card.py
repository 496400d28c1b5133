"""What does the run directory say of itself to someone who finds it? A dataset card: a README that `datasets` reads.

What others wrote (names, templates, a server's words) stands in code only, and in the front matter only where it cannot
be anything but a plain word: see `markdown.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import orjson
import pyarrow as pa

from batcher.datasets.licences import front_matter
from batcher.datasets.markdown import block, code
from batcher.money.totals import Totals
from batcher.records import Status

_SIZES = (  # in the hub's own words
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)
_LARGER = "100M<n<1B"
_LONGEST_TYPE = 80

COLUMNS: Mapping[str, str] = {
    "task": "number of the task: `ordinal` times the answers of a row, plus `sample`",
    "ordinal": "position of the row in the input, from 0",
    "sample": "which ask of the row, from 0",
    "id": "the input's own, else `row-<ordinal>`",
    "prompt": "what was asked, rendered",
    "status": "`ok`, `blocked`, `truncated`, `invalid` or `failed`",
    "response": "visible text of the first candidate",
    "parsed": "the answer as JSON, when it satisfies the run's schema",
    "schema_valid": "whether it does",
    "candidates": "all answers of the reply",
    "prompt_feedback": "what the endpoint held against the prompt",
    "usage_metadata": "tokens as the endpoint counted them, of the attempt that answered",
    "input_tokens": "billed, over all attempts",
    "output_tokens": "billed, over all attempts, thinking included",
    "cost_usd": "over all attempts; null: unknown price",
    "wasted_usd": "of which for answers nobody can use",
    "finish_reason": "of the first candidate",
    "error_kind": "why there is no answer",
    "error_message": "the same in words",
    "model": "asked",
    "model_version": "served",
    "response_id": "as the endpoint says",
    "service_tier": "as the endpoint says",
    "created": "as the endpoint says, seconds since the epoch",
    "attempts": "HTTP requests",
    "started_at": "first request",
    "latency_ms": "of the last attempt",
    "first_byte_ms": "of the last attempt",
    "finished_at": "when the outcome was known",
    "request_hash": "over everything that can change the answer",
    "labels": "of the job",
    "raw": "the reply's body",
    "response_images": "the pictures that the model made",
    "paid_by_run": "the run whose request brought the answer, where it was not this row's own: it costs 0 here",
    "paid_by_task": "of that run; with it, a key of its ledger",
}
"""Our columns of `data/` -> what they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a run came to.

    Attributes:
        verdict: how it ended.
        served: the model versions that answered; empty where nobody looked.
    """

    totals: Totals
    verdict: str
    served: tuple[str, ...] = ()


def card(manifest: Mapping[str, Any], schema: pa.Schema, ended: Ended | None, *, licence: str | None) -> str:
    """Write the card of a run, as Markdown behind YAML front matter.

    Args:
        manifest: what run.json says.
        schema: of `data/`.
        ended: None while it is under way.
        licence: as the user states it; there is no default.
    """
    lines = [
        *_front(manifest, licence),
        f"# {manifest['job']['name']}",
        "",
        _licence_line(licence),
        "",
        *_table(("", ""), [*_facts(manifest, ended)]),
        *(_outcomes(ended.totals) if ended is not None else ()),
        *_texts(manifest["job"]),
        *_sources(manifest),
        *_loading(),
        "## Columns",
        "",
        *_table(("column", "type", "meaning"), [*_columns(schema)]),
        _REST,
        "",
    ]
    return "\n".join(lines)


_REST = (
    "Every HTTP request, billed or not, is a row of `attempts/`; `run.json` has the job, the inputs and the versions,"
    " `prices.json` the rates."
)


def _front(manifest: Mapping[str, Any], licence: str | None) -> Iterator[str]:
    """The YAML: our own words, the job's name and the licence; the last two are plain ASCII without quotes."""
    yield "---"
    for name, value in front_matter(licence).items() if licence else ():
        yield f'{name}: "{value}"'
    yield f'pretty_name: "{manifest["job"]["name"]}"'
    yield "size_categories:"
    yield f"- {next((name for most, name in _SIZES if manifest['tasks'] < most), _LARGER)}"
    yield from ("tags:", "- synthetic", "configs:")
    for config, split in (("default", "data/train-*.parquet"), ("attempts", "attempts/attempts-*.parquet")):
        yield f"- config_name: {config}"
        yield from ("  default: true",) if config == "default" else ()
        yield from ("  data_files:", "  - split: train", f"    path: {split}")
    yield from ("---", "")


def _licence_line(licence: str | None) -> str:
    if licence:
        return f"Licence: {code(licence)}, as stated by whoever made this."
    return (
        "No licence is stated. Whoever publishes this states one: `[output] license` of the job, or `license` at the"
        " top of this file."
    )


def _facts(manifest: Mapping[str, Any], ended: Ended | None) -> Iterator[tuple[str, str]]:
    job, samples = manifest["job"], manifest["samples"]
    yield "model", code(job["model"].removeprefix("models/"))
    if ended is not None and ended.served:
        yield "answered by", ", ".join(map(code, ended.served))
    yield "rows", f"{manifest['rows']:,}{f', {samples:,} answers each' if samples > 1 else ''}"
    yield "settings", _settings({**job.get("generation", {}), **job.get("request", {})})
    yield "planned", manifest["created_at"]
    yield "made by", f"batcher {manifest['versions']['batcher']}, run {code(manifest['run_id'])}"
    yield "state", code(ended.verdict) if ended is not None else "under way; finished parts are in `data/`"
    if ended is not None:
        tokens = ended.totals.tokens
        yield "tokens", f"{tokens.input:,} in, {tokens.output:,} out"
        yield "cost", _cost(ended.totals)


def _settings(generation: Mapping[str, Any]) -> str:
    chosen = [(name, value) for name, value in generation.items() if value is not None and value is not False]
    said = [code(f"{name} = {_json(value)}") for name, value in chosen]
    return ", ".join(said) or "the endpoint's own"


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()


def _cost(totals: Totals) -> str:
    cost = f"{totals.cost_usd:f}"
    exact = cost.rstrip("0").rstrip(".") if "." in cost else cost
    return f"{'at least ' if totals.unpriced else ''}${exact or '0'}"


def _outcomes(totals: Totals) -> Iterator[str]:
    """How many rows ended how; `ok` always, so that the share of the others can be read."""
    counts = {status: totals.by_status.get(status, 0) for status in Status}
    rows = [
        (f"`{status}`", f"{count:,}", f"{100 * count / totals.done:.2f} %" if totals.done else "")
        for status, count in counts.items()
        if count or status is Status.OK
    ]
    yield from ("## Outcomes", "", *_table(("status", "rows", "share"), rows))


def _texts(job: Mapping[str, Any]) -> Iterator[str]:
    """What is too long for a table: what each row was asked with."""
    prompt, schema = job.get("prompt", {}), job.get("output", {}).get("schema")
    told = {
        "Template of the prompt": prompt.get("template"),
        "System instruction": prompt.get("system"),
        "Schema of the answers": schema and orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode(),
    }
    for title, text in told.items():
        if text:
            yield from (f"## {title}", "", block(text), "")


def _sources(manifest: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (code(_file(source["name"])), f"{source.get('size', 0):,}", code(source.get("sha256") or "not taken"))
        for source in manifest["inputs"]
    ]
    if rows:
        yield from ("## Input", "", *_table(("file", "bytes", "SHA-256"), rows))


def _file(name: str) -> str:
    """Give the name of a file without the folders of this machine, which are nobody's business."""
    path = PurePath(name)
    return path.name if path.is_absolute() else name


def _loading() -> tuple[str, ...]:
    return (
        "## How to load it",
        "",
        "PATH is this folder; for `datasets` also the name of a repository that it was pushed to.",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'rows = load_dataset("PATH", split="train")',
        'requests = load_dataset("PATH", "attempts", split="train")',
        "```",
        "",
        "```python",
        "import pandas as pd",
        "",
        'rows = pd.read_parquet("PATH/data")',
        "```",
        "",
        "```python",
        "import duckdb",
        "",
        "duckdb.sql(\"select status, count(*), sum(cost_usd) from 'PATH/data/*.parquet' group by all\").show()",
        "```",
        "",
    )


def _columns(schema: pa.Schema) -> Iterator[tuple[str, str, str]]:
    for field in schema:
        kind = code(_kind(field.type), longest=_LONGEST_TYPE)
        yield code(field.name), kind, COLUMNS.get(field.name, "of the input, as given")


def _kind(kind: pa.DataType) -> str:
    """Name a type; of a struct the fields are left to whoever opens the file."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{_kind(kind.value_type)}>"
    return "struct" if pa.types.is_struct(kind) else str(kind)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    for cells in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(cells)} |"
    yield ""
