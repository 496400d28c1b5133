"""What does one request take, as far as anybody knows? What an earlier run taught, else a guess that says so."""

from __future__ import annotations

from dataclasses import replace

from batcher.engine.learnt import Lesson
from batcher.engine.outlook import Assumed, Span
from batcher.gemini.tokens import usual_output
from batcher.job.spec import Job

# Nothing is known of the endpoint yet: from the fastest answers that were seen anywhere to a slow evening.
_INPUT_GUESS = Span(0.75, 1.0, 1.25)  # as `TokenScale.UNTAUGHT`: what a character takes varies that much
_ENOUGH = 0.9
_FIRST_BYTE_S = (0.3, 2.0)
_TOKENS_A_SECOND = (250.0, 50.0)


def assume(job: Job, lesson: Lesson | None) -> Assumed:
    """Put together what a request of this job takes: learnt where a run has taught it, else a wide guess."""
    least, most = usual_output(job.model, job.generation.model_dump(exclude_none=True))
    guess = Assumed(
        input_scale=_INPUT_GUESS,
        input_from="a guess by script and digits, ± 25 %",
        output=Span(least, (least * most) ** 0.5, most),
        output_from=f"a guess: {least:,} to {most:,} tokens an answer; nothing seen yet",
        latency_s=_INPUT_GUESS,
        latency_from="",
    )
    if lesson is not None:
        guess = _taught(guess, lesson)
    if guess.latency_from:
        return guess
    return replace(guess, latency_s=_latency_s(guess.output), latency_from="a guess by their length")


def _taught(guess: Assumed, lesson: Lesson) -> Assumed:
    rows = f"learnt from {lesson.rows:,} row{'' if lesson.rows == 1 else 's'} of {lesson.run_dir}"
    trust = _trust(lesson)
    if lesson.input_scale is not None:
        of = "" if lesson.same_job else " (the same model, another job)"
        guess = replace(guess, input_scale=lesson.input_scale, input_from=f"{rows}{of}")
    if lesson.output is not None:
        few = "" if trust > _ENOUGH else ", which are few"
        guess = replace(guess, output=_blended(lesson.output, guess.output, trust), output_from=f"{rows}{few}")
    if lesson.latency_s is not None:
        guess = replace(guess, latency_s=lesson.latency_s, latency_from=rows)
    return guess


def _trust(lesson: Lesson) -> float:
    """How much the answers seen say about those to come, from 0 to 1.

    The first rows of a file are no random draw: jobs/hello begins with five sums whose answers are one token long, and
    goes on with letters. Ten rows count as much as the guess, a hundred a hundred times as much, and rows that are
    asked again stand for themselves.
    """
    return max(lesson.rows**2 / (lesson.rows**2 + 100), lesson.covered)


def _blended(seen: Span, guessed: Span, trust: float) -> Span:
    low, high = (
        learnt**trust * guess ** (1 - trust)
        for learnt, guess in ((max(seen.low, 0.1), guessed.low), (max(seen.high, 0.1), guessed.high))
    )
    return Span(min(low, seen.low), seen.likely, max(high, seen.high))


def _latency_s(output: Span) -> Span:
    fast, slow = zip(_FIRST_BYTE_S, _TOKENS_A_SECOND, strict=True)
    low, high = fast[0] + output.low / fast[1], slow[0] + output.high / slow[1]
    return Span(low, (low * high) ** 0.5, high)
