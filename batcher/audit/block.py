"""Do a part and its ledger say the same, row by row and in their sums?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batcher.audit.billing import Tokens, bills_of, tokens_of
from batcher.audit.columns import COUNTS, DETAILS
from batcher.audit.corrected import requests, settled
from batcher.audit.findings import Findings
from batcher.audit.laws import Law, differ, judge
from batcher.audit.ledger import KEPT as LEDGER_KEPT
from batcher.audit.ledger import astray_law, ledger_laws, numbering_law, price_laws, role_laws, sums_by_task
from batcher.audit.manifest import Totals
from batcher.audit.rates import Rates
from batcher.audit.rows import KEPT as ROWS_KEPT
from batcher.audit.rows import PAID_BY, row_laws, siblings_law
from batcher.audit.wholefile import WholeFile, column, row_groups

_ANSWERED = ("ok", "blocked", "truncated")
_IN_A_GROUP = ["response", "candidates", "ordinal", "sample"]  # of no use to the block as a whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What all blocks of a run share."""

    samples: int
    tier: str | None
    rates: Rates | None


def read_ledger(whole: WholeFile, frame: Frame, findings: Findings) -> pa.Table | None:
    """Read one ledger file and hold its rows against their laws; None when not all of it could be read."""
    groups = []
    for _, group in row_groups(whole, list(LEDGER_KEPT), findings):
        judge(role_laws(group, whole.stamp), column(group, "task"), whole.path, findings)
        _judge_requests(requests(group), whole, frame, findings)
        groups.append(group)
    return _joined(groups, whole, LEDGER_KEPT) if whole.is_good else None


def _judge_requests(rows: pa.Table, whole: WholeFile, frame: Frame, findings: Findings) -> None:
    judge(ledger_laws(rows, whole.stamp, frame.samples, frame.tier), column(rows, "task"), whole.path, findings)
    if frame.rates is not None:
        bills = bills_of(rows, tokens_of(rows), frame.rates, tier=frame.tier)
        judge(price_laws(rows, bills), column(rows, "task"), whole.path, findings)


def read_part(whole: WholeFile, frame: Frame, findings: Findings) -> pa.Table | None:
    """Read a part and hold its rows against their laws; None when not all of it could be read."""
    groups = []
    lent = [PAID_BY] if PAID_BY in whole.schema.names else []
    for first, group in row_groups(whole, [*ROWS_KEPT, *lent], findings):
        laws = row_laws(group, whole.stamp.first_task + first, frame.samples)
        judge(laws, column(group, "task"), whole.path, findings)
        groups.append(group.drop_columns([*_IN_A_GROUP, *lent]))
    if not whole.is_good:
        return None
    rows = _joined(groups, whole, [name for name in ROWS_KEPT if name not in _IN_A_GROUP])
    judge(siblings_law(rows, frame.samples), column(rows, "task"), whole.path, findings)
    return rows


def compare(part: WholeFile, rows: pa.Table, ledger: pa.Table, frame: Frame, findings: Findings) -> Totals:
    """Hold a part against all generations of its ledger, one table; gives the sums as they come out of the rows."""
    tasks = column(rows, "task")
    ledger, again, astray = settled(ledger)
    judge(astray_law(astray), column(astray, "task"), part.path, findings)
    if again.num_rows:  # as they are read now, they are held against the same laws
        _judge_requests(again, part, frame, findings)
    if not ledger.num_rows:
        judge(_asked_laws(rows, None), tasks, part.path, findings)
        return _check_totals(part, rows, None, None, findings)
    ledger = ledger.sort_by([("task", "ascending"), ("attempt", "ascending")]).combine_chunks()
    judge(numbering_law(ledger), column(ledger, "task"), part.path, findings)
    tokens = tokens_of(ledger)
    judge(_asked_laws(rows, sums_by_task(ledger, tokens)), tasks, part.path, findings)
    judge(_answer_laws(rows, _last_attempts(ledger)), tasks, part.path, findings)
    return _check_totals(part, rows, ledger, tokens, findings)


def _asked_laws(rows: pa.Table, by_task: pa.Table | None) -> list[Law]:
    """What a row says of its attempts is what the ledger has of them."""
    laws = []
    cost_type = column(rows, "cost_usd").type
    for mine, theirs, kind in (
        ("attempts", "attempts", "ledger"),
        ("input_tokens", "input", "bill"),
        ("output_tokens", "output", "bill"),
        ("cost_usd", "cost", "bill"),
    ):
        said = column(rows, mine)
        said = said.cast(pa.int64()) if kind == "ledger" else said
        none = pa.scalar(Decimal(0), cost_type) if mine == "cost_usd" else pa.scalar(0, pa.int64())
        if by_task is None:
            summed = pa.repeat(none, rows.num_rows)
        else:
            place = pc.index_in(column(rows, "task"), value_set=column(by_task, "task"))
            summed = pc.if_else(pc.is_null(place), none, column(by_task, theirs).take(place))
        laws.append(
            Law(kind, "the sum of its rows in the ledger", differ(said, summed), {mine: said, "in the ledger": summed})
        )
    return laws


def _last_attempts(ledger: pa.Table) -> pa.Table:
    task = column(ledger, "task")
    after = pa.concat_arrays([task.slice(1), pa.array([None], pa.int64())])
    return ledger.filter(pc.fill_null(pc.not_equal(task, after), fill_value=True)).combine_chunks()


def _answer_laws(rows: pa.Table, last: pa.Table) -> list[Law]:
    """The answer of a row is its last attempt's: verdict, usage, and who answered."""
    place = pc.index_in(column(rows, "task"), value_set=column(last, "task"))
    there = last.take(place)
    status = column(rows, "status")
    answered = pc.and_(pc.is_in(status, value_set=pa.array(_ANSWERED)), pc.is_valid(place))
    usage = column(rows, "usage_metadata")
    has_usage = pc.and_(pc.is_valid(usage), pc.is_valid(place))
    verdict = column(there, "verdict")
    laws = [
        Law(
            "ledger",
            "a last attempt that was answered",
            pc.and_(answered, pc.invert(pc.is_in(verdict, value_set=pa.array(["ok", "blocked"])))),
            {"status": status, "verdict of the last attempt": verdict},
        ),
        Law(
            "bill",
            "usage only where there is an answer",
            pc.and_(pc.equal(status, "failed"), pc.is_valid(usage)),
            {"status": status, "usage_metadata": usage},
        ),
    ]
    for name in ("model_version", "response_id"):
        mine, theirs = column(rows, name), column(there, name)
        found = {name: mine, "in the ledger": theirs}
        laws.append(Law("ledger", "as its last attempt has it", pc.and_(answered, differ(mine, theirs)), found))
    for name in (*COUNTS, *DETAILS):
        mine, theirs = _of_usage(usage, name), column(there, name)
        unlike = differ(mine, theirs) if name in COUNTS else _lists_differ(mine, theirs, has_usage)
        wrong = pc.or_(pc.and_(has_usage, unlike), pc.and_(answered, _given_away(usage, theirs, name)))
        laws.append(Law("bill", "usage as its last attempt has it", wrong, {name: mine, "in the ledger": theirs}))
    return laws


def _given_away(usage: Any, theirs: Any, name: str) -> Any:
    """Whether a row has no usage though its last attempt has."""
    if name in DETAILS:
        return pa.scalar(value=False)
    return pc.and_(pc.is_null(usage), pc.is_valid(theirs))


def _of_usage(usage: Any, name: str) -> Any:
    """One field of the struct; null where the struct is."""
    return usage.flatten()[usage.type.get_field_index(name)]


def _lists_differ(mine: Any, theirs: Any, where: Any) -> Any:
    """Arrow compares no lists; nearly always all of them are equal, which it can tell."""
    if mine.filter(where).equals(theirs.filter(where)):
        return pa.repeat(pa.scalar(value=False), len(mine))
    pairs = zip(mine.to_pylist(), theirs.to_pylist(), strict=True)
    return pa.array([(left or []) != (right or []) for left, right in pairs], pa.bool_())


def _check_totals(
    part: WholeFile, rows: pa.Table, ledger: pa.Table | None, tokens: Tokens | None, findings: Findings
) -> Totals:
    summed = _totals(rows, ledger, tokens)
    for found, wanted in part.totals.differences(summed):
        findings.add("totals", part.path, f"its footer says {found}", f"the sum of its rows: {wanted}")
    return summed


def _totals(rows: pa.Table, ledger: pa.Table | None, tokens: Tokens | None) -> Totals:
    statuses = Counter(column(rows, "status").to_pylist())
    wasted = column(rows, "wasted_usd")
    known = None if wasted.null_count else pc.sum(wasted).as_py() or Decimal(0)
    if ledger is None or tokens is None:
        return Totals(
            by_status=dict(statuses), attempts=0, throttled=0, input=0, output=0, cached=0, thinking=0,
            cost_usd=Decimal(0), wasted_usd=known, unpriced=0, maybe_billed=0,
        )  # fmt: skip
    billed, cost = column(ledger, "billed"), column(ledger, "cost_usd")
    yes = pc.equal(billed, "yes")
    of = tokens.by_class
    return Totals(
        by_status=dict(statuses),
        attempts=ledger.num_rows,
        throttled=_count(pc.equal(column(ledger, "http_status"), 429)),
        input=_sum(tokens.billed_input, yes),
        output=_sum(tokens.billed_output, yes),
        cached=_sum(pc.add(of["cached_input"], of["audio_cached_input"]), yes),
        thinking=_sum(tokens.thinking, yes),
        cost_usd=pc.sum(cost).as_py() or Decimal(0),
        wasted_usd=known,
        unpriced=_count(pc.and_(yes, pc.is_null(cost))),
        maybe_billed=_count(pc.equal(billed, "maybe")),
    )


def _sum(values: Any, where: Any) -> int:
    total: int = pc.sum(values.filter(where)).as_py() or 0
    return total


def _count(mask: Any) -> int:
    total: int = pc.sum(mask).as_py() or 0
    return total


def _joined(groups: list[pa.Table], whole: WholeFile, columns: Sequence[str]) -> pa.Table:
    return pa.concat_tables(groups or [whole.schema.empty_table().select(list(columns))]).combine_chunks()
