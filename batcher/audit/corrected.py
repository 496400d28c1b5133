"""What does the ledger say of attempts that were read again? Their rows and the corrections of them, made one.

`reparse` never rewrites a ledger: a row with role `correction` has what an attempt is read as now, and of its counts
and its cost the difference. It is no request. Its time, model and reserve are those of the attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batcher.audit.columns import COUNTS, DETAILS
from batcher.audit.wholefile import column

ASK, CORRECTION = "ask", "correction"
_OF_THE_REQUEST = ("http_status", "reserve_input_tokens", "reserve_output_tokens")
_SUMS = (*COUNTS, "cost_usd", "reserve_usd")


def requests(rows: pa.Table) -> pa.Table:
    """The rows that are requests."""
    return rows.filter(_asked(rows)).combine_chunks()


def settled(rows: pa.Table) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Count corrections in.

    Args:
        rows: of all generations of a block, the older first.

    Returns:
        One row for each request; those of them that were corrected; corrections of no request.
    """
    asked = _asked(rows)
    if pc.all(asked).as_py():
        return rows, rows.slice(0, 0), rows.slice(0, 0)
    corrections = rows.filter(pc.invert(asked)).to_pylist()
    firsts = _firsts(rows, asked, {_key(row) for row in corrections})
    found = {_key(row): row for row in rows.take(firsts).to_pylist()}
    astray = [row for row in corrections if _key(row) not in found]
    for row in corrections:
        if (old := found.get(_key(row))) is not None:
            found[_key(row)] = _net(old, row)
    again = pa.Table.from_pylist(list(found.values()), rows.schema)
    untouched = rows.filter(pc.and_(asked, pc.invert(pc.is_in(pa.array(range(rows.num_rows)), firsts))))
    return pa.concat_tables([untouched, again]), again, pa.Table.from_pylist(astray, rows.schema)


def _asked(rows: pa.Table) -> Any:
    return pc.fill_null(pc.not_equal(column(rows, "role"), CORRECTION), fill_value=True)


def _firsts(rows: pa.Table, asked: Any, wanted: set[tuple[int, int]]) -> pa.Array:
    """Where the requests are that are corrected; the second of a number stays what it is, and will be found."""
    names = (column(rows, name).to_pylist() for name in ("task", "attempt"))
    places: dict[tuple[int, int], int] = {}
    for at, (task, n, is_request) in enumerate(zip(*names, asked.to_pylist(), strict=True)):
        if is_request and (task, n) in wanted:
            places.setdefault((task, n), at)
    return pa.array(places.values(), pa.int64())


def _key(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["task"], row["attempt"]


def _net(old: Mapping[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """An attempt as it is read now."""
    net = {**by, "role": old["role"]} | {name: old[name] for name in _OF_THE_REQUEST}
    net |= {name: _sum(old[name], by[name]) for name in _SUMS}
    net |= {name: _details(old[name], by[name]) for name in DETAILS}
    if net["billed"] != "yes":
        net |= {"service_tier": None, "tier_source": None}
    # Differences take what nobody knows for nothing: what is left then is nothing again, and is unknown.
    if net["billed"] != "maybe" and not net["reserve_usd"]:
        net["reserve_usd"] = None
    if net["billed"] != "no" and net["price_id"] is None and not net["cost_usd"]:
        net["cost_usd"] = None
    return net


def _sum(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else one + other


def _details(one: Any, other: Any) -> Any:
    if one is None and other is None:
        return None
    tokens: dict[str, int] = {}
    for each in (*(one or ()), *(other or ())):
        tokens[each["modality"]] = tokens.get(each["modality"], 0) + (each["token_count"] or 0)
    return [{"modality": name, "token_count": count} for name, count in tokens.items() if count]
