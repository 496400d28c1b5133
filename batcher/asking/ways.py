"""What goes with the lane that a request took? Its door, its gate, who is asked there, and for which model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batcher.asking.health import Health
from batcher.asking.transport import Transport
from batcher.gemini.request import renamed
from batcher.job.spec import Dialect
from batcher.pacing.gate import Gate
from batcher.records import Place, Request


@dataclass(slots=True, eq=False, kw_only=True)
class Way:
    """One lane, as whoever asks there needs it.

    Attributes:
        place: whom the ledger names; None where a run has one endpoint, which its plan names.
        model: whom this lane asks; None leaves it to the request.
        dialect: of the endpoint; the flat one names the model in the body.
        answers: good ones that came this way.
    """

    door: Transport
    gate: Gate
    health: Health
    place: Place | None = None
    model: str | None = None
    dialect: Dialect = Dialect.GOOGLE
    answers: int = 0

    def request(self, request: Request) -> Request:
        """What is sent this way for a request as it was planned."""
        if self.model is None or self.model == request.model:
            return request
        return request._replace(model=self.model, body=renamed(request.body, self.model, dialect=self.dialect))


NO_WAY: Any = None  # of a run that has several: the permit says which


def way_of(  # noqa: PLR0913, PLR0917  what a way is made of
    door: Transport,
    gate: Gate,
    secrets: Sequence[str],
    max_hint_s: float,
    place: Place | None = None,
    model: str | None = None,
    dialect: Dialect = Dialect.GOOGLE,
) -> Way:
    """Make a way; arguments as of `Way` and `Health`."""
    health = Health(gate, secrets=secrets, max_hint_s=max_hint_s)
    return Way(door=door, gate=gate, health=health, place=place, model=model, dialect=dialect)
