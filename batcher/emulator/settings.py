"""How shall the emulator behave? One frozen value."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

from batcher.emulator.faults import Faults
from batcher.emulator.quotas import Quota
from batcher.emulator.streams import Form

_NORMAL = NormalDist()


class Spelling(enum.StrEnum):
    """How replies are spelt: Google's camelCase, or the flat endpoints' snake_case with their shorter usage."""

    AUTO = "auto"  # as the request came: flat bodies get snake, nested ones camel
    CAMEL = "camel"
    SNAKE = "snake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long an answer takes, in seconds; refusals are immediate.

    Attributes:
        low_s: the shortest; with `sigma`, the median.
        high_s: the longest.
        sigma: 0 spreads evenly between the two; above 0 is the sigma of a lognormal around `low_s`, cut at `high_s`.
    """

    low_s: float = 0.0
    high_s: float = 0.0
    sigma: float = 0.0

    @classmethod
    def fixed(cls, seconds: float) -> Latency:
        """Always the same."""
        return cls(low_s=seconds, high_s=seconds)

    @classmethod
    def between(cls, low_s: float, high_s: float) -> Latency:
        """Evenly spread."""
        return cls(low_s=low_s, high_s=high_s)

    @classmethod
    def lognormal(cls, median_s: float, *, sigma: float, most_s: float) -> Latency:
        """A few take much longer, as with real models."""
        return cls(low_s=median_s, high_s=most_s, sigma=sigma)

    def seconds(self, chance: float) -> float:
        """The latency at `chance`, a number from 0 to 1."""
        if not self.sigma:
            return self.low_s + chance * (self.high_s - self.low_s)
        bounded = min(max(chance, 1e-9), 1 - 1e-9)  # inv_cdf knows no 0 and no 1
        return min(self.high_s, self.low_s * math.exp(self.sigma * _NORMAL.inv_cdf(bounded)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the emulator serves and how.

    Attributes:
        seed: of answers, faults and latencies.
        keys: the keys it accepts; empty accepts any key that is not empty.
        projects: key -> project; a key that is not named here is a project of its own.
        models: the ids it knows; None knows every `gemini-*`.
        streams: how streams are written; None goes by the request: `alt=sse` gets events, else a nested body gets an
            array and a flat one an object a line.
        strict: refuse unknown fields as Google does, the flat dialect and its verb-less path among them.
        quotas: the first that covers a (project, model) is its quota.
        journal_entries: how many requests the journal remembers; totals are exact for ever.
        keep_bodies: also remember every request whole (the canonical body and the full prompt).
        max_body_bytes: a longer request is refused.
    """

    seed: int = 0
    keys: tuple[str, ...] = ()
    projects: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] | None = None
    spelling: Spelling = Spelling.AUTO
    streams: Form | None = None
    strict: bool = False
    latency: Latency = Latency()
    quotas: tuple[Quota, ...] = ()
    faults: Faults = field(default_factory=Faults)
    journal_entries: int = 200_000
    keep_bodies: bool = False
    max_body_bytes: int = 104_857_600
