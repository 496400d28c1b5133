"""What does run.json say, and is it as it was written?"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import orjson

from batcher.audit.findings import Findings

_DIGEST = re.compile(rb'"blake2b": "([0-9a-f]{32})"\n\}\n\Z')
_ZEROS = b"0" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums as run.json, a footer or the journal has them, or as they come out of the rows."""

    by_status: Mapping[str, int]
    attempts: int
    throttled: int
    input: int
    output: int
    cached: int
    thinking: int
    cost_usd: Decimal
    wasted_usd: Decimal | None
    unpriced: int
    maybe_billed: int

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Totals:
        """From JSON.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        try:
            cost, wasted = Decimal(found["cost_usd"]), Decimal(found["wasted_usd"])
        except InvalidOperation as error:
            raise ValueError("not a number of dollars") from error
        tokens = found["tokens"]
        return cls(
            by_status={name: count for name, count in found["by_status"].items() if count},
            attempts=found["attempts"],
            throttled=found["throttled"],
            input=tokens["input"],
            output=tokens["output"],
            cached=tokens["cached"],
            thinking=tokens["thinking"],
            cost_usd=cost,
            wasted_usd=wasted,
            unpriced=found["unpriced"],
            maybe_billed=found["maybe_billed"],
        )

    def __add__(self, other: Totals) -> Totals:
        names = [*self.by_status, *(name for name in other.by_status if name not in self.by_status)]
        known = self.wasted_usd is not None and other.wasted_usd is not None
        return Totals(
            by_status={name: self.by_status.get(name, 0) + other.by_status.get(name, 0) for name in names},
            attempts=self.attempts + other.attempts,
            throttled=self.throttled + other.throttled,
            input=self.input + other.input,
            output=self.output + other.output,
            cached=self.cached + other.cached,
            thinking=self.thinking + other.thinking,
            cost_usd=self.cost_usd + other.cost_usd,
            wasted_usd=(self.wasted_usd or Decimal(0)) + (other.wasted_usd or Decimal(0)) if known else None,
            unpriced=self.unpriced + other.unpriced,
            maybe_billed=self.maybe_billed + other.maybe_billed,
        )

    def differences(self, wanted: Totals, but: Sequence[str] = ()) -> list[tuple[str, str]]:
        """(found, wanted) for each sum that differs, `but` these; what was wasted only where both know it."""
        pairs = []
        for name in Totals.__slots__:
            mine, theirs = getattr(self, name), getattr(wanted, name)
            if name not in but and mine != theirs and (name != "wasted_usd" or None not in (mine, theirs)):
                pairs.append((f"{name} {_plain(mine)}", f"{name} {_plain(theirs)}"))
        return pairs


NOTHING = Totals(
    by_status={},
    attempts=0,
    throttled=0,
    input=0,
    output=0,
    cached=0,
    thinking=0,
    cost_usd=Decimal(0),
    wasted_usd=Decimal(0),
    unpriced=0,
    maybe_billed=0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the audit takes from run.json.

    Attributes:
        is_signed: whether it is of a version whose files all carry digests.
        totals: of the last session that ended; None when none did.
        is_done: whether that session says that the run is finished.
        tier: the service tier that was asked for.
        state: the state folder.
    """

    run_id: str
    samples: int
    tasks: int
    blocks: int
    is_signed: bool
    prices_sha256: str | None
    totals: Totals | None
    is_done: bool
    tier: str | None
    state: Path


def read_manifest(path: Path, findings: Findings) -> Facts | None:
    """Read run.json; None when it says too little to go by."""
    try:
        content = path.read_bytes()
        document = orjson.loads(content)
        facts = _facts(document, path.parent)
    except FileNotFoundError:
        findings.add("missing", path, "no such file", "the run's manifest")
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        findings.add("manifest", path, f"{type(error).__name__}: {error}", "a run's manifest")
        return None
    mark = _DIGEST.search(content)
    if mark is not None:
        found = hashlib.blake2b(content[: mark.start(1)] + _ZEROS + content[mark.end(1) :], digest_size=16)
        if found.hexdigest().encode() != mark[1]:
            findings.add("bytes", path, f"blake2b {found.hexdigest()}", f"blake2b {mark[1].decode()}")
    elif facts.is_signed:
        findings.add("bytes", path, "no blake2b at its end", "the digest that it was written with")
    if facts.tasks != document["rows"] * facts.samples:
        said = f"{facts.tasks} tasks of {document['rows']} rows and {facts.samples} samples"
        findings.add("manifest", path, said, f"{document['rows'] * facts.samples} tasks")
    return facts


def _facts(document: Mapping[str, Any], out: Path) -> Facts:
    summary = document.get("summary")
    totals = None if summary is None else Totals.read(summary["totals"])
    state_dir = document["job"]["output"].get("state_dir")
    if not isinstance(document["rows"], int) or document["samples"] < 1:
        raise TypeError("rows and samples are no counts")
    return Facts(
        run_id=document["run_id"],
        samples=document["samples"],
        tasks=document["tasks"],
        blocks=document["blocks"],
        is_signed="prices_sha256" in document,
        prices_sha256=document.get("prices_sha256"),
        totals=totals,
        is_done=summary is not None and summary["exit_code"] in (0, 1),
        tier=document["job"].get("request", {}).get("service_tier"),
        state=Path(state_dir) if state_dir else out / ".state",
    )


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return ", ".join(f"{n} {name}" for name, n in value.items()) or "none" if isinstance(value, dict) else str(value)
