"""Does one more request fit into what may be spent? What is spent, what is held, and the cap over both.

All arithmetic is on whole femtodollars and whole tokens. What is spent and what is held together never exceed a cap
that `fits` was asked about, so the bill never does, as long as no request is billed more than was held for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from batcher.errors import RunStopped
from batcher.money.cost import usd

_WARNED_AT = (4, 5)


class Amount(NamedTuple):
    """Money and tokens: of a request, or of many.

    Attributes:
        fusd: femtodollars; 0 where money is not counted.
        tokens: billed, in and out.
    """

    fusd: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """A budget at one moment, for whoever shows it.

    Attributes:
        cap_usd, cap_tokens: None where there is no cap.
        spent_usd, spent_tokens: over all sessions; what may have been billed counts with the most that it can be.
        held_usd, held_tokens: for requests that are out or next to go out.
    """

    cap_usd: Decimal | None
    cap_tokens: int | None
    spent_usd: Decimal
    spent_tokens: int
    held_usd: Decimal
    held_tokens: int

    def as_json(self) -> dict[str, str | int | None]:
        """Plain values for run.json and status.json; money as decimal text."""
        return {
            "max_cost_usd": None if self.cap_usd is None else f"{self.cap_usd.normalize():f}",
            "spent_usd": f"{self.spent_usd:f}",
            "held_usd": f"{self.held_usd:f}",
            "max_tokens": self.cap_tokens,
            "spent_tokens": self.spent_tokens,
            "held_tokens": self.held_tokens,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Spending:
        """Read `as_json` back."""
        cap = found["max_cost_usd"]
        return cls(
            cap_usd=None if cap is None else Decimal(cap),
            cap_tokens=found["max_tokens"],
            spent_usd=Decimal(found["spent_usd"]),
            spent_tokens=found["spent_tokens"],
            held_usd=Decimal(found["held_usd"]),
            held_tokens=found["held_tokens"],
        )


class BudgetReached(RunStopped):
    """The next request does not fit into what is left, and nothing is out that could give some of it back.

    Args:
        setting: `max_cost_usd` or `max_tokens`.
        spending: when it was reached.
        wanted: what the next request may take.
        hint: as of every error.
    """

    def __init__(self, setting: str, spending: Spending, wanted: Amount, *, hint: str = "") -> None:
        super().__init__(_said(setting, spending, wanted), hint=hint)
        self.setting = setting
        self.spending = spending
        self.wanted = wanted


class Budget:
    """What may be spent, what is and what may yet be.

    Args:
        cap_fusd, cap_tokens: None where there is no cap.
        spent: by earlier sessions.
    """

    __slots__ = ("cap_fusd", "cap_tokens", "held", "spent")

    def __init__(self, *, cap_fusd: int | None, cap_tokens: int | None, spent: Amount = Amount()) -> None:  # noqa: B008  a value
        self.cap_fusd = cap_fusd
        self.cap_tokens = cap_tokens
        self.spent = spent
        self.held = Amount()

    def lacks(self, amount: Amount) -> str:
        """The setting that it does not fit under beside what is spent and held; empty when it fits."""
        if self.cap_fusd is not None and self.spent.fusd + self.held.fusd + amount.fusd > self.cap_fusd:
            return "max_cost_usd"
        if self.cap_tokens is not None and self.spent.tokens + self.held.tokens + amount.tokens > self.cap_tokens:
            return "max_tokens"
        return ""

    def hold(self, amount: Amount) -> bool:
        """Set something aside if it fits; False when it does not."""
        if self.lacks(amount):
            return False
        self.held = Amount(self.held.fusd + amount.fusd, self.held.tokens + amount.tokens)
        return True

    def settle(self, held: Amount, spent: Amount) -> None:
        """Put what was billed in the place of what was held for it."""
        assert held.fusd <= self.held.fusd, "more was given back than was held"
        assert held.tokens <= self.held.tokens, "more was given back than was held"
        self.held = Amount(self.held.fusd - held.fusd, self.held.tokens - held.tokens)
        self.spent = Amount(self.spent.fusd + spent.fusd, self.spent.tokens + spent.tokens)

    @property
    def nearly_spent(self) -> str:
        """The setting of which four fifths are spent; empty when of none."""
        fifths, of = _WARNED_AT
        if self.cap_fusd is not None and self.spent.fusd * of >= self.cap_fusd * fifths:
            return "max_cost_usd"
        if self.cap_tokens is not None and self.spent.tokens * of >= self.cap_tokens * fifths:
            return "max_tokens"
        return ""

    @property
    def spending(self) -> Spending:
        """As it is now."""
        return Spending(
            cap_usd=None if self.cap_fusd is None else usd(self.cap_fusd),
            cap_tokens=self.cap_tokens,
            spent_usd=usd(self.spent.fusd),
            spent_tokens=self.spent.tokens,
            held_usd=usd(self.held.fusd),
            held_tokens=self.held.tokens,
        )


def _said(setting: str, spending: Spending, wanted: Amount) -> str:
    if setting == "max_tokens":
        cap, spent, most = (
            f"{tokens:,}" for tokens in (spending.cap_tokens or 0, spending.spent_tokens, wanted.tokens)
        )
        return f"budget.max_tokens: {spent} of {cap} are used, and the next request may take {most}"
    cap, spent, most = (_dollars(amount) for amount in (spending.cap_usd, spending.spent_usd, usd(wanted.fusd)))
    return f"budget.max_cost_usd: {spent} of {cap} are spent, and the next request may cost {most}"


def _dollars(amount: Decimal | None) -> str:
    """Exact, without the zeros behind it: what is compared is shown as it is."""
    return f"${(amount or Decimal(0)).normalize():f}"
