"""Which of several ways does the next request take? Pure: who may send now is the caller's to find out.

A way is a lane of one endpoint. The first models come first: a fallback model is asked only when every way of the model
before it is closed. Among the ways of one model their weights decide, by smooth weighted round robin (nginx's): with
weights 2 and 1 they go a, b, a and not a, a, b. A way that could not send now does not catch up later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Route(NamedTuple):
    """One way.

    Attributes:
        lane: whose quotas it needs.
        gate: the number of its endpoint.
        rank: 0 for the model as asked, 1 for the first fallback.
        weight: its share, against the others of its rank.
    """

    lane: str
    gate: int
    rank: int = 0
    weight: float = 1.0


class Rota:
    """Whose turn it is among the ways of one line; each has its credit.

    Args:
        routes: all of them.
    """

    __slots__ = ("_credit", "routes")

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._credit = dict.fromkeys((route.lane for route in routes), 0.0)

    def order(self, among: Iterable[Route], *, last: str = "") -> list[Route]:
        """In which order to try the best rank of these; the lane `last` comes last, if there is another."""
        open_ones = list(among)
        best = min((route.rank for route in open_ones), default=0)
        credit = self._credit
        ready = [route for route in open_ones if route.rank == best]
        return sorted(ready, key=lambda route: (route.lane == last, -(credit[route.lane] + route.weight)))

    def took(self, route: Route, tried: Sequence[Route]) -> None:
        """`route` sent; of those that were tried, the ones before it in the order could not."""
        able = tried[next(n for n, each in enumerate(tried) if each.lane == route.lane) :]
        for each in able:
            self._credit[each.lane] += each.weight
        self._credit[route.lane] -= sum(each.weight for each in able)
