"""How many slots of an origin may be used? Fewer after failures; none while it is out, but for a probe now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from batcher.errors import RunStopped
from batcher.pacing.breaker import IN_A_ROW, PROBE_AFTER_S, Breaker, restart_size
from batcher.pacing.history import History
from batcher.pacing.permit import CONCURRENCY, Permit
from batcher.pacing.slots import Slots
from batcher.pacing.width import Width

_OFFERED_S = 0.01
_FAILURES_A_SLOT = 6
"""Four rows are open for each slot, and two failures of each are believed: not all eight may be waited for, or the
unluckiest row has used up its attempts by then (simulated: with two slots, one outage of ten lost a row)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How an outage is sat out.

    Attributes:
        max_outage_s: one that lasts longer ends the run.
        unserved_s: so does one of an origin that has never answered: it may be a slip of the pen.
        probe_after_s: as `Breaker` has it.
    """

    max_outage_s: float = 21_600.0
    unserved_s: float = 21_600.0
    probe_after_s: float = PROBE_AFTER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One that goes on.

    Attributes:
        since_us: when its first failure was seen, microseconds since the epoch.
        probe_in_s: until the next probe; None while one is out.
        said: what was seen last, scrubbed: `http_503: overloaded`.
    """

    since_us: int
    probe_in_s: float | None
    said: str


class OutageTooLong(RunStopped):
    """The endpoint has not come back in time.

    Args:
        since_us: microseconds since the epoch.
        lasted_s: since then.
        said: what was seen last.
    """

    def __init__(self, since_us: int, lasted_s: float, said: str) -> None:
        since = datetime.fromtimestamp(since_us // 1_000_000, UTC)
        super().__init__(
            f"the endpoint is out since {since:%Y-%m-%d %H:%M} UTC, for {_span(lasted_s)} now; seen last: {said}",
            hint="type the same command again once it answers; retry.max_outage_s is how long a run waits for that",
        )
        self.since_us = since_us


class Origin:
    """One origin as the gate sees it: its slots, and whether they may be used.

    Args:
        slots: its own, so many as `width` has; what they are resized to is decided here.
        credit: for open tasks; a probe that is a new row may have one more.
        width: how many may be in flight while it is not out.
        history: told of every cut.
        now: the loop's monotonic seconds.
        wall_us: microseconds since the epoch.
        chance: uniform in [0, 1).
        patience: how an outage is sat out.

    Attributes:
        breaker: told of every reply; see there for who counts the good ones.
        on_too_long: told when an outage lasts too long.
        said: what the failures say; whoever reports the one that opened it, or a probe's, sets it.
    """

    def __init__(  # noqa: PLR0913  the world, each part handed in
        self,
        slots: Slots,
        credit: Slots,
        *,
        width: Width,
        history: History,
        now: Callable[[], float],
        wall_us: Callable[[], int],
        chance: Callable[[], float],
        patience: Patience,
    ) -> None:
        in_a_row = min(IN_A_ROW, _FAILURES_A_SLOT * width.most)
        self.breaker = Breaker(chance, in_a_row=in_a_row, probe_after_s=patience.probe_after_s)
        self.on_too_long: Callable[[OutageTooLong], None] = _nobody_minds
        self.said = ""
        self._slots = slots
        self._credit = credit
        self._width = width
        self._history = history
        self._now = now
        self._wall_us = wall_us
        self._patience = patience
        self._since_us = 0
        self._timer: asyncio.TimerHandle | None = None  # of the next probe, or of the end
        self._count()

    @property
    def outage(self) -> Outage | None:
        """The one that goes on; None while the origin is asked as usual."""
        if self.breaker.is_closed:
            return None
        next_s = self.breaker.next_probe_s
        probe_in_s = None if next_s is None else max(0.0, next_s - self._now())
        return Outage(since_us=self._since_us, probe_in_s=probe_in_s, said=self.said)

    @property
    def narrowed(self) -> int | None:
        """How many may be in flight, where failures or an outage have made that fewer than there are slots."""
        return self._width.size if self._width.is_cut else None

    def failed(self, permit: Permit, hint_s: float, *, tells: bool, reason: str = "failures") -> bool:
        """A request failed; whether it is news: it began an outage, or it was the probe of one.

        Args:
            permit: the request's.
            hint_s: how long the origin asks to be left alone.
            tells: whether the failure says anything of the origin; false where the row is as likely to be the reason.
            reason: what it failed of, in a word.
        """
        now_s, breaker = self._now(), self.breaker
        if permit.is_probe and not breaker.is_closed:
            breaker.probe_failed(now_s, hint_s)
        elif not tells or not breaker.is_closed:
            return False
        elif not breaker.failed(now_s, hint_s, in_flight=self._in_flight):
            self._narrow(now_s, reason)
            return False
        else:
            assert breaker.since_s is not None
            self._since_us = self._wall_us() - round((now_s - breaker.since_s) * 1e6)
            self._slots.on_give = None
            self._width.broke(breaker.answers + breaker.failures)
            self._slots.resize(0)  # what is taken stays taken; nothing more goes
            self._history.add(CONCURRENCY, "", 0, f"outage after {reason}")
        self._wait_for_the_probe(now_s)
        return True

    def answered(self, permit: Permit) -> None:
        """A reply that shows that the origin is there, while not all is well: a probe's ends the outage."""
        if permit.is_probe and not self.breaker.is_closed:
            self.breaker.close()
            if self._timer is not None:
                self._timer.cancel()
            self._width.restart(restart_size(self._width.most), self.breaker.answers)
            self._history.add(CONCURRENCY, "", self._width.size, "the outage is over")
            self._slots.resize(self._width.size)
            self._count()

    def learnt_nothing(self, permit: Permit) -> None:
        """A request that shows nothing: a probe is sent once more."""
        if permit.is_probe and not self.breaker.is_closed:
            self._lend()

    @property
    def _in_flight(self) -> int:
        return self._slots.size - self._slots.free

    def _wait_for_the_probe(self, now_s: float) -> None:
        next_s, since_s = self.breaker.next_probe_s, self.breaker.since_s
        assert next_s is not None
        assert since_s is not None
        most_s = self._patience.max_outage_s
        end_s = since_s + (most_s if self.breaker.answers else min(most_s, self._patience.unserved_s))
        self._after(min(next_s, end_s) - now_s, self._probe if next_s < end_s else self._give_up)

    def _probe(self) -> None:
        self.breaker.probe()
        self._lend()

    def _lend(self) -> None:
        """Offer a slot to a row that has not failed yet, or else give it to those who wait."""
        if self._credit.free <= 0 and not self._credit.loans:
            self._credit.lend()  # all open rows have failed: one more, or it would never be known whether others do not
            self._credit.serve()
        self._slots.lend()
        self._after(_OFFERED_S, self._slots.serve)

    def _give_up(self) -> None:
        since_s = self.breaker.since_s
        assert since_s is not None
        self.on_too_long(OutageTooLong(self._since_us, self._now() - since_s, self.said))

    def _narrow(self, now_s: float, reason: str) -> None:
        slots, breaker, width = self._slots, self.breaker, self._width
        in_flight = self._in_flight
        if width.failed(now_s, in_flight, answers=breaker.answers, failures=breaker.failures):
            self._history.cut(CONCURRENCY, "", width.size, reason)
            slots.resize(width.size)
            self._count()

    def _count(self) -> None:
        """Have what comes home counted, as long as there may be more in flight than now."""
        self._slots.on_give = None if self._width.is_whole else self._widen

    def _widen(self) -> None:
        slots, width = self._slots, self._width
        was_cut = width.is_cut
        if width.replied(slots.size - slots.free + 1, self.breaker.answers):
            slots.resize(width.size)
            if width.is_whole:
                slots.on_give = None
                if was_cut:
                    self._history.add(CONCURRENCY, "", width.size, "all of them again")

    def _after(self, wait_s: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(wait_s, then)


def _nobody_minds(_: OutageTooLong) -> None:
    """A gate by itself waits for ever."""


def _span(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.3g} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.3g} seconds"
