"""What did prices.json cost at a time? Read here once more, apart from the code that billed by it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from batcher.audit.findings import Findings

_FEMTO_A_MILLIONTH = Decimal(10) ** 9  # 1 US dollar a million tokens is 10⁹ femtodollars a token
_CLASSES = {
    "input": "input",
    "cached_input": "input",
    "audio_input": "input",
    "output": "output",
    "image_output": "output",
    "video_output": "output",
}
"""A class of tokens, and whose price it has where none of its own is listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Femtodollars a token by class, under the name that the ledger gives them."""

    price_id: str
    femto: Mapping[str, int]

    def most(self, input_tokens: int, output_tokens: int) -> Decimal:
        """The most that so many tokens can cost, in US dollars."""
        dearest = [
            max(cost for name, cost in self.femto.items() if name.endswith(side)) for side in ("input", "output")
        ]
        return Decimal(input_tokens * dearest[0] + output_tokens * dearest[1]).scaleb(-15)


@dataclass(frozen=True, slots=True)
class _Since:
    from_us: int
    base: Price
    over_tokens: int | None
    over: Price | None


class Rates:
    """The run's price list."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._models = document["models"]
        self._known: dict[tuple[str, str], list[_Since]] = {}

    def price(self, model: str, tier: str, at_us: int, input_tokens: int) -> Price | None:
        """The price of one request; None where the list has none."""
        key = model, tier
        if key not in self._known:
            if len(self._known) > 1000:  # a server may name as many models as it likes
                self._known.clear()
            self._known[key] = self._find(model, tier)
        for since in self._known[key]:
            if at_us >= since.from_us:
                is_over = since.over_tokens is not None and input_tokens > since.over_tokens
                return since.over if is_over else since.base
        return None

    def _find(self, model: str, tier: str) -> list[_Since]:
        name = model.removeprefix("models/").lower()
        for entry in self._models:
            if any(re.fullmatch(pattern, name) for pattern in entry["match"]):
                found = [_since(entry["id"], raw) for raw in entry["prices"] if raw["tier"] == tier]
                return sorted(found, key=lambda since: -since.from_us)
        return []


def read_rates(path: Path, findings: Findings, *, sha256: str | None) -> Rates | None:
    """Read prices.json, and compare it with what run.json says of it; None when it cannot be used."""
    try:
        content = path.read_bytes()
        document = json.loads(content)
        rates = Rates(document)
        rates.price("", "standard", 0, 0)
    except FileNotFoundError:
        findings.add("missing", path, "no such file", "the run's price list")
        return None
    except (OSError, ValueError, KeyError, TypeError, re.error) as error:
        findings.add("prices", path, f"{type(error).__name__}: {error}", "a price list")
        return None
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        findings.add("bytes", path, f"sha256 {found}", f"sha256 {sha256}")
        return None
    return rates


def _since(model: str, raw: Mapping[str, Any]) -> _Since:
    day, over = raw["from"], raw.get("over")
    price_id = f"{model}/{raw['tier']}@{day or 'launch'}"
    from_us = int(dt.datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) * 1_000_000 if day else 0
    base = Price(price_id=price_id, femto=_femto(raw["rates"]))
    if over is None:
        return _Since(from_us, base, None, None)
    most = over["input_tokens"]
    above = Price(price_id=f"{price_id}/over-{most // 1000}k", femto=_femto(over["rates"]))
    return _Since(from_us, base, most, above)


def _femto(listed: Mapping[str, str]) -> dict[str, int]:
    costs: dict[str, int] = {}
    for name, instead in _CLASSES.items():
        costs[name] = int(Decimal(listed[name if name in listed else instead]) * _FEMTO_A_MILLIONTH)
    # Cached audio without a price of its own: as cached text where audio has none either, else not discounted.
    instead_of = "audio_input" if "audio_input" in listed else "cached_input"
    own = listed.get("audio_cached_input")
    costs["audio_cached_input"] = int(Decimal(own) * _FEMTO_A_MILLIONTH) if own is not None else costs[instead_of]
    return costs
