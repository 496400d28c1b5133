"""What does `inspect` say? What the file is, the first request it would make, and what to type."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from batcher.engine.inspection import Inspection
from batcher.errors import Exit
from batcher.reports.terminal import entry

_MOST_COLUMNS = 40
_MOST_LINES = 40
_LONGEST = 400


def inspection_lines(found: Inspection, typed: Sequence[str]) -> list[str]:
    """Say it to a person.

    Args:
        found: what there is to say.
        typed: the files and flags that a run would repeat.
    """
    lines = [_verdict(found), ""]
    lines += [entry("file", f"{file.name} · {file.container} · {file.size_bytes:,} bytes") for file in found.files[:5]]
    if len(found.files) > 5:
        lines.append(entry("", f"and {len(found.files) - 5:,} more"))
    bad = f", {found.bad_rows} of them unreadable" if found.bad_rows else ""
    lines.append(entry("rows", f"the first {found.rows:,} looked at{bad}"))
    shown = [f"{name} ({kind})" for name, kind in found.columns[:_MOST_COLUMNS]]
    more = f" and {len(found.columns) - _MOST_COLUMNS:,} more" if len(found.columns) > _MOST_COLUMNS else ""
    lines.append(entry("columns", f"{', '.join(shown) or 'none'}{more}"))
    for label, key in (("id", found.id_key), ("asked", found.prompt_key), ("reference", found.reference_key)):
        lines += [entry(label, key)] if key else []
    if found.request is not None:
        lines += ["", f"first request, from {found.where}:", *_request_lines(found)]
    lines += ["", f"note: the first row cannot be asked: {found.problem}"] if found.problem else []
    lines += ["", *(f"note: {note}" for note in found.notes)] if found.notes else []
    if found.error is not None:
        lines += ["", *(f"error: {line}" for line in found.error.message.splitlines())]
    commands = next_commands(found, typed)
    return [*lines, "", *(entry("next" if not at else "or", command) for at, command in enumerate(commands))]


def inspection_json(found: Inspection, typed: Sequence[str]) -> dict[str, Any]:
    """Say the same as one JSON document."""
    return {
        "files": [
            {"name": file.name, "container": file.container, "size_bytes": file.size_bytes} for file in found.files
        ],
        "container": found.files[0].container if found.files else None,
        "shape": found.shape,
        "rows": found.rows,
        "bad_rows": found.bad_rows,
        "columns": [{"name": name, "type": kind} for name, kind in found.columns],
        "id": found.id_key,
        "prompt": found.prompt_key,
        "reference": found.reference_key,
        "request": found.request,
        "problem": found.problem or None,
        "notes": list(found.notes),
        "ambiguous": list(found.ambiguous),
        "error": None if found.error is None else {"message": found.error.message, "hint": found.error.hint},
        "next_commands": next_commands(found, typed),
        "exit_code": int(exit_code(found)),
    }


def exit_code(found: Inspection) -> Exit:
    """Say in a number whether the input can be run as it is."""
    return Exit.DONE if found.error is None else Exit.USAGE


def next_commands(found: Inspection, typed: Sequence[str]) -> list[str]:
    """Give what to type next: a run, one for each shape that the rows could have."""
    run = shlex.join(["batcher", "run", *typed])
    if found.ambiguous:
        return [f"{run} --shape {kind}" for kind in found.ambiguous]
    if found.error is not None:
        return [found.error.hint] if found.error.hint else []
    return [run]


def _verdict(found: Inspection) -> str:
    containers = ", ".join(dict.fromkeys(file.container for file in found.files))
    if found.shape is not None:
        return f"{found.shape}, {containers}"
    return f"{' or '.join(found.ambiguous) or 'no shape that is known'}, {containers}"


def _request_lines(found: Inspection) -> list[str]:
    """Write the request down to what fits a screen; texts are cut where they are long."""
    whole = json.dumps(_cut(found.request), indent=2, ensure_ascii=False).splitlines()
    shown = whole[:_MOST_LINES]
    return [f"  {line}" for line in shown] + (
        [f"  … {len(whole) - len(shown):,} more lines"] if whole[_MOST_LINES:] else []
    )


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:_LONGEST]}…(+{len(value) - _LONGEST:,} chars)"
    if isinstance(value, dict):
        return {key: _cut(inner) for key, inner in value.items()}
    return [_cut(inner) for inner in value] if isinstance(value, list) else value
