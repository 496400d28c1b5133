"""What is one simulated world? A frozen value: written by hand, or drawn from a seed."""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

MINUTE_S = 60.0
NEVER_S = math.inf
NEW_YEAR_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


class Windows(enum.Enum):
    """How a server counts a minute."""

    SLIDING = "sliding"
    FIXED = "fixed"


class Out(enum.Enum):
    """What an origin that is out does to a request."""

    REFUSED = "refused"
    DNS = "dns"
    STORM = "503"
    TIMEOUT = "timeout"
    SILENCE = "silence"  # the connection opens, and no reply ever begins


class Hint(enum.Enum):
    """How a 429 says for how long."""

    EXACT = "exact"
    SECONDS = "seconds"  # Retry-After, rounded up
    DATE = "date"
    MILLISECONDS = "milliseconds"
    NONE = "none"
    DISAGREEING = "disagreeing"  # the details say less than the prose
    ABSURD = "absurd"
    NEGATIVE = "negative"
    PAST = "past"
    OPENAI = "openai"  # a body of another make, which names no quota
    PROXIED = "proxied"  # the upstream's body as a text inside the proxy's


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is allowed one lane; None where there is no limit."""

    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    requests_per_day: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """What the rows of one lane are like.

    Attributes:
        least, most: estimated tokens, uniform.
        ratio: true tokens for an estimated one.
        noise: each row's ratio is off by up to this share of it, uniform.
        drift: by how much the ratio has changed at the last row: the file goes over into another language.
    """

    least: int = 10
    most: int = 100
    ratio: float = 1.0
    noise: float = 0.0
    drift: float = 1.0

    @property
    def largest(self) -> int:
        """True tokens of the largest prompt there can be."""
        return math.ceil(self.most * self.ratio * (1 + self.noise) * max(1.0, self.drift))

    @property
    def mean(self) -> float:
        """True tokens of a prompt on average."""
        return (self.least + self.most) / 2 * self.ratio * (1 + self.drift) / 2

    @property
    def is_exact(self) -> bool:
        """Whether the estimates are the truth."""
        return self.ratio == self.drift == 1.0 and not self.noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One model under its quotas.

    Attributes:
        limits: of the server.
    """

    model: str = "m0"
    limits: Limits = Limits()
    prompts: Prompts = Prompts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long an answer takes: until its first token, and for each one; `outputs` are their least and most."""

    first_s: float = 0.5
    a_token_s: float = 0.005
    outputs: tuple[int, int] = (10, 400)

    @property
    def mean_s(self) -> float:
        return self.first_s + self.a_token_s * sum(self.outputs) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From `at_s` on, the server's limits of a minute are `share` of what they were in the beginning."""

    at_s: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Nothing is answered for so long."""

    from_s: float
    for_s: float
    how: Out

    def goes_on(self, at_s: float) -> bool:
        return self.from_s <= at_s < self.from_s + self.for_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """For so long, this share of the requests is answered with a 429 that names no quota."""

    from_s: float
    for_s: float
    share: float

    def goes_on(self, at_s: float) -> bool:
        return self.from_s <= at_s < self.from_s + self.for_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """Other clients: each minute so many requests of so many tokens, as evenly as they come; the day is ours."""

    per_minute: float
    tokens: int
    from_s: float
    until_s: float = NEVER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One world, whole. The seed decides what chance decides in it.

    Attributes:
        rows: of each lane; those of several lanes alternate.
        told: what the job says that the limits of each lane are.
        trouble: share of the requests that are answered with a 500 or 503, at random.
        travel_s: at most so long a request is on its way, uniform; one in fifty takes up to five times as long.
        commit_s: of the journal.
        hints: what the server's 429s are like, in turn.
    """

    seed: int = 0
    rows: int = 100
    lanes: tuple[Lane, ...] = (Lane(),)
    told: Limits = Limits()
    slots: int = 64
    windows: Windows = Windows.SLIDING
    latency: Latency = Latency()
    changes: tuple[Change, ...] = ()
    outages: tuple[Outage, ...] = ()
    crowds: tuple[Crowd, ...] = ()
    others: Others | None = None
    trouble: float = 0.0
    travel_s: float = 0.0
    commit_s: float = 0.0
    hints: tuple[Hint, ...] = (Hint.EXACT,)
    begins_us: int = NEW_YEAR_US

    @property
    def is_ours(self) -> bool:
        """Whether the job was told the truth, and nobody else takes of it: then the server has nothing to refuse."""
        return not self.others and not self.changes and all(lane.limits == self.told for lane in self.lanes)

    @property
    def travels_in_time(self) -> bool:
        """Whether no request is longer on its way than the gate allows for."""
        return self.travel_s * SLOW_TRAVEL <= 0.25

    def share_at(self, at_s: float) -> float:
        """Of the limits of the beginning, what holds now."""
        return next((change.share for change in reversed(self.changes) if change.at_s <= at_s), 1.0)


SLOW_TRAVEL = 5.0


class Truth(NamedTuple):
    """One row: what is thought of it, and what the server will find."""

    model: str
    estimate: int
    actual: int
    output: int


def truths(scenario: Scenario) -> list[Truth]:
    """All rows of a scenario, in order."""
    chance = random.Random(f"{scenario.seed} rows")
    return list(_truths(scenario, chance))


def _truths(scenario: Scenario, chance: random.Random) -> Iterator[Truth]:
    for number in range(scenario.rows):
        gone = number / max(1, scenario.rows - 1)
        for lane in scenario.lanes:
            prompts = lane.prompts
            estimate = chance.randint(prompts.least, prompts.most)
            ratio = (
                prompts.ratio * (1 + (prompts.drift - 1) * gone) * chance.uniform(1 - prompts.noise, 1 + prompts.noise)
            )
            yield Truth(
                lane.model, estimate, max(1, round(estimate * ratio)), chance.randint(*scenario.latency.outputs)
            )
