"""For how much does a request count in the budget: before it is sent, and once its reply is judged?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from batcher.engine.ways import models_of
from batcher.errors import JobError
from batcher.gemini.request import bare_model
from batcher.job.spec import Job
from batcher.money.ceiling import Ceiling
from batcher.money.cost import fusd
from batcher.money.prices import RateCard
from batcher.pacing.budget import Amount
from batcher.records import Billed, Request
from batcher.store.bills import Read

_TOOLS = b'"tools"'
# What the caller runs itself. All other tools run at the endpoint: they add tokens to the prompt that nobody can bound,
# and some are charged by the call.
_OUR_OWN = frozenset({"functiondeclarations", "computeruse"})
_NOTHING = Amount()


class Charges:
    """What requests of a job count for.

    Args:
        job: with a budget.
        card: the run's frozen rate card.
        from_us: when the first request of this session may be sent, microseconds since the epoch.

    Attributes:
        counts_money, counts_tokens: what has a cap.
        has_tool: whether every request has a tool without a bound.
    """

    def __init__(self, job: Job, card: RateCard, *, from_us: int) -> None:
        budget = job.budget
        self._ceiling = Ceiling(card, tier=job.request.service_tier, from_us=from_us)
        self.counts_money = budget.max_cost_usd is not None
        self.counts_tokens = budget.max_tokens is not None
        self._each_fusd = None if budget.max_cost_per_request_usd is None else fusd(budget.max_cost_per_request_usd)
        self._tool = server_side(job.request.tools or ())
        self._job = job
        self.has_tool = bool(self._tool)

    def reserve(self, request: Request) -> Amount:
        """The most that one attempt of a request takes, whichever model is asked in the end.

        Raises:
            JobError: nobody can tell.
        """
        tool = self._tool or _tool_in(request.body)
        most = _NOTHING
        for model in models_of(self._job, request.model):
            amount = self.bound(model, request.input_bound, request.output_bound, has_tool=bool(tool))
            if amount is None:
                raise _unbounded(model, tool, counts_tokens=self.counts_tokens and bool(tool))
            most = max(most, amount)  # the tokens are the same
        return most

    def bound(self, model: str, input_bound: int, output_bound: int, *, has_tool: bool = False) -> Amount | None:
        """The same by the bounds of its tokens; None when nobody can tell."""
        known = self._ceiling.fusd(model, input_bound, output_bound) if self.counts_money else 0
        if self.counts_money and (known is None or has_tool):
            if self._each_fusd is None:
                return None
            known = max(known or 0, self._each_fusd)
        if self.counts_tokens and has_tool:
            return None
        return Amount(known or 0, input_bound + output_bound if self.counts_tokens else 0)

    def billed(self, read: Read) -> Amount | None:
        """What a judged attempt was billed; None where that may be all of its reserve."""
        if read.attempt.billed is Billed.NO:
            return _NOTHING
        priced = read.priced
        if priced is None or priced.buckets is None or (self.counts_money and self._is_open(read)):
            return None
        tokens = priced.buckets.billed_input + priced.buckets.billed_output if self.counts_tokens else 0
        return Amount((priced.cost_fusd or 0) if self.counts_money else 0, tokens)

    def charged(self, read: Read) -> Amount:
        """What an attempt of an earlier session counts for."""
        found = self.billed(read)
        if found is not None:
            return found
        attempt = read.attempt
        known = self.bound(attempt.model, attempt.reserve_input, attempt.reserve_output, has_tool=self._used_tool(read))
        # An earlier session may have had no cap: what nobody can bound then is counted as far as it is known.
        return known or Amount(self._each_fusd or 0, attempt.reserve_input + attempt.reserve_output)

    def _is_open(self, read: Read) -> bool:
        """Whether more may have been charged than the tokens that were told."""
        return read.priced is None or read.priced.cost_fusd is None or self._used_tool(read)

    def _used_tool(self, read: Read) -> bool:
        return bool(self._tool or read.answer.web_searches or read.usage.tool_use_prompt_token_count)

    def check(self, request: Request, where: str) -> None:
        """Raise `JobError`, which names the row, where nobody can tell the most that a request takes."""
        try:
            self.reserve(request)
        except JobError as error:
            raise JobError(f"{where}: {error.message}", hint=error.hint) from None


def check_bounded(job: Job, card: RateCard, *, now_us: int) -> None:
    """Refuse a job with a cap that nobody can hold; rows may name a model or tools of their own, see `Charges.check`.

    Raises:
        JobError: the price of its model is unknown, or a tool has no bound.
    """
    if not job.budget.is_capped:
        return
    charges = Charges(job, card, from_us=now_us)
    tool = server_side(job.request.tools or ())
    if "model" in job.prompt.overrides and not tool:
        return
    for model in models_of(job, bare_model(job.model)):
        if charges.bound(model, 1, 1, has_tool=bool(tool)) is None:
            raise _unbounded(model, tool, counts_tokens=job.budget.max_tokens is not None and bool(tool))


def _unbounded(model: str, tool: str, *, counts_tokens: bool) -> JobError:
    """Say what keeps a cap from being held, and what to do."""
    if counts_tokens:
        return JobError(
            f"[budget] max_tokens: cannot be held, the tool {tool} adds tokens without a bound; wanted no such tool",
            hint="cap the money instead: --max-cost-usd, with --set budget.max_cost_per_request_usd=0.05",
        )
    what = f"what the tool {tool} costs has no bound" if tool else f"the price of {model} is unknown"
    return JobError(
        f"[budget] max_cost_usd: cannot be held, {what}; wanted the most that one request costs",
        hint="say it: --set budget.max_cost_per_request_usd=0.05",
    )


def server_side(tools: Iterable[Mapping[str, Any]]) -> str:
    """The first tool that runs at the endpoint, by its name; empty when there is none."""
    names = (name for tool in tools if isinstance(tool, Mapping) for name in tool)
    return next((name for name in names if name.replace("_", "").lower() not in _OUR_OWN), "")


def _tool_in(body: bytes) -> str:
    """The same of a request, which may bring tools of its own; text that speaks of tools has its quotes escaped."""
    if _TOOLS not in body:
        return ""
    tools = orjson.loads(body).get("tools")
    return server_side(tools) if isinstance(tools, list) else ""
