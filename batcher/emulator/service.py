"""What does the service reply to one HTTP request, and what does it remember of it?

Everything but the sockets: time is passed in, what to do on the wire comes out. The door (`server.py`) reads, waits and
writes.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson

from batcher.emulator import refusals, replies
from batcher.emulator.exchange import Arrival, Ending, Reply, Told, refusing
from batcher.emulator.generation import Generation, Turn
from batcher.emulator.journal import PROMPT_CHARS, Journal, Received
from batcher.emulator.refusals import Refusal
from batcher.emulator.routes import Route, Verb, route
from batcher.emulator.schemas import BadSchema
from batcher.emulator.settings import Settings
from batcher.emulator.spelling import Asked, Unreadable, read_count, read_request
from batcher.emulator.streams import Form
from batcher.emulator.usage import of_request

_GENERATING = frozenset({Verb.GENERATE, Verb.FLAT, Verb.STREAM})
_LISTED_MODELS = (
    "gemini-2.0-flash",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.5-pro",
    "gemini-3-flash-preview",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """The key of a request, empty when none came, and whether it came as `Authorization: Bearer`."""

    text: str
    bearer: bool = False


class Service:
    """The model endpoint, without its sockets.

    Args:
        settings: how it behaves.
        began_s: the steady time that journal entries count from.
    """

    def __init__(self, settings: Settings, *, began_s: float = 0.0) -> None:
        self.settings = settings
        self._began_s = began_s
        self.reset()

    def reset(self) -> None:
        """Forget everything received: journal, totals, quotas and how often each prompt was seen."""
        self.journal = Journal(self.settings.journal_entries)
        self._generation = Generation(self.settings)
        self._number = 0
        self._generated = 0

    def reply(self, arrival: Arrival) -> Reply:
        """Decide one request. What it computes is billed now, whether or not the client lives to read it."""
        asked_for = route(arrival.method, arrival.target)
        key = _key(arrival.headers, asked_for)
        told = self._in_its_form(asked_for, self._told(arrival, asked_for, key))
        self._remember(arrival, asked_for, key, told)
        return told.reply

    def _told(self, arrival: Arrival, asked_for: Route, key: _Key) -> Told:
        refused = self._refused_at_the_gate(asked_for, key)
        if refused is not None:
            return Told(reply=refusing(refused))
        try:
            return self._served(arrival, asked_for, key)
        except Unreadable as unreadable:
            return Told(reply=refusing(unreadable.refusal))
        except BadSchema as bad:
            return Told(reply=refusing(refusals.bad_request(f"The specified schema is not valid: {bad}")))

    def _served(self, arrival: Arrival, asked_for: Route, key: _Key) -> Told:
        match asked_for.verb:
            case Verb.LIST_MODELS:
                cards = [replies.model_card(model) for model in self.settings.models or _LISTED_MODELS]
                return Told(reply=Reply(status=200, body=orjson.dumps({"models": cards})))
            case Verb.GET_MODEL:
                return Told(reply=Reply(status=200, body=orjson.dumps(replies.model_card(asked_for.model))))
            case Verb.COUNT:
                asked = read_count(arrival.body, strict=self.settings.strict)
                return Told(reply=Reply(status=200, body=replies.count(of_request(asked))), asked=asked)
            case _:
                return self._generate(arrival, asked_for, key)

    def _generate(self, arrival: Arrival, asked_for: Route, key: _Key) -> Told:
        self._generated += 1
        asked = read_request(arrival.body, strict=self.settings.strict, flat=asked_for.verb is Verb.FLAT)
        turn = Turn(
            number=self._generated,
            asked=asked,
            model=asked_for.model,
            project=self._project(key),
            now=arrival.now,
            form=self._form(asked_for, asked),
        )
        return self._generation.reply(turn)

    def _form(self, asked_for: Route, asked: Asked | None) -> Form | None:
        if asked_for.verb is not Verb.STREAM and not (asked and asked.stream):
            return None
        usual = Form.NDJSON if asked and asked.flat else Form.ARRAY
        return self.settings.streams or (Form.SSE if asked_for.alt == "sse" else usual)

    def _in_its_form(self, asked_for: Route, told: Told) -> Told:
        """A refusal where an array was asked for is an array of one, as Google's are."""
        reply = told.reply
        if reply.writes or not reply.body.startswith(b"{") or self._form(asked_for, told.asked) is not Form.ARRAY:
            return told
        return replace(told, reply=replace(reply, body=b"[" + reply.body + b"]"))

    def _refused_at_the_gate(self, asked_for: Route, key: _Key) -> Refusal | None:
        if asked_for.verb is Verb.UNKNOWN or (asked_for.verb is Verb.FLAT and self.settings.strict):
            return refusals.lost_page(asked_for.path)
        if not key.text:
            return refusals.no_key()
        if self.settings.keys and key.text not in self.settings.keys:
            return refusals.wrong_bearer() if key.bearer else refusals.wrong_key()
        if asked_for.model and not self._knows(asked_for.model):
            verb = asked_for.asked_verb or "generateContent"
            return refusals.unknown_model(asked_for.model, version=asked_for.version, verb=verb)
        return None

    def _knows(self, model: str) -> bool:
        known = self.settings.models
        return model.startswith("gemini-") if known is None else model in known

    def _project(self, key: _Key) -> str:
        return self.settings.projects.get(key.text) or f"project-{_hint(key.text)}"

    def _remember(self, arrival: Arrival, asked_for: Route, key: _Key, told: Told) -> None:
        self._number += 1
        whole = self.settings.keep_bodies
        asked, usage = told.asked, told.usage
        received = Received(
            number=self._number,
            at_s=arrival.now.steady_s - self._began_s,
            verb=asked_for.verb.value,
            path=asked_for.path,
            model=asked_for.model,
            project=self._project(key) if key.text else "",
            key_hint=_hint(key.text),
            body=asked.body if asked is not None and whole else None,
            prompt_text="" if asked is None else asked.prompt if whole else asked.prompt[:PROMPT_CHARS],
            http_status=None if told.reply.ending is Ending.DROP else told.reply.status,
            fault=told.fault,
            input_tokens=0 if usage is None else usage.billed_input,
            output_tokens=0 if usage is None else usage.billed_output,
            response_id=told.response_id,
        )
        self.journal.add(received, generates=asked_for.verb in _GENERATING)


def _key(headers: Mapping[str, str], asked_for: Route) -> _Key:
    text = headers.get("x-goog-api-key") or headers.get("x-api-key") or asked_for.query_key
    if text:
        return _Key(text=text)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return _Key(text=token.strip(), bearer=True) if scheme.lower() == "bearer" else _Key(text="")


@functools.lru_cache(maxsize=1024)
def _hint(key: str) -> str:
    # A hash, so that the journal can tell keys apart without ever holding one.
    return hashlib.sha256(key.encode()).hexdigest()[:8] if key else ""
