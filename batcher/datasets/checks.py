"""Can this export be done? Judged before anything is read or written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa

from batcher.datasets.chat import TAKEN_BY_TRL
from batcher.datasets.order import OPEN, Format, Order
from batcher.errors import UserError
from batcher.rows.shapes import nearest

ENDINGS: Mapping[Format, tuple[str, ...]] = {
    Format.TRL_SFT: (".parquet", ".jsonl"),
    Format.OPENAI_SFT: (".jsonl",),
    Format.GEMINI_TUNING: (".jsonl",),
    Format.SHAREGPT: (".jsonl",),
    Format.GEMINI_BATCH: (".jsonl",),
    Format.CSV: (".csv",),
}


def check_order(order: Order, *, schema: pa.Schema, forbidden: Collection[Path]) -> None:
    """Refuse what cannot be done.

    Args:
        order: what is wanted.
        schema: whose columns can be asked for.
        forbidden: folders that hold parts and nothing else.

    Raises:
        UserError: where, what was found, what was wanted.
    """
    _check_target(order, forbidden)
    if OPEN in order.statuses and order.to is not Format.GEMINI_BATCH:
        raise UserError(f"--status open: rows without an answer cannot be exported to {order.to}")
    for flag, names in (("--columns", order.columns), ("--where", tuple(order.where))):
        for name in names:
            if name not in schema.names:
                known = schema.names
                raise UserError(
                    f"{flag}: column {name!r} not found{nearest(name, known)}", hint=f"columns: {', '.join(known)}"
                )
    for name in order.where:
        kind = schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
            raise UserError(f"--where {name}: found a column of {kind}; wanted one of texts, numbers or booleans")
    if order.every_candidate and order.to in {Format.CSV, Format.GEMINI_BATCH}:
        raise UserError(f"--candidates all: wanted a format of conversations; found {order.to}")
    if order.columns and order.to not in {Format.CSV, Format.TRL_SFT}:
        raise UserError(f"--columns: {order.to} takes no other columns; its readers refuse or ignore them")
    if taken := TAKEN_BY_TRL.intersection(order.columns) if order.to is Format.TRL_SFT else frozenset():
        raise UserError(f"--columns: TRL would take {', '.join(sorted(taken))} for the example itself; messages has it")


def _check_target(order: Order, forbidden: Collection[Path]) -> None:
    target = order.target
    if target is None or (target.exists() and not target.is_file() and not target.is_dir()):
        return
    endings = ENDINGS[order.to]
    if not target.is_dir() and target.suffix.lower() not in endings:
        found = repr(target.suffix) if target.suffix else "no ending"
        raise UserError(f"-o {target}: {order.to} is written as {' or '.join(endings)}; found {found}")
    if any(target.resolve().is_relative_to(folder.resolve()) for folder in forbidden):
        raise UserError(
            f"-o {target}: this folder holds the run's own files and nothing else", hint="name a file elsewhere"
        )
