"""What has it used and cost so far? Sums that add up: of a block, of a run, of what a process has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from batcher.records import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Billed tokens over all attempts; `cached` is a part of `input`, `thinking` a part of `output`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    thinking: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            input=self.input + other.input,
            output=self.output + other.output,
            cached=self.cached + other.cached,
            thinking=self.thinking + other.thinking,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What tasks have asked, got and paid.

    Attributes:
        by_status: tasks with an outcome.
        attempts: HTTP requests, throttled and lost ones included.
        throttled: of which answered 429.
        cost_usd: exact; of the attempts whose price is known.
        wasted_usd: of which for answers nobody can use (retried, superseded, failed).
        unpriced: billed attempts without a known price; `cost_usd` is then a lower bound.
        maybe_billed: attempts the server may have billed without our seeing an answer.
        spared: tasks whose answer another run or another row paid for; part of `by_status` and of nothing else.
    """

    by_status: Mapping[Status, int] = field(default_factory=dict)
    attempts: int = 0
    throttled: int = 0
    tokens: Tokens = Tokens()
    cost_usd: Decimal = Decimal(0)
    wasted_usd: Decimal = Decimal(0)
    unpriced: int = 0
    maybe_billed: int = 0
    spared: int = 0

    @property
    def done(self) -> int:
        """Tasks with an outcome."""
        return sum(self.by_status.values())

    def __add__(self, other: Totals) -> Totals:
        statuses = {status: self.by_status.get(status, 0) + other.by_status.get(status, 0) for status in Status}
        return Totals(
            by_status={status: count for status, count in statuses.items() if count},
            attempts=self.attempts + other.attempts,
            throttled=self.throttled + other.throttled,
            tokens=self.tokens + other.tokens,
            cost_usd=self.cost_usd + other.cost_usd,
            wasted_usd=self.wasted_usd + other.wasted_usd,
            unpriced=self.unpriced + other.unpriced,
            maybe_billed=self.maybe_billed + other.maybe_billed,
            spared=self.spared + other.spared,
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values for run.json and the journal; money as decimal strings."""
        return {
            "by_status": {status.value: count for status, count in self.by_status.items()},
            "attempts": self.attempts,
            "throttled": self.throttled,
            "tokens": {
                "input": self.tokens.input,
                "output": self.tokens.output,
                "cached": self.tokens.cached,
                "thinking": self.tokens.thinking,
            },
            "cost_usd": format(self.cost_usd, "f"),
            "wasted_usd": format(self.wasted_usd, "f"),
            "unpriced": self.unpriced,
            "maybe_billed": self.maybe_billed,
            "spared": self.spared,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Totals:
        """Read `as_json` back."""
        return cls(
            by_status={Status(name): count for name, count in found["by_status"].items()},
            attempts=found["attempts"],
            throttled=found["throttled"],
            tokens=Tokens(**found["tokens"]),
            cost_usd=Decimal(found["cost_usd"]),
            wasted_usd=Decimal(found["wasted_usd"]),
            unpriced=found["unpriced"],
            maybe_billed=found["maybe_billed"],
            spared=found.get("spared", 0),  # runs of earlier versions had none
        )
