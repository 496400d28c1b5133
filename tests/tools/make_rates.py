"""Where does `batcher/money/rates.json` come from? `python -m tests.tools.make_rates` writes it; a person reviews it.

Standard and batch prices are genai-prices', resolved by its own rules. What it does not model is in the tables below,
each with its evidence; what neither knows stays out of the card, so that its cost is null.

Evidence for the tables: the price comments of genai-prices 0.2.3 ("Batch and Flex tiers offer 50% discount, Priority
tier is 1.8x") and, model by model and class by class, the price catalogue of litellm 1.106.2 (2026-10-21), which agree
wherever both speak. In it every flex price is the model's batch price, the cached one included, and every priority
price is 1.8 times the standard one, but for the two rounded cached prices below. A tier is in the card from the day it
was looked up.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from genai_prices import types as gp
from genai_prices.data import providers

from batcher.money.prices import BUNDLED, FORMAT, canonical_bytes, content_sha256

REVIEWED = "2026-11-22"
CATALOGUE_DATE = "2026-10-21"

# Our class <- genai-prices' key. Audio output, picture input and video input have prices of their own only in Live
# models, which generateContent does not serve.
CLASSES = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "audio_input": "input_audio_mtok",
    "audio_cached_input": "cache_audio_read_mtok",
    "output": "output_mtok",
    "image_output": "output_image_mtok",
    "video_output": "output_video_mtok",
}

# genai-prices takes any name that begins with these; we take only what names the same model: dated, numbered and
# preview forms. A later `gemini-3.6-flash-image` must be unknown, not priced as text.
VERSIONS = r"(?:-(?:preview|exp|latest|\d{2,8}))*"
EXTRA_NAMES = {"gemini-3.1-pro-preview": (r"gemini-3\.1-pro-preview-customtools",)}  # same prices in the catalogue

LEFT_OUT = {
    "gemini-1": "shut down",
    "gemini-2.0": "shut down",
    "gemini-2.5-flash-image": "shut down on 2026-10-02",
    "gemini-2.5-flash-preview": "retired in 2025",
    "gemini-3-pro-preview": "shut down",
    "gemini-flash-1.5": "shut down",
    "gemini-pro": "shut down",
    "gemini-embedding": "no generateContent",
    "gemini-live": "Live API only",
    "gemini-3.1-flash-live": "Live API only",
    "gemini-3.8-live": "Live API only",
    "gemini-robotics-er-2-streaming": "Live API only",
    "gemma": "free on the Gemini API, or priced elsewhere",
    "claude": "not a Gemini model",
}

# Half price in the batch tier, which genai-prices only says in a comment for these. Cached input: $0.075 in the
# catalogue for 3.5-flash, halved with the rest for 3.7-flash.
BATCH_IS_HALF = ("gemini-3.5-flash", "gemini-3.7-flash")

FLEX_IS_BATCH = (
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.5-pro",
    "gemini-3-flash-preview",
    "gemini-3.1-flash-lite",
    "gemini-3.1-pro-preview",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.6-flash",
    "gemini-3.7-flash",
    "gemini-3.8-flash",
    "gemini-4-argon",
)
FLEX_EXCEPT = {"gemini-3.5-flash": {"cached_input": "0.08"}}

PRIORITY_IS_1_8 = FLEX_IS_BATCH
PRIORITY_EXCEPT = {"gemini-3.5-flash-lite": {"cached_input": "0.05"}}

NOT_INCLUDED = (
    "Searches (web_searches_per_1000, where known) and other tool calls are charged apart.",
    "Storage of context caches is charged by the hour.",
    "Free allowances, committed spend, taxes and exchange rates.",
)

Price = dict[str, Any]


def make_card() -> dict[str, Any]:
    """The whole card as a JSON document, its hash included."""
    document = {
        "format": FORMAT,
        "source": f"genai-prices {version('genai-prices')}; flex, priority and gaps reviewed by hand",
        "version": REVIEWED,
        "exported_at": f"{REVIEWED}T00:00:00Z",
        "currency": "USD",
        "unit": "US dollars for 1000000 tokens",
        "not_included": list(NOT_INCLUDED),
        "models": [_entry(model) for model in sorted(_covered(), key=lambda m: m.id)],
    }
    return {**document, "sha256": content_sha256(document)}


def known_models() -> Iterator[gp.ModelInfo]:
    """Everything genai-prices lists for Google."""
    return iter(next(p for p in providers if p.id == "google").models)


def why_left_out(model_id: str) -> str | None:
    """The reason a model is not in the card, by how its id begins; None when it is in."""
    return next((why for prefix, why in LEFT_OUT.items() if model_id.startswith(prefix)), None)


def _covered() -> Iterator[gp.ModelInfo]:
    return (model for model in known_models() if why_left_out(model.id) is None)


def _entry(model: gp.ModelInfo) -> Price:
    standard = _timeline(model, "standard", {})
    batch = _timeline(model, "batch", {"processing": "batch"})
    if model.id in BATCH_IS_HALF:
        batch = _derived(standard, "batch", Decimal("0.5"), {})
    flex = _timeline(model, "flex", {"service_tier": "flex"})
    if model.id in FLEX_IS_BATCH:
        flex = _derived(batch, "flex", Decimal(1), FLEX_EXCEPT.get(model.id, {}))
    priority = _timeline(model, "priority", {"service_tier": "priority"})
    if model.id in PRIORITY_IS_1_8:
        priority = _derived(standard, "priority", Decimal("1.8"), PRIORITY_EXCEPT.get(model.id, {}))
    return {
        "id": model.id,
        "match": [*_patterns(model.match), *EXTRA_NAMES.get(model.id, ())],
        "prices": [*standard, *batch, *flex, *priority],
    }


def _timeline(model: gp.ModelInfo, tier: str, context: dict[str, str]) -> list[Price]:
    """One price for every day on which something changed, as genai-prices itself resolves it."""
    own = [v for v in model.price_variants or () if v.when.items() <= context.items()]
    if context and not own:
        return []
    starts = {_start(v) for v in own}
    if isinstance(model.prices, list):
        # A standard price that changes under a variant may change what the variant leaves open.
        starts |= {day for p in model.prices if (day := _start(p)) >= min(starts, default=dt.date.min)}
    if not context:
        starts.add(dt.date.min)
    prices = [_price(model, tier, day, context) for day in sorted(starts)]
    return [new for old, new in itertools.pairwise([{}, *prices]) if _without_start(new) != _without_start(old)]


def _start(dated: gp.ConditionalPrice | gp.PriceVariant) -> dt.date:
    if dated.constraint is None:
        return dt.date.min
    assert isinstance(dated.constraint, gp.StartDateConstraint), dated
    return dated.constraint.start_date


def _price(model: gp.ModelInfo, tier: str, day: dt.date, context: dict[str, str]) -> Price:
    listed = model.get_prices(dt.datetime.combine(day, dt.time(), dt.UTC), context)
    price: Price = {"tier": tier, "from": None if day == dt.date.min else day.isoformat()}
    given = {ours: value for ours, theirs in CLASSES.items() if (value := getattr(listed, theirs)) is not None}
    price["rates"] = {ours: _text(v.base if isinstance(v, gp.TieredPrices) else v) for ours, v in given.items()}
    thresholds = {t.start for v in given.values() if isinstance(v, gp.TieredPrices) for t in v.tiers}
    if thresholds:
        (threshold,) = thresholds
        over = {ours: _text(v.tiers[0].price if isinstance(v, gp.TieredPrices) else v) for ours, v in given.items()}
        price["over"] = {"input_tokens": threshold, "rates": over}
    if isinstance(searches := listed.web_searches_kcount, Decimal):
        price["web_searches_per_1000"] = _text(searches)
    return price


def _derived(prices: Iterable[Price], tier: str, factor: Decimal, instead: dict[str, str]) -> list[Price]:
    """Another tier's prices, scaled; known from the day the catalogue was made, or from a later change on."""
    derived: list[Price] = []
    for price in prices:
        since = max(price["from"] or "", CATALOGUE_DATE)
        if derived and derived[-1]["from"] == since:
            derived.pop()
        scaled = {**price, "tier": tier, "from": since, "rates": _scaled(price["rates"], factor) | instead}
        if "over" in price:
            scaled["over"] = {**price["over"], "rates": _scaled(price["over"]["rates"], factor)}
        derived.append(scaled)
    return derived


def _scaled(rates: dict[str, str], factor: Decimal) -> dict[str, str]:
    return {name: _text(Decimal(rate) * factor) for name, rate in rates.items()}


def _without_start(price: Price) -> Price:
    return {key: value for key, value in price.items() if key != "from"}


def _text(rate: Decimal) -> str:
    return f"{rate.normalize():f}"


def _patterns(clause: object) -> list[str]:
    """Regular expressions, each for a whole name, that take no more names than the clause does."""
    match clause:
        case gp.ClauseEquals(equals=name):
            return [_escape(name)]
        case gp.ClauseStartsWith(starts_with=name):
            return [_escape(name.removesuffix("-")) + VERSIONS]
        case gp.ClauseOr(or_=clauses):
            return sorted({pattern for inner in clauses for pattern in _patterns(inner)})
        case gp.ClauseAnd(and_=[gp.ClauseStartsWith() as start, gp.ClauseRegex(regex=rest)]) if "[tT][tT][sS]" in rest:
            return _patterns(start)  # "and not -tts", which VERSIONS takes none of
        case gp.ClauseRegex(regex=regex) if regex.endswith(r"-\d"):
            return [regex.removeprefix("^").removesuffix(r"-\d") + r"-\d{2,8}"]
    raise AssertionError(clause)


def _escape(name: str) -> str:
    return name.replace(".", r"\.")


if __name__ == "__main__":
    BUNDLED.write_bytes(canonical_bytes(make_card()))
    print(f"wrote {BUNDLED}: look at the diff before you commit it")
