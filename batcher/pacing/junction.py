"""Where does the next request go, and when? The gate of a run that has several ways: endpoints, fallback models.

It has the face of a gate and stands above one gate for each endpoint. A task's lane is then only the name of a line;
the permit that it gets says which lane it really took, and everything that follows goes by that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from batcher.errors import EndpointRefused
from batcher.pacing.gate import OPEN_TASKS_A_SLOT, Gate
from batcher.pacing.kin import Family
from batcher.pacing.outage import Outage, OutageTooLong
from batcher.pacing.park import FOR_GOOD_US
from batcher.pacing.permit import OPEN_TASKS, OUTAGE, DayQuotaReached, Parked, Permit
from batcher.pacing.quota import Learnt
from batcher.pacing.routes import Rota, Route
from batcher.pacing.slots import Slots

_LOOK_AGAIN_S = 300.0

Told = Callable[[str], None]


class Junction:
    """Several gates as one.

    Args:
        gates: one for each endpoint; all must have been made with `credit`, and with one history.
        names: of the endpoints, as messages call them.
        routes: the ways of a line, best rank first.
        credit: open-task credit of the run.
        wall_us: microseconds since the epoch.
        told: takes what the user should read once.
    """

    def __init__(  # noqa: PLR0913
        self,
        gates: Sequence[Gate],
        names: Sequence[str],
        routes: Callable[[str], Sequence[Route]],
        *,
        credit: Slots,
        wall_us: Callable[[], int],
        told: Told,
    ) -> None:
        self._gates = tuple(gates)
        self._names = tuple(names)
        self._routes = routes
        self._open = credit
        self.history = self._gates[0].history
        self._wall_us = wall_us
        self._told = told
        self._rotas: dict[str, Rota] = {}
        self._gate_of: dict[str, Gate] = {}
        self._gone: dict[int, str] = {}  # endpoints that have left the run, and why
        self._families: dict[str, Family] = {}  # of lanes that may be of one project
        self._last_words = ""

    @property
    def in_flight(self) -> int:
        """As of a gate, over all of them."""
        return sum(gate.in_flight for gate in self._gates)

    @property
    def open_tasks(self) -> int:
        """Tasks that took credit."""
        return self._open.size - self._open.free

    @property
    def is_full(self) -> bool:
        """Whether no endpoint has a slot to give."""
        return all(gate.is_full for gate in self._gates)

    @property
    def limited_by(self) -> str:
        """As of a gate: what all that wait wait for; an outage only where all endpoints are out."""
        waits = [gate.limited_by for no, gate in enumerate(self._gates) if no not in self._gone]
        others = [name for name in waits if name and name != OUTAGE]
        if waits and not others and all(waits):
            return OUTAGE
        return others[0] if others else OPEN_TASKS if self._open.waiting else ""

    @property
    def outage(self) -> Outage | None:
        """The outage of the first endpoint while all are out."""
        found = [gate.outage for no, gate in enumerate(self._gates) if no not in self._gone]
        return found[0] if all(found) and found else None

    @property
    def used_today(self) -> dict[str, int]:
        """As of a gate."""
        return {lane: used for gate in self._gates for lane, used in gate.used_today.items()}

    @property
    def learnt(self) -> dict[str, Learnt]:
        """As of a gate."""
        return {lane: learnt for gate in self._gates for lane, learnt in gate.learnt.items()}

    @property
    def pace_per_s(self) -> float | None:
        """Nothing: each endpoint has a pace of its own; `history` has them all."""
        return None

    @property
    def narrowed(self) -> int | None:
        """Nothing, for the same reason."""
        return None

    def stand_aside(self) -> None:
        """As of a gate."""
        self._open.resize(self._open.size + 1)

    def come_back(self) -> None:
        """As of a gate."""
        self._open.resize(self._open.size - 1)

    def on_free(self, tell: Callable[[], None]) -> None:
        """As of a gate."""
        for gate in self._gates:
            gate.on_free(tell)

    def on_outage_too_long(self, tell: Callable[[OutageTooLong], None]) -> None:
        """Have `tell` called when the last endpoint is out for too long; the others leave the run by themselves."""
        for no, gate in enumerate(self._gates):
            gate.on_outage_too_long(lambda why, no=no: self._too_long(no, why, tell))  # type: ignore[misc]  # its own no

    def open_now(self) -> bool:
        """As of a gate."""
        return self._open.take_now()

    async def open(self) -> None:
        """As of a gate."""
        await self._open.take()

    def close(self) -> None:
        """As of a gate."""
        self._open.give()

    def admit_now(self, lane: str, tokens: int, *, last: str = "") -> Permit | None:
        """A permit of the way whose turn it is, if any can send now; the lane `last` is tried last.

        Args:
            lane: the line.
            tokens: estimated input tokens.
            last: a lane that has just failed.
        """
        rota = self._rota(lane)
        tried = rota.order(self._ways(rota), last=last)
        for route in tried:
            gate = self._gates[route.gate]
            permit = gate.admit_now(route.lane, tokens) or self._probe(gate, route, tokens)
            if permit is not None:
                self._took(rota, route, tried)
                return permit
        return None

    def probe_now(self, lane: str, tokens: int) -> Permit | None:
        """As of a gate."""
        for route in self._ways(self._rota(lane)):
            permit = self._probe(self._gates[route.gate], route, tokens)
            if permit is not None:
                return permit
        return None

    async def admit(self, lane: str, tokens: int, *, retry: bool = False, last: str = "") -> Permit:
        """Wait in every lane that may be taken; the first permit is it, and the other waits leave nothing taken.

        Raises:
            DayQuotaReached: every way is closed, one of them only until a new day.
            EndpointRefused: every way is closed for good.
        """
        rota = self._rota(lane)
        while True:
            permit = self.admit_now(lane, tokens, last=last)
            if permit is not None:
                return permit
            routes = rota.order(self._ways(rota))
            if not routes:
                raise self._closed(lane)
            permit = await self._first(rota, routes, tokens, retry=retry)
            if permit is not None:
                return permit

    def free(self, permit: Permit) -> None:
        """As of a gate."""
        self._gate_of[permit.lane].free(permit)

    def opens_us(self, lane: str) -> int:
        """When a line has a way that is open, microseconds since the epoch; 0: now."""
        return min(self._opens_us(route) for route in self._rota(lane).routes)

    def others(self, lane: str, without: Iterable[str]) -> bool:
        """Whether a line has a way that is not closed for good, besides these lanes."""
        closed = set(without)
        ways = (route for route in self._rota(lane).routes if route.lane not in closed)
        return any(self._opens_us(route) < FOR_GOOD_US for route in ways)

    def without(self, lane: str, refused: str) -> str:
        """Name the line that has all ways of `lane` but one."""
        name = f"{lane} but not {refused}"
        if name not in self._rotas:
            self._rotas[name] = Rota([route for route in self._rota(lane).routes if route.lane != refused])
        return name

    def shut(self, lane: str, why: str) -> None:
        """Ask one lane no more: the endpoint does not serve us this model."""
        gate = self._gate_of[lane]
        if gate.opens_us(lane) < FOR_GOOD_US:
            gate.shut(lane)
            self._last_words = why
            self._told(f"{lane} is asked no more: {why}")

    def leave(self, no: int, why: str) -> None:
        """Ask one endpoint no more."""
        if no not in self._gone:
            self._gone[no] = self._last_words = why
            self._gates[no].shut_all()
            self._told(f"{self._names[no]} leaves the run: {why}")

    def lanes_of(self, no: int) -> frozenset[str]:
        """The lanes of one endpoint, as far as they are known."""
        return frozenset(lane for lane, gate in self._gate_of.items() if gate is self._gates[no])

    @property
    def parked(self) -> tuple[Parked, ...]:
        """Lanes that have used up their day, and until when."""
        opens = ((lane, gate.opens_us(lane)) for lane, gate in self._gate_of.items())
        return tuple(Parked(lane, opens_us, 0) for lane, opens_us in opens if 0 < opens_us < FOR_GOOD_US)

    def refused(self, lane: str, quota_id: str, size: int) -> None:
        """A lane was told that a quota is full: where it shares that with another, the keys are of one project."""
        family = self._families.get(lane)
        kin = None if family is None else family.refused(lane, quota_id, size, self._wall_us())
        if kin is not None:
            sent = " and ".join(f"{count:,}" for count in kin.sent)
            self._told(
                f"{kin.one} and {kin.other} seem to be keys of one project, which share its quotas: both have run into"
                f" {quota_id} of {size:,} with {sent} requests"
            )

    def no_of(self, permit: Permit) -> int:
        """The number of the endpoint that a permit is for."""
        return self._gates.index(self._gate_of[permit.lane])

    def _rota(self, lane: str) -> Rota:
        rota = self._rotas.get(lane)
        if rota is None:
            rota = self._rotas[lane] = Rota(self._routes(lane))
            self._gate_of |= {route.lane: self._gates[route.gate] for route in rota.routes}
            self._families |= _families(route.lane for route in rota.routes)
        return rota

    def _took(self, rota: Rota, route: Route, tried: Sequence[Route]) -> None:
        rota.took(route, tried)
        if (family := self._families.get(route.lane)) is not None:
            family.sent(route.lane, self._wall_us())

    def _opens_us(self, route: Route) -> int:
        return FOR_GOOD_US if route.gate in self._gone else self._gates[route.gate].opens_us(route.lane)

    def _ways(self, rota: Rota) -> list[Route]:
        return [route for route in rota.routes if not self._opens_us(route)]

    @staticmethod
    def _probe(gate: Gate, route: Route, tokens: int) -> Permit | None:
        return None if gate.breaker.is_closed else gate.probe_now(route.lane, tokens)

    def _closed(self, lane: str) -> DayQuotaReached | EndpointRefused:
        opens_us = self.opens_us(lane)
        if opens_us < FOR_GOOD_US:
            return DayQuotaReached(lane, opens_us)
        return EndpointRefused(f"no endpoint is left that serves {lane}; the last: {self._last_words}")

    async def _first(self, rota: Rota, routes: Sequence[Route], tokens: int, *, retry: bool) -> Permit | None:
        """Whichever lets us go first; None when something has changed, so that it is better to look again."""
        waits = [
            asyncio.ensure_future(self._gates[route.gate].admit(route.lane, tokens, retry=retry)) for route in routes
        ]
        won = None
        try:
            await asyncio.wait(waits, timeout=self._until_news(rota), return_when=asyncio.FIRST_COMPLETED)
            done = (n for n, wait in enumerate(waits) if wait.done() and not wait.exception())
            won = next(done, None)
        finally:
            for n, wait in enumerate(waits):
                if n != won:
                    wait.cancel()
                    wait.add_done_callback(self._undone)
        if won is None:
            errors = [wait.exception() for wait in waits if wait.done() and not wait.cancelled()]
            for error in errors:
                if error is not None and not isinstance(error, DayQuotaReached):
                    raise error
            return None
        self._took(rota, routes[won], routes)
        return waits[won].result()

    def _undone(self, wait: asyncio.Future[Permit]) -> None:
        """Two let us go in the same turn of the loop: the second goes back as if it had never been asked for."""
        if not wait.cancelled() and wait.exception() is None:
            permit = wait.result()
            self._gate_of[permit.lane].unsent(permit)
            self._gate_of[permit.lane].give_back(permit)

    def _until_news(self, rota: Rota) -> float | None:
        """Seconds until a way opens that is closed now."""
        closed = [opens_us for route in rota.routes if 0 < (opens_us := self._opens_us(route)) < FOR_GOOD_US]
        return min((min(closed) - self._wall_us()) / 1e6, _LOOK_AGAIN_S) if closed else None

    def _too_long(self, no: int, why: OutageTooLong, tell: Callable[[OutageTooLong], None]) -> None:
        if len(self._gone) + 1 < len(self._gates):
            self.leave(no, why.message)
        else:
            tell(why)


def credit_for(slots: int) -> Slots:
    """Open-task credit for so many slots, over all endpoints."""
    return Slots(OPEN_TASKS_A_SLOT * slots)


def _families(lanes: Iterable[str]) -> dict[str, Family]:
    """Lane -> its family, where it has one: lanes name their origin first and their model last."""
    alike: dict[tuple[str, str], set[str]] = {}
    for lane in lanes:
        words = lane.split(" ")
        alike.setdefault((words[0], words[-1]), set()).add(lane)
    families = ((members, Family(frozenset(members))) for members in alike.values() if len(members) > 1)
    return {lane: family for members, family in families for lane in members}
