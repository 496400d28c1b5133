"""Which ways have the requests of a job? Its endpoints times the model and those behind it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from batcher.job.spec import Endpoint, Job
from batcher.pacing.routes import Route
from batcher.records import Place


def lane_of(endpoint: str, project: str, model: str) -> str:
    """A quota owner in one line, as messages name it; most runs have no project."""
    return " ".join(filter(None, (endpoint, project, model)))


def place_of(endpoint: Endpoint) -> Place:
    """Whom the ledger names: the origin, and who owns its quotas."""
    origin = urlsplit(endpoint.base_url or "")
    return Place(f"{origin.scheme}://{origin.netloc}", endpoint.project)


def models_of(job: Job, model: str) -> tuple[str, ...]:
    """The models that may answer a row that asks one; the job's own has others behind it."""
    own = job.model.removeprefix("models/")
    behind = (each.removeprefix("models/") for each in job.fallback_models) if model == own else ()
    return tuple(dict.fromkeys((model, *behind)))


def routes_of(job: Job, lane: str) -> tuple[Route, ...]:
    """The ways of a line, which the first lane of it names."""
    return tuple(_routes(job, lane.rpartition(" ")[2]))


def has_several_ways(job: Job) -> bool:
    """Whether a request may go more than one way."""
    return len(job.asked) > 1 or bool(job.fallback_models)


def _routes(job: Job, model: str) -> Iterator[Route]:
    for rank, name in enumerate(models_of(job, model)):
        for no, endpoint in enumerate(job.asked):
            yield Route(lane_of(*place_of(endpoint), name), no, rank, endpoint.weight)
