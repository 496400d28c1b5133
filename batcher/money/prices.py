"""Which rates applied to a model, a tier and a moment? A dated rate card; what it does not know is None, never a guess.

The bundled card (`rates.json`) is generated from genai-prices and reviewed; prices are appended to it, never edited.
Every run freezes a copy, so that a cost can be computed again years later.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

from batcher.errors import StorageError
from batcher.money.cost import FEMTO_DIGITS, PER_MILLION, Rates

FORMAT: Final = 1
BUNDLED: Final = Path(__file__).with_name("rates.json")

# Names come from replies too, and a server may invent as many as it likes: beyond this many pairs nothing is
# remembered.
_REMEMBERED_PAIRS: Final = 256
_FUSD_PER_RATE: Final = Decimal(10**FEMTO_DIGITS) / PER_MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class _Price:
    """Rates from a moment on; `over` replaces `base` for every token once the billed input exceeds `over_tokens`."""

    from_us: int
    base: Rates
    over_tokens: int | None = None
    over: Rates | None = None

    def at(self, billed_input: int) -> Rates:
        if self.over_tokens is None or billed_input <= self.over_tokens:
            return self.base
        assert self.over is not None
        return self.over


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The price of a model in one tier changes: `after` holds from `at_us` on, microseconds since the epoch, UTC."""

    at_us: int
    before: Rates
    after: Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCard:
    """Dated prices of many models, as one value.

    Attributes:
        source: where the prices come from, with its version.
        version: of this card: the day its prices were reviewed, ISO 8601.
        exported_at: when the card was made, ISO 8601 UTC.
        sha256: over the canonical bytes of everything that decides a price; two cards with the same hash price the
        same.
    """

    source: str
    version: str
    exported_at: str
    sha256: str
    _document: Mapping[str, Any] = field(repr=False)
    _found: dict[tuple[str, str], tuple[_Price, ...]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def bundled(cls) -> Self:
        """The card that comes with this version of batcher."""
        return cls.read(BUNDLED)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a card, e.g. the `prices.json` that a run froze.

        Raises:
            StorageError: it cannot be read, is not a rate card, or its content is not what its hash says.
        """
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError) as problem:
            raise StorageError(f"{path}: cannot read the rate card: {problem}") from problem
        return cls.from_document(document, where=str(path))

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, where: str) -> Self:
        """A card from its JSON document; `where` names it in messages.

        Raises:
            StorageError: as `read`.
        """
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise StorageError(f"{where}: not a rate card of format {FORMAT}")
        found = content_sha256(document)
        if document.get("sha256") != found:
            raise StorageError(
                f"{where}: sha256 says {document.get('sha256')}, the content has {found}",
                hint="A rate card is a record and never edited; take an untouched copy.",
            )
        return cls(
            source=document["source"],
            version=document["version"],
            exported_at=document["exported_at"],
            sha256=found,
            _document=document,
        )

    def write(self, path: Path) -> None:
        """Write the card; a card read from there is equal, and the bytes of equal cards are equal."""
        path.write_bytes(canonical_bytes(self._document))

    @property
    def not_included(self) -> tuple[str, ...]:
        """What the endpoint charges that no rate here covers, one line each."""
        return tuple(self._document["not_included"])

    @property
    def models(self) -> tuple[str, ...]:
        """The ids of the models whose price is known."""
        return tuple(model["id"] for model in self._document["models"])

    def rates(self, model: str, tier: str, at_us: int, billed_input: int) -> Rates | None:
        """The rates of one request.

        Args:
            model: as asked for or as served, with or without `models/`. Dated and preview names count only where the
                card lists them.
            tier: `standard`, `batch`, `flex` or `priority`.
            at_us: when the request was sent, microseconds since the epoch, UTC.
            billed_input: all its input tokens, the cached ones included; the long-context price goes by it.

        Returns:
            None when the card does not know: another tier's price is never used instead.
        """
        # Once a reply: one dict look-up; names are matched the first time only.
        prices = self._found.get((model, tier))
        if prices is None:
            prices = self._find(model, tier)
        for known in prices:
            if at_us >= known.from_us:
                return known.at(billed_input)
        return None

    def changes(self, model: str, tier: str, *, after_us: int, until_us: int) -> tuple[Change, ...]:
        """The price changes that the card knows of, oldest first, for prompts below the long-context limit.

        Args:
            model: as in `rates`.
            tier: as in `rates`.
            after_us: changes later than this, microseconds since the epoch, UTC.
            until_us: and not later than this.
        """
        return tuple(
            Change(at_us=new.from_us, before=old.base, after=new.base)
            for old, new in pairwise(reversed(self._find(model, tier)))
            if after_us < new.from_us <= until_us
        )

    def _find(self, model: str, tier: str) -> tuple[_Price, ...]:
        name = model.removeprefix("models/").lower()
        entry = next((m for m in self._document["models"] if _matches(m, name)), None)
        prices = _prices(entry, tier) if entry is not None else ()
        if len(self._found) < _REMEMBERED_PAIRS:
            self._found[model, tier] = prices
        return prices


def canonical_bytes(document: Mapping[str, Any]) -> bytes:
    """The one way to write a card: sorted keys, one entry a line, UTF-8, a final newline."""
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def content_sha256(document: Mapping[str, Any]) -> str:
    """The hash of what decides a price: all of a card but its own hash and when it was exported."""
    content = {key: value for key, value in document.items() if key not in {"sha256", "exported_at"}}
    return hashlib.sha256(canonical_bytes(content)).hexdigest()


def _matches(entry: Mapping[str, Any], name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in entry["match"])


def _prices(entry: Mapping[str, Any], tier: str) -> tuple[_Price, ...]:
    """The prices of one tier, the newest first."""
    prices = [_price(entry["id"], raw) for raw in entry["prices"] if raw["tier"] == tier]
    prices.sort(key=lambda known: known.from_us, reverse=True)
    assert all(newer.from_us > older.from_us for newer, older in pairwise(prices)), entry["id"]
    return tuple(prices)


def _price(model: str, raw: Mapping[str, Any]) -> _Price:
    since = raw["from"]
    price_id = f"{model}/{raw['tier']}@{since or 'launch'}"
    from_us = _midnight_us(since) if since else 0
    over = raw.get("over")
    if over is None:
        return _Price(from_us=from_us, base=_rates(price_id, raw["rates"]))
    threshold = over["input_tokens"]
    return _Price(
        from_us=from_us,
        base=_rates(price_id, raw["rates"]),
        over_tokens=threshold,
        over=_rates(f"{price_id}/over-{threshold // 1000}k", over["rates"]),
    )


def _rates(price_id: str, raw: Mapping[str, str]) -> Rates:
    """Rates with every gap filled as the price page means it: an unlisted class costs what its plain class costs."""
    fresh, output = _fusd(raw["input"]), _fusd(raw["output"])
    cached = _fusd(raw["cached_input"]) if "cached_input" in raw else fresh
    audio = _fusd(raw["audio_input"]) if "audio_input" in raw else fresh
    # Where nothing is said about cached audio, cached is cached (no audio price), or not discounted at all (no cache
    # price).
    cached_audio = cached if "audio_input" not in raw else audio
    return Rates(
        price_id=price_id,
        fresh_input_fusd=fresh,
        cached_input_fusd=cached,
        audio_fresh_input_fusd=audio,
        audio_cached_input_fusd=_fusd(raw["audio_cached_input"]) if "audio_cached_input" in raw else cached_audio,
        output_fusd=output,
        image_output_fusd=_fusd(raw["image_output"]) if "image_output" in raw else output,
        video_output_fusd=_fusd(raw["video_output"]) if "video_output" in raw else output,
    )


def _fusd(usd_per_million: str) -> int:
    """US dollars for a million tokens -> femtodollars a token, whole or refused."""
    exact = Decimal(usd_per_million) * _FUSD_PER_RATE
    assert exact == int(exact) >= 0, usd_per_million
    return int(exact)


def _midnight_us(day: str) -> int:
    moment = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)
    return int(moment.timestamp()) * 1_000_000
