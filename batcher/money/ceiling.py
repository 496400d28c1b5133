"""What may a request cost at most, whenever it is sent from now on and whichever tier serves it?"""

from __future__ import annotations

from typing import Final

from batcher.money.cost import upper_bound_fusd
from batcher.money.prices import RateCard

_STANDARD: Final = "standard"
_FOR_EVER_US: Final = 1 << 62


class Ceiling:
    """Bounds what requests cost, by the dearest price that they may be charged.

    Another tier than the one asked for may be served: priority is served as standard when it overflows. And a request
    that is planned now may be sent after the price has changed, as far as the card knows.

    Args:
        card: the run's frozen rate card.
        tier: the service tier asked for; None for the endpoint's default.
        from_us: when the first of them may be sent, microseconds since the epoch, UTC.
    """

    def __init__(self, card: RateCard, *, tier: str | None, from_us: int) -> None:
        self._card = card
        self._asked = tier or _STANDARD
        self._from_us = from_us
        self._moments: dict[str, tuple[tuple[str, int], ...]] = {}

    def fusd(self, model: str, input_bound: int, output_bound: int) -> int | None:
        """The most that one request costs, in whole femtodollars; None when no price is known in the tier asked for.

        Args:
            model: as asked for.
            input_bound: most input tokens it can be billed.
            output_bound: most output tokens, thoughts included.
        """
        dearest = None
        for tier, at_us in self._moments.get(model) or self._find(model):
            rates = self._card.rates(model, tier, at_us, input_bound)
            if rates is not None:
                dearest = max(dearest or 0, upper_bound_fusd(rates, input_bound, output_bound))
        return dearest

    def _find(self, model: str) -> tuple[tuple[str, int], ...]:
        """The tiers and moments whose prices count; none where nobody knows the price asked for."""
        found: list[tuple[str, int]] = []
        if self._card.rates(model, self._asked, self._from_us, 0) is not None:
            for tier in dict.fromkeys((self._asked, _STANDARD)):
                changes = self._card.changes(model, tier, after_us=self._from_us, until_us=_FOR_EVER_US)
                found += [(tier, self._from_us), *((tier, change.at_us) for change in changes)]
        moments = self._moments[model] = tuple(found)
        return moments
