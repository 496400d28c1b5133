"""What becomes of one request for content: refused by a quota, spoilt by a fault, or answered?"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import Any

import orjson

from batcher.emulator import chance, refusals, replies
from batcher.emulator.answers import answer, spoilt
from batcher.emulator.damage import damaged
from batcher.emulator.exchange import Reply, Told, refusing
from batcher.emulator.faults import DEFAULT_SLOW_S, Asking, Fault, FaultKind
from batcher.emulator.quotas import Instant, Lanes
from batcher.emulator.settings import Settings, Spelling
from batcher.emulator.spelling import Asked
from batcher.emulator.streams import Form, writes
from batcher.emulator.usage import Usage, of_request

_SEEN_AT_MOST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One request for content that could be read.

    Attributes:
        number: of arrival among such requests, from 1; those that could not be read are counted too.
        project: whose quotas it is on.
        form: how a stream is to be written; None where none was asked for.
    """

    number: int
    asked: Asked
    model: str
    project: str
    now: Instant
    form: Form | None = None


class Generation:
    """Answers turns; remembers what the quotas have given and how often each prompt was seen."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lanes = Lanes(settings.quotas)
        self._seen: dict[int, int] = {}

    def reply(self, turn: Turn) -> Told:
        """Decide one turn. A turn that a quota refuses leaves no trace: what it would have got, its repetition gets."""
        prompt_id = chance.draw(self._settings.seed, turn.model.encode(), turn.asked.text.encode())
        seen = self._seen.get(prompt_id, 0)
        drawn = chance.draw(prompt_id, seen.to_bytes(8, "big"))
        fault = self._settings.faults.pick(
            Asking(number=turn.number, prompt=turn.asked.text, seen=seen, chance=chance.share(drawn))
        )
        usage = of_request(turn.asked)
        if fault is None or fault.counted:
            violations = self._lanes.admit(turn.project, turn.model, tokens=usage.prompt, now=turn.now)
            if violations:
                refusal = refusals.quota_exceeded(violations, model=turn.model)
                return Told(reply=refusing(refusal), fault="quota", asked=turn.asked)
        self._count_seen(prompt_id)
        if fault is not None and not fault.answered:
            return _refused(turn, fault)
        return self._answered(turn, fault, usage, drawn)

    def _count_seen(self, prompt_id: int) -> None:
        # Only faults need it. Bounded: the prompt seen longest ago is forgotten first.
        if not self._settings.faults:
            return
        self._seen[prompt_id] = self._seen.pop(prompt_id, 0) + 1
        if len(self._seen) > _SEEN_AT_MOST:
            del self._seen[next(iter(self._seen))]

    def _answered(self, turn: Turn, fault: Fault | None, usage: Usage, drawn: int) -> Told:
        snake = self._in_snake(turn.asked)
        found = answer(turn.asked, model=turn.model, seed=self._settings.seed, thinks=not snake, request_usage=usage)
        if fault is not None:
            found = spoilt(found, fault.kind)
        response_id = _response_id(drawn, turn.number)
        created_s = int(turn.now.epoch_s)
        body = replies.flat(found, created_s=created_s) if snake else replies.google(found, response_id=response_id)
        reply = Reply(
            status=200,
            body=b"" if turn.form else orjson.dumps(body),
            service_tier=usage.service_tier,
            delay_s=self._delay_s(fault, drawn),
        )
        if turn.form is not None:
            reply = _streamed(reply, body, turn.form, fault)
        if fault is not None:
            reply = damaged(reply, fault)
        kind = None if fault is None else fault.kind.value
        return Told(reply=reply, fault=kind, asked=turn.asked, usage=found.usage, response_id=response_id)

    def _in_snake(self, asked: Asked) -> bool:
        spelling = self._settings.spelling
        return asked.flat if spelling is Spelling.AUTO else spelling is Spelling.SNAKE

    def _delay_s(self, fault: Fault | None, drawn: int) -> float:
        usual_s = self._settings.latency.seconds(chance.second_share(drawn))
        if fault is None or fault.kind is not FaultKind.SLOW:
            return usual_s
        return usual_s + (DEFAULT_SLOW_S if fault.seconds is None else fault.seconds)


def _streamed(reply: Reply, body: dict[str, Any], form: Form, fault: Fault | None) -> Reply:
    """The reply as a stream; the time that the whole would have taken is spread over its writes."""
    pieces = writes(body, form, fault)
    every_s = reply.delay_s / max(1, len(pieces))
    return replace(
        reply, body=b"".join(pieces), writes=pieces, content_type=form.content_type, delay_s=every_s, every_s=every_s
    )


def _refused(turn: Turn, fault: Fault) -> Told:
    refusal = fault.refusal(turn.model)
    reply = refusing(refusal) if refusal is not None else damaged(Reply(status=200, body=b""), fault)
    return Told(reply=reply, fault=fault.kind.value, asked=turn.asked)


def _response_id(drawn: int, number: int) -> str:
    """Unlike any other of this emulator."""
    return base64.urlsafe_b64encode(drawn.to_bytes(8, "big") + number.to_bytes(8, "big")).decode().rstrip("=")
