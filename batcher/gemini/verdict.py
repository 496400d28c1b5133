"""What is the judgement on one exchange? Why it ended as it did, what to do next, and who pays."""

from __future__ import annotations

from dataclasses import dataclass

from batcher.records import Billed, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement on a reply, or on none.

    Attributes:
        kind: what to do.
        reason: why, in one word for the ledger and for `error_kind`: `ok`, a finish or block reason as the API spells
            it (`MAX_TOKENS`, `SAFETY`), `http_503`, the kind of a `NoReply`, or one of the words of
            `gemini/refusal.py` and `gemini/throttle.py`.
        wait_s: seconds the server asks us to wait, or that the quota needs; a floor. None: nobody said, back off.
        quota: what ran out: `requests/min`, `input_tokens/min`, `requests/day`, `input_tokens/day`, `spend`, or None.
        quota_id: the server's own name of the quota.
        quota_value: its size, where the server says.
        also: the minute quotas that ran out beside it: `requests/min` or `input_tokens/min`, and the size if told.
        billed: whether the server charged for the exchange.
        counted: whether it uses up one of the attempts of a task.
        most: tries of one task that may end for this reason, the first included, before the row fails;
            None: as many as its attempts allow.
        message: the server's text in one line of at most 500 characters; not scrubbed of secrets.
    """

    kind: Kind
    reason: str
    billed: Billed
    wait_s: float | None = None
    quota: str | None = None
    quota_id: str | None = None
    quota_value: int | None = None
    also: tuple[tuple[str, int | None], ...] = ()
    counted: bool = True
    most: int | None = None
    message: str = ""
