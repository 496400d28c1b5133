"""Which world does a seed stand for? Every figure is drawn, the odd ones often enough."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from tests.sim.scenario import (
    NEVER_S,
    NEW_YEAR_US,
    Change,
    Crowd,
    Hint,
    Lane,
    Latency,
    Limits,
    Others,
    Out,
    Outage,
    Prompts,
    Scenario,
    Windows,
)

MOST_ROWS = 700
FEWEST_ROWS = 30
T = TypeVar("T")


def drawn(seed: int) -> Scenario:
    """The scenario of a seed: one seed, one schedule."""
    return _Draw(seed).scenario()


class _Draw:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._chance = random.Random(f"{seed} scenario")

    def scenario(self) -> Scenario:
        prompts = tuple(self._prompts() for _ in range(self._one_of((1, 1, 1, 1, 2, 3))))
        changes = self._shares() if self._is(0.25) else ()
        least = min((*changes, 1.0))
        eaten = least * self._chance.uniform(0.05, 0.6) if self._is(0.2) else 0.0
        fits = least - eaten  # a prompt that is larger than what is left would never be answered
        limits = self._limits(max(each.largest for each in prompts) / fits)
        lanes = tuple(Lane(model=f"m{number}", limits=limits, prompts=each) for number, each in enumerate(prompts))
        rows, span_s = self._size(lanes)
        if self._is(0.07):
            limits = replace(limits, requests_per_day=self._chance.randint(max(20, rows // 3), 2 * rows))
            lanes = tuple(replace(lane, limits=limits) for lane in lanes)
        return Scenario(
            seed=self._seed,
            rows=rows,
            lanes=lanes,
            told=self._told(limits),
            slots=self._one_of((1, 2, 4, 8, 16, 64, 64, 256)),
            windows=self._one_of((Windows.SLIDING, Windows.SLIDING, Windows.FIXED)),
            latency=self._latency(),
            changes=self._changes(changes, span_s),
            outages=self._outages(span_s) if self._is(0.35) else (),
            crowds=(self._crowd(span_s),) if self._is(0.2) else (),
            others=self._others(limits, eaten, span_s) if eaten else None,
            trouble=self._one_of((0.0, 0.0, 0.0, 0.01, 0.05)),
            travel_s=self._one_of((0.0, 0.02, 0.05, 0.05, 0.2)),
            commit_s=self._one_of((0.0, 0.002, 0.02)),
            hints=tuple(self._chance.sample(tuple(Hint), k=self._chance.randint(1, 4))),
            begins_us=NEW_YEAR_US + round(self._chance.uniform(0, 365 * 86_400)) * 1_000_000,
        )

    def _is(self, share: float) -> bool:
        return self._chance.random() < share

    def _one_of(self, choices: Sequence[T]) -> T:
        return self._chance.choice(choices)

    def _limits(self, largest: float) -> Limits:
        return Limits(
            requests_per_minute=self._one_of((5, 15, 60, 300, 600, 1500)) if self._is(0.6) else None,
            input_tokens_per_minute=math.ceil(largest * self._one_of((1.1, 1.3, 3, 10, 50, 300)))
            if self._is(0.5)
            else None,
        )

    def _told(self, limits: Limits) -> Limits:
        if self._is(0.6):
            return limits
        share = self._one_of((0.5, 0.9, 1.2, 2.0, 0.0))
        requests, tokens = limits.requests_per_minute, limits.input_tokens_per_minute
        return Limits(
            requests_per_minute=max(1, round(requests * share)) if requests and share else None,
            input_tokens_per_minute=max(1, round(tokens * share)) if tokens and share else None,
            requests_per_day=limits.requests_per_day,
        )

    def _prompts(self) -> Prompts:
        least = self._one_of((1, 10, 500))
        return Prompts(
            least=least,
            most=least * self._one_of((1, 5, 100, 2000) if least < 500 else (1, 5, 40)),
            ratio=self._one_of((1.0, 1.0, 0.4, 0.7, 1.5, 2.5)),
            noise=self._one_of((0.0, 0.0, 0.2, 0.5)),
            drift=self._one_of((1.0, 1.0, 1.0, 0.5, 3.0)),
        )

    def _latency(self) -> Latency:
        return Latency(
            first_s=self._one_of((0.05, 0.3, 1.0, 5.0)),
            a_token_s=self._one_of((0.0, 0.002, 0.01)),
            outputs=self._one_of(((1, 5), (10, 400), (10, 3000))),
        )

    def _size(self, lanes: Sequence[Lane]) -> tuple[int, float]:
        """Rows of each lane, and about how many seconds the slowest lane needs for them by its quotas."""
        minutes = self._chance.uniform(2, 8)
        slowest = min(_per_minute(lane) for lane in lanes)
        rows = max(FEWEST_ROWS, min(MOST_ROWS // len(lanes), round(slowest * minutes)))
        return rows, 60.0 * rows / min(slowest, 6_000.0)

    def _shares(self) -> tuple[float, ...]:
        return tuple(self._one_of((0.3, 0.5, 1.0, 1.5)) for _ in range(self._one_of((1, 2, 3))))

    def _changes(self, shares: Sequence[float], span_s: float) -> tuple[Change, ...]:
        at_s = sorted(self._chance.uniform(0, span_s) for _ in shares)
        return tuple(Change(at_s=at, share=share) for at, share in zip(at_s, shares, strict=True))

    def _outages(self, span_s: float) -> tuple[Outage, ...]:
        how_many = self._one_of((1, 1, 2))
        return tuple(
            Outage(
                from_s=self._chance.uniform(0, span_s),
                for_s=self._one_of((0.5, 5, 30, 120, 600)),
                how=self._one_of(tuple(Out)),
            )
            for _ in range(how_many)
        )

    def _crowd(self, span_s: float) -> Crowd:
        return Crowd(
            from_s=self._chance.uniform(0, span_s),
            for_s=self._one_of((5, 60, 600)),
            share=self._one_of((0.1, 0.5, 0.95)),
        )

    def _others(self, limits: Limits, share: float, span_s: float) -> Others:
        requests, tokens = limits.requests_per_minute or 100, limits.input_tokens_per_minute or 0
        from_s = self._chance.uniform(0, span_s)
        until_s = self._one_of((NEVER_S, from_s + self._chance.uniform(10, 200)))
        return Others(per_minute=requests * share, tokens=round(tokens / requests), from_s=from_s, until_s=until_s)


def _per_minute(lane: Lane) -> float:
    limits = lane.limits
    by_tokens = limits.input_tokens_per_minute and limits.input_tokens_per_minute / lane.prompts.mean
    return min(float(limits.requests_per_minute or 1e6), by_tokens or 1e6)
