"""What does a request's path ask for?"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

VERSIONS = ("v1", "v1beta")


class Verb(enum.StrEnum):
    """What the emulator is asked to do."""

    GENERATE = "generateContent"
    STREAM = "streamGenerateContent"
    FLAT = "flat"  # the verb-less POST of flat endpoints
    COUNT = "countTokens"
    LIST_MODELS = "models"
    GET_MODEL = "model"
    UNKNOWN = "unknown"


_POST_VERBS = {
    "generateContent": Verb.GENERATE,
    "streamGenerateContent": Verb.STREAM,
    "countTokens": Verb.COUNT,
    "": Verb.FLAT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path, taken apart.

    Attributes:
        path: without the query, as it came.
        version: `v1` or `v1beta`; empty when the path has neither.
        model: the id without `models/`; empty when none is named.
        asked_verb: what stood behind the colon, for messages.
        query_key: the `key` of the query, empty when there is none.
        alt: the `alt` of the query: `sse` asks for events.
    """

    verb: Verb
    path: str
    version: str = ""
    model: str = ""
    asked_verb: str = ""
    query_key: str = ""
    alt: str = ""


# A run asks one path a million times: parsing it once took 6 µs a request out of the way.
@functools.lru_cache(maxsize=1024)
def route(method: str, raw_path: str) -> Route:
    """Take a request line's target apart.

    Args:
        method: `GET` or `POST`; everything else leads nowhere.
        raw_path: the path and query as received, percent-encoding included.
    """
    path, _, query = raw_path.partition("?")
    asked = parse_qs(query)
    query_key = asked.get("key", [""])[0]
    version, _, rest = unquote(path).lstrip("/").partition("/")
    if version not in VERSIONS:
        return Route(verb=Verb.UNKNOWN, path=path, query_key=query_key)
    if method == "GET" and rest.rstrip("/") == "models":
        return Route(verb=Verb.LIST_MODELS, path=path, version=version, query_key=query_key)
    collection, _, name = rest.partition("/")
    model, _, asked_verb = name.partition(":")
    return Route(
        verb=_verb(method, collection, model, asked_verb),
        path=path,
        version=version,
        model=model,
        asked_verb=asked_verb,
        query_key=query_key,
        alt=asked.get("alt", [""])[0],
    )


def _verb(method: str, collection: str, model: str, asked_verb: str) -> Verb:
    if collection != "models" or not model or "/" in model:
        return Verb.UNKNOWN
    if method == "GET" and not asked_verb:
        return Verb.GET_MODEL
    return _POST_VERBS.get(asked_verb, Verb.UNKNOWN) if method == "POST" else Verb.UNKNOWN
