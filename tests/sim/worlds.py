"""Worlds written by hand: a job under one quota, that has enough rows for so many minutes of it."""

from __future__ import annotations

from tests.sim.scenario import Lane, Latency, Limits, Prompts, Scenario

THOUSANDTH = 0.001
LARGEST_SHARE = 0.005
SHARE = 0.985
LOST = 0.015


def steady(
    *,
    requests: int | None = None,
    tokens: int | None = None,
    prompts: Prompts = Prompts(),  # noqa: B008  frozen
    minutes: float,
    slots: int = 64,
    seed: int = 1,
) -> Scenario:
    """Nothing happens but travel, commits and latency, and the job was told the truth. 64 slots are the default."""
    limits = Limits(requests_per_minute=requests, input_tokens_per_minute=tokens)
    by_tokens = tokens / prompts.mean if tokens else float("inf")
    per_minute = min(requests or float("inf"), by_tokens)
    return Scenario(
        seed=seed,
        rows=round(per_minute * (minutes + 0.5)) + 20,
        lanes=(Lane(limits=limits, prompts=prompts),),
        told=limits,
        slots=slots,
        latency=Latency(first_s=1.0, a_token_s=0.005, outputs=(10, 400)),
        travel_s=0.05,
        commit_s=0.002,
    )


def floor(limit: int, largest: int) -> float:
    """What share of a quota a limited job uses at least, by its largest request (the design's fifth promise)."""
    return SHARE if largest <= LARGEST_SHARE * limit else (limit - largest) / limit - LOST
