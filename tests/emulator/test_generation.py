from __future__ import annotations

import random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator.exchange import Ending, Told
from batcher.emulator.faults import Fault, FaultKind, Faults, Rule, Share
from batcher.emulator.generation import Generation, Turn
from batcher.emulator.quotas import Quota
from batcher.emulator.settings import Latency, Settings, Spelling
from tests.emulator.builders import MODEL, at, flat, nested, read


def turn(text: str = "Tell me about whales", *, number: int = 1, steady_s: float = 0.0, project: str = "p") -> Turn:
    return Turn(number=number, asked=read(nested(text)), model=MODEL, project=project, now=at(steady_s))


def faulty(*kinds: FaultKind) -> Faults:
    return Faults(script=tuple(Rule(fault=Fault(kind=kind)) for kind in kinds))


MIXED = Faults(
    shares=(
        Share(fault=Fault(kind=FaultKind.EXHAUSTED), share=0.1),
        Share(fault=Fault(kind=FaultKind.UNAVAILABLE), share=0.1),
        Share(fault=Fault(kind=FaultKind.SAFETY), share=0.1),
    )
)


def fates(prompts: list[str], seed: int = 3) -> dict[tuple[str, int], str | None]:
    """What each prompt met, the n-th time it came."""
    generation, met, times = Generation(Settings(seed=seed, faults=MIXED)), {}, dict.fromkeys(prompts, 0)
    for number, prompt in enumerate(prompts, 1):
        met[prompt, times[prompt]] = generation.reply(turn(prompt, number=number)).fault
        times[prompt] += 1
    return met


@given(st.lists(st.sampled_from([f"prompt {n}" for n in range(12)]), max_size=40), st.randoms(use_true_random=False))
def test_which_request_meets_which_fault_does_not_depend_on_the_order(
    prompts: list[str], chance: random.Random
) -> None:
    shuffled = list(prompts)
    chance.shuffle(shuffled)
    assert fates(prompts) == fates(shuffled)


def test_faults_come_by_their_shares() -> None:
    met = list(fates([f"prompt {n}" for n in range(2000)]).values())
    for kind in ("429", "503", "safety"):
        assert 150 < met.count(kind) < 250


def test_another_seed_meets_other_faults() -> None:
    prompts = [f"prompt {n}" for n in range(200)]
    assert fates(prompts, seed=1) != fates(prompts, seed=2)


def test_a_repeated_prompt_meets_other_faults_in_time() -> None:
    assert len(set(fates(["the same"] * 60).values())) > 1


def test_a_turn_that_a_quota_refused_leaves_no_trace() -> None:
    settings = Settings(
        quotas=(Quota(requests_per_minute=1),),
        faults=Faults(script=(Rule(fault=Fault(kind=FaultKind.SAFETY), first=1),)),
    )
    generation = Generation(settings)
    fates = [
        generation.reply(turn(text, steady_s=second)).fault
        for text, second in (("a", 0), ("b", 1), ("b", 2), ("b", 60))
    ]
    assert fates == ["safety", "quota", "quota", "safety"]


def test_a_quota_refuses_with_the_wait_that_helps() -> None:
    generation = Generation(Settings(quotas=(Quota(requests_per_minute=1),)))
    generation.reply(turn(steady_s=0))
    refused = generation.reply(turn(steady_s=18))
    assert refused.reply.status == 429
    assert orjson.loads(refused.reply.body)["error"]["details"][-1]["retryDelay"] == "42s"
    assert generation.reply(turn(steady_s=60)).reply.status == 200


def test_input_tokens_count_as_the_usage_tells_them() -> None:
    generation = Generation(Settings(quotas=(Quota(input_tokens_per_minute=10),)))
    told = generation.reply(turn("x" * 36))
    assert told.usage is not None
    assert told.usage.prompt == 9
    assert generation.reply(turn("y" * 8)).reply.status == 429
    assert generation.reply(turn("y" * 4)).reply.status == 200


@pytest.mark.parametrize(
    ("kind", "admitted"), [(FaultKind.UNAVAILABLE, 429), (FaultKind.EXHAUSTED, 200), (FaultKind.BAD_REQUEST, 200)]
)
def test_server_errors_use_the_quota_up_and_refusals_do_not(kind: FaultKind, admitted: int) -> None:
    faults = Faults(script=(Rule(fault=Fault(kind=kind), contains="bad"),))
    generation = Generation(Settings(quotas=(Quota(requests_per_minute=1),), faults=faults))
    generation.reply(turn("bad"))
    assert generation.reply(turn("good")).reply.status == admitted


def test_each_project_has_its_own_quota() -> None:
    generation = Generation(Settings(quotas=(Quota(requests_per_minute=1),)))
    assert [generation.reply(turn(project=each)).reply.status for each in ("a", "b", "a")] == [200, 200, 429]


@pytest.mark.parametrize("kind", list(FaultKind))
def test_what_was_computed_is_billed_and_nothing_else_is(kind: FaultKind) -> None:
    told = Generation(Settings(faults=faulty(kind))).reply(turn())
    assert told.fault == kind.value
    assert (told.usage is not None) is Fault(kind=kind).answered
    assert (told.response_id is not None) is Fault(kind=kind).answered


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        (FaultKind.DROP, Ending.DROP),
        (FaultKind.DROP_PAID, Ending.DROP),
        (FaultKind.CUT, Ending.CUT),
        (FaultKind.CUT_CLEAN, Ending.CUT_CLEAN),
        (FaultKind.SAFETY, Ending.WHOLE),
        (FaultKind.UNAVAILABLE, Ending.WHOLE),
    ],
)
def test_some_faults_end_the_connection(kind: FaultKind, ending: Ending) -> None:
    assert Generation(Settings(faults=faulty(kind))).reply(turn()).reply.ending is ending


def test_latency_belongs_to_the_prompt_and_slow_adds_to_it() -> None:
    latency = Latency.between(1, 2)
    usual = Generation(Settings(latency=latency)).reply(turn()).reply.delay_s
    assert 1 <= usual <= 2
    assert Generation(Settings(latency=latency)).reply(turn(number=9)).reply.delay_s == usual
    slow = Faults(script=(Rule(fault=Fault(kind=FaultKind.SLOW, seconds=10)),))
    assert Generation(Settings(latency=latency, faults=slow)).reply(turn()).reply.delay_s == usual + 10
    assert Generation(Settings(faults=faulty(FaultKind.SLOW))).reply(turn()).reply.delay_s == 5
    delays = {Generation(Settings(latency=latency)).reply(turn(str(n))).reply.delay_s for n in range(50)}
    assert max(delays) - min(delays) > 0.7


def test_refusals_are_immediate() -> None:
    settings = Settings(latency=Latency.fixed(3), faults=faulty(FaultKind.UNAVAILABLE))
    assert Generation(settings).reply(turn()).reply.delay_s == 0


def spelt(told: Told) -> str:
    return "snake" if "usage_metadata" in orjson.loads(told.reply.body) else "camel"


@pytest.mark.parametrize(
    ("spelling", "for_nested", "for_flat"),
    [(Spelling.AUTO, "camel", "snake"), (Spelling.CAMEL, "camel", "camel"), (Spelling.SNAKE, "snake", "snake")],
)
def test_replies_are_spelt_as_set(spelling: Spelling, for_nested: str, for_flat: str) -> None:
    generation = Generation(Settings(spelling=spelling))
    now = at()
    asked_flat = Turn(number=1, asked=read(flat()), model=MODEL, project="p", now=now)
    assert spelt(generation.reply(turn())) == for_nested
    assert spelt(generation.reply(asked_flat)) == for_flat


def test_thoughts_are_billed_only_where_the_reply_tells_them() -> None:
    camel, snake = (
        Generation(Settings(spelling=each)).reply(turn()).usage for each in (Spelling.CAMEL, Spelling.SNAKE)
    )
    assert camel is not None
    assert snake is not None
    assert camel.thoughts > 0 == snake.thoughts
    assert camel.candidates == snake.candidates


def test_every_answer_has_an_id_of_its_own() -> None:
    generation = Generation(Settings())
    assert len({generation.reply(turn("same", number=n)).response_id for n in range(1, 101)}) == 100


def test_how_often_a_prompt_was_seen_is_only_remembered_for_faults() -> None:
    quiet, faulted = Generation(Settings()), Generation(Settings(faults=MIXED))
    for generation in (quiet, faulted):
        generation.reply(turn())
    assert (len(quiet._seen), len(faulted._seen)) == (0, 1)
