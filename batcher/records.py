"""What flows from a row to an outcome: the values every floor hands to the next.

All are frozen; what is made once a row or a request is a tuple, because a frozen dataclass costs three times as much.
Token counts are None when the endpoint did not say: null is not 0.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Status(enum.StrEnum):
    """What became of a task (design, section 2)."""

    OK = "ok"
    BLOCKED = "blocked"
    TRUNCATED = "truncated"
    INVALID = "invalid"
    FAILED = "failed"


class Billed(enum.StrEnum):
    """Whether the server charged for an attempt, as far as we can know."""

    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


class Kind(enum.StrEnum):
    """What a verdict tells the asking side to do (design, section 7)."""

    OK = "ok"
    BLOCKED = "blocked"
    INVALID = "invalid"  # an answer that is not what the job's schema asks for
    RETRY = "retry"
    THROTTLED = "throttled"
    PARKED = "parked"
    REFUSED = "refused"
    FATAL = "fatal"
    LOST = "lost"  # never judged: the process died between the send and the journal; made at recovery only


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a row cannot be asked; it becomes `error_kind` and `error_message` of a `failed` row.

    Attributes:
        kind: `bad_input`, `bad_template` or `too_large`.
        message: where and what, e.g. `prompts.jsonl:17: not JSON: unexpected end of data`.
    """

    kind: str
    message: str


class Row(NamedTuple):
    """One row of the user's input.

    Attributes:
        ordinal: position over all inputs, from 0.
        id: the user's id/key/custom_id as text; `row-<ordinal>` where there is none.
        values: column name -> Python value, for the columns that the prompt needs (JSONL: all of them).
        where: `file:line` or `file, row n`, for messages.
        problem: set when the row could not be read; `values` is then empty.
    """

    ordinal: int
    id: str
    values: Mapping[str, Any]
    where: str
    problem: Problem | None = None


class Request(NamedTuple):
    """One row made ready to send; every sample of the row sends the same.

    Attributes:
        body: the JSON bytes to post, in the endpoint's dialect.
        model: the model id without `models/`.
        prompt: the rendered prompt as text (the text parts of the last user turn where the row brought `contents`);
            None when there is none.
        request_hash: 16 bytes over everything that can change the answer (model and canonical body, not the dialect).
        estimated_tokens: likely input tokens, for pacing.
        input_bound: an upper bound of the billed input tokens (UTF-8 bytes of the text; a fixed amount for media).
        output_bound: an upper bound of the billed output tokens over all candidates.
    """

    body: bytes
    model: str
    prompt: str | None
    request_hash: bytes
    estimated_tokens: int
    input_bound: int
    output_bound: int


class Reply(NamedTuple):
    """What came back over HTTP, whole.

    Attributes:
        status: the HTTP status.
        headers: looked up by lower-case name.
        body: the decompressed body.
        first_byte_ms: from send to the first byte of the reply's head; of a stream, whose head may come long before
            its first word, to the first byte of its body.
        latency_ms: from send to the last byte of the body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    first_byte_ms: float = 0.0
    latency_ms: float = 0.0


class NoReplyKind(enum.StrEnum):
    """What went wrong below HTTP (`reference` section D of the fault table; made only in asking/transport)."""

    DNS = "dns"
    REFUSED = "connection_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS_HANDSHAKE = "tls_handshake"
    TLS_CERTIFICATE = "tls_certificate"
    FORBIDDEN_ADDRESS = "forbidden_address"  # the endpoint's name leads to where a key is never sent
    STALE = "stale_connection"  # a reused connection died with no byte of a reply: free to ask again once
    DISCONNECTED = "disconnected"  # reset or closed after the send
    READ_TIMEOUT = "read_timeout"  # no reply began in time
    DEADLINE = "deadline"  # the whole exchange took too long
    BODY_DEADLINE = "body_deadline"  # the body trickled
    CUT = "cut_body"  # the body ended early or its encoding was damaged
    TOO_LARGE = "too_large"  # more decompressed bytes than we accept
    BAD_HTTP = "bad_http"  # not HTTP as we know it


@dataclass(frozen=True, slots=True, kw_only=True)
class NoReply:
    """An exchange that gave no whole reply.

    Attributes:
        kind: what happened.
        sent: whether the request may have reached the server.
        first_byte: whether any byte of a reply came.
        detail: one scrubbed line for the ledger, never with the key.
        latency_ms: from the start of the exchange to its failure.
    """

    kind: NoReplyKind
    sent: bool
    first_byte: bool
    detail: str = ""
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """`usage_metadata` of one reply, as the endpoint gave it: None where it said nothing.

    The `*_details` map a modality (`TEXT`, `IMAGE`, `AUDIO`, `VIDEO`, `DOCUMENT`) to its tokens.
    """

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    total_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    thoughts_token_count: int | None = None
    prompt_tokens_details: Mapping[str, int] = field(default_factory=dict)
    candidates_tokens_details: Mapping[str, int] = field(default_factory=dict)
    cache_tokens_details: Mapping[str, int] = field(default_factory=dict)
    tool_use_prompt_tokens_details: Mapping[str, int] = field(default_factory=dict)
    service_tier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One answer of a reply.

    Attributes:
        text: the visible text parts joined; None when there is none.
        thoughts: the text of the parts marked `thought`, joined; None when there is none.
        parts: the parts as JSON text (snake_case as received is kept as is) when they are not just plain text, else
            None.
        safety_ratings: (category, probability, blocked) each.
        citation_sources: (start_index, end_index, uri, license) each.
        grounding_metadata: JSON text, None when absent.
    """

    index: int
    role: str | None = None
    text: str | None = None
    thoughts: str | None = None
    parts: str | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    token_count: int | None = None
    avg_logprobs: float | None = None
    safety_ratings: tuple[tuple[str | None, str | None, bool | None], ...] = ()
    citation_sources: tuple[tuple[int | None, int | None, str | None, str | None], ...] = ()
    grounding_metadata: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A reply's body, read: either spelling, every field optional.

    Attributes:
        error: the API's error object as a mapping when the body is one (also inside a 200 or a one-element array).
        created: the endpoint's own epoch stamp, seconds.
        web_searches: billable searches, where grounding says so.
    """

    candidates: tuple[Candidate, ...] = ()
    block_reason: str | None = None
    prompt_safety_ratings: tuple[tuple[str | None, str | None, bool | None], ...] = ()
    usage: Usage | None = None
    model_version: str | None = None
    response_id: str | None = None
    created: int | None = None
    web_searches: int | None = None
    error: Mapping[str, Any] | None = None


class Place(NamedTuple):
    """Who was asked, as the ledger names it: an origin, and the owner of its quotas there."""

    endpoint: str
    project: str


class Attempt(NamedTuple):
    """One HTTP request and what became of it: the facts of a ledger row, and the raw body.

    Attributes:
        n: 1 for the first request of the task.
        started_at: microseconds since the epoch, UTC.
        http_status: None when no reply came.
        waited_ms: time in the gate and in backoff before this request.
        service_tier: of the reply's header, None when it sent none.
        reserve_input, reserve_output: token bounds held while nobody knew.
        place: who was asked; None where the plan names the only one there is, and where nobody knows.
        body: the raw reply body; empty when there is none.
    """

    task: int
    n: int
    model: str
    started_at: int
    latency_ms: float | None
    first_byte_ms: float | None
    http_status: int | None
    verdict: Kind
    reason: str
    quota_id: str | None
    waited_ms: float
    billed: Billed
    service_tier: str | None
    reserve_input: int
    reserve_output: int
    place: Place | None = None
    body: bytes = b""


class Outcome(NamedTuple):
    """What became of one task.

    Attributes:
        answered: the attempt `n` whose body is the answer; 0 when none is.
        attempts: HTTP requests made for the task, throttled ones included.
        started_at, finished_at: microseconds since the epoch, UTC.
        error_message: scrubbed, at most 500 characters.
    """

    task: int
    status: Status
    answered: int
    attempts: int
    started_at: int
    finished_at: int
    error_kind: str | None = None
    error_message: str | None = None
