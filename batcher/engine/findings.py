"""What of a run's parts and ledger is lost or damaged? Everything is read once; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from batcher.engine.plan import Plan
from batcher.rows.blocks import Block
from batcher.store.blocks import BlockRow, State, is_sealed
from batcher.store.history import Past, past_of
from batcher.store.parts import Footer
from batcher.store.salvage import Looked, footer_of, look_at, sound_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with one block.

    Attributes:
        row: of the journal.
        generation: of the part as it was sealed last.
        mend: whether the part has to be written again.
        lost: tasks whose answers are lost: they are to be asked again.
        ledgers: generations whose ledger file is to be written again.
        stale: files of a seal that never ended; the journal still has what they hold.
        cost_usd: what the lost answers had cost, as far as the ledger knows.
        unknown: of how many of them it does not.
    """

    block: Block
    row: BlockRow
    generation: int
    mend: bool
    lost: frozenset[int]
    ledgers: tuple[int, ...]
    stale: tuple[Path, ...] = ()
    cost_usd: Decimal = Decimal(0)
    unknown: int = 0


def adopted(plan: Plan, rows: Mapping[int, BlockRow]) -> dict[int, BlockRow]:
    """The blocks that the journal does not know and whose files are there all the same: they count as sealed."""
    found: dict[int, BlockRow] = {}
    published = ledgers_of(plan)
    for block in plan.index.blocks:
        if block.no in rows:
            continue
        part = _ours(plan, block, footer_of(plan.rundir.part(block.no, plan.blocks)))
        ledgers = [_ours(plan, block, footer_of(path)) for path in published.get(block.no, {}).values()]
        if footers := [footer for footer in (part, *ledgers) if footer is not None]:
            last = max(footers, key=lambda footer: footer.stamp.generation)
            found[block.no] = BlockRow(
                no=block.no,
                state=State.SEALED,
                generation=last.stamp.generation,
                digest=last.stamp.digest,
                totals=last.totals,
            )
    return found


def _ours(plan: Plan, block: Block, footer: Footer | None) -> Footer | None:
    ours = footer is not None and (footer.stamp.run_id, footer.stamp.block) == (plan.terms.run_id, block.no)
    return footer if ours else None


def ledgers_of(plan: Plan) -> dict[int, dict[int, Path]]:
    """Block -> generation -> its ledger file, whole or not."""
    found: dict[int, dict[int, Path]] = {}
    for path in plan.rundir.ledgers():
        _, no, generation = path.stem.split("-")
        found.setdefault(int(no), {})[int(generation[1:])] = path
    return found


def findings(plan: Plan, rows: Mapping[int, BlockRow], asked: Mapping[int, frozenset[int]]) -> Iterator[Finding]:
    """Look at every block that the journal knows; give those with which something is wrong.

    Args:
        plan: of the run.
        rows: the blocks, as the journal has them.
        asked: of reopened blocks, the tasks that are asked.
    """
    published = ledgers_of(plan)
    for block in plan.index.blocks:
        row = rows.get(block.no)
        if row is None:
            continue
        ledgers = published.get(block.no, {})
        never_sealed = row.totals is None and not is_sealed(row)
        found = (
            _unsealed(plan, block, row, ledgers)
            if never_sealed
            else _sealed(plan, block, row, ledgers, asked.get(block.no, frozenset()))
        )
        if found.mend or found.lost or found.ledgers or found.stale:
            yield found


def _unsealed(plan: Plan, block: Block, row: BlockRow, ledgers: Mapping[int, Path]) -> Finding:
    """A block whose rows are all in the journal still: what it may have in data/ is a seal that was cut short."""
    part = plan.rundir.part(block.no, plan.blocks)
    files = [path for path in (*ledgers.values(), part) if path.exists()]
    # A part whose ledger is gone would be taken for the end of a seal, and what it had cost be in no ledger.
    sound = all(_is_sound(path) for path in files) and (row.generation in ledgers or not part.exists())
    return Finding(
        block=block,
        row=row,
        generation=0,
        mend=False,
        lost=frozenset(),
        ledgers=(),
        stale=() if sound else tuple(files),
    )


def _sealed(plan: Plan, block: Block, row: BlockRow, ledgers: Mapping[int, Path], asked: frozenset[int]) -> Finding:
    part = plan.rundir.part(block.no, plan.blocks)
    first, tasks = block.first_ordinal * plan.job.samples, block.rows * plan.job.samples
    looked = look_at(part, run_id=plan.terms.run_id, block=block.no, first_task=first, tasks=tasks)
    generation = _generation(row, looked)
    broken = tuple(
        number for number in range(1, generation + 1) if number not in ledgers or not _is_sound(ledgers[number])
    )
    lost, mend = _lost(looked, generation, ledgers)
    if looked.whole and not mend:
        lost -= asked  # they are asked anyway
    # A ledger file above the part's generation belongs to a seal that the journal will do again.
    stale = tuple(path for number, path in ledgers.items() if number > generation and (mend or not _is_sound(path)))
    past = past_of([path for number, path in ledgers.items() if number <= generation], lost) if lost else {}
    return Finding(
        block=block,
        row=row,
        generation=generation,
        mend=mend,
        lost=lost,
        ledgers=broken,
        stale=stale,
        cost_usd=sum((one.used.cost_usd or Decimal(0) for one in past.values()), Decimal(0)),
        unknown=sum(1 for task in lost if (task not in past and broken) or (task in past and _unpriced(past[task]))),
    )


def _unpriced(past: Past) -> bool:
    return past.used.cost_usd is None


def _generation(row: BlockRow, looked: Looked) -> int:
    """Which generation the part is of, or was."""
    there = looked.footer.stamp.generation if looked.footer is not None else 0
    if is_sealed(row):
        return max(row.generation, there)
    return row.generation if there == row.generation else row.generation - 1


def _lost(looked: Looked, generation: int, ledgers: Mapping[int, Path]) -> tuple[frozenset[int], bool]:
    """The tasks without an answer, and whether the part must be written again for their sake.

    An older part stands where a newer one was published last: what the newer one had asked is lost.
    """
    there = looked.footer.stamp.generation if looked.footer is not None else generation
    later = [path for number, path in ledgers.items() if there < number <= generation]
    newer = {task for path in later for batch in sound_rows(path) for task in batch.column("task").to_pylist()}
    return looked.lost | newer, not looked.whole or there < generation


def _is_sound(path: Path) -> bool:
    footer = footer_of(path)
    return footer is not None and sum(batch.num_rows for batch in sound_rows(path)) == footer.rows
