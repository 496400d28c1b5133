"""What was lost of a run, what would asking again cost, and what was made of it? Values for whoever tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Restated:
    """What a new state begins with.

    Attributes:
        sealed: blocks that have their part.
        charged: requests that count as lost, one for each slot of `concurrency`.
        reserve_input, reserve_output: tokens that each of them may have cost at most.
        model: of them, where they all ask one; else empty.
    """

    sealed: int
    charged: int
    reserve_input: int
    reserve_output: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAgain:
    """What asking again would come to: told before anything is changed.

    Attributes:
        tasks: whose answers were paid for and cannot be read.
        parts: in which they were.
        cost_usd: what they had cost, as far as the ledger knows: about what they will cost again.
        unknown: of how many tasks the ledger does not know it.
        journal: whether the journal is damaged, and what it holds would be given up.
    """

    run_dir: str
    tasks: int = 0
    parts: int = 0
    cost_usd: Decimal = Decimal(0)
    unknown: int = 0
    journal: bool = False


Confirm = Callable[[AskedAgain], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was lost, and what was made of it.

    Attributes:
        state: what a new state began with, None where the old one was whole.
        charged_usd: what the requests that were out may have cost at most; None where no price is known.
        left: tasks without an answer, those asked again included: what the next run asks.
        again: what of them had been paid for.
        ledgers: ledger files that were written again from the parts.
        next_command: what goes on, empty where only the user knows.
    """

    run_dir: str
    state: Restated | None
    charged_usd: Decimal | None
    tasks: int
    left: int
    again: AskedAgain
    ledgers: int
    next_command: str
