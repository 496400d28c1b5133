"""Is everything in a run directory as it says it is? Nothing is changed, whoever has it open."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from batcher.audit.block import Frame
from batcher.audit.findings import Audited, Findings, Proved
from batcher.audit.listing import Listing, is_run, listed
from batcher.audit.manifest import Facts, read_manifest
from batcher.audit.rates import read_rates
from batcher.audit.state import audit_state
from batcher.audit.walk import Walk
from batcher.audit.wholefile import open_whole
from batcher.errors import UserError

Progress = Callable[[int, int], None]
"""Told how many parts of so many have been looked at."""


def audit(out: Path, progress: Progress = lambda _, __: None) -> Audited:
    """Prove what a run directory says, finished or not.

    Raises:
        UserError: the folder is no run directory.
    """
    if not is_run(out):
        raise UserError(f"{out}: not a run directory (it has no run.json)", hint="batcher run JOB.toml -o OUT")
    findings = Findings(out)
    finished = (out / "_SUCCESS").exists()  # before anything else: it comes last
    facts = read_manifest(out / "run.json", findings)
    listing = listed(out, None if facts is None else facts.blocks, findings)
    if facts is None:
        proved = _bytes_alone(listing, findings)
    else:
        proved = _all(out, facts, listing, findings, progress, finished=finished)
    return Audited(
        run_dir=str(out),
        tasks=None if facts is None else facts.tasks,
        is_finished=finished,
        proved=proved,
        findings=findings.told,
        counts=dict(findings.counts),
        notes=tuple(findings.notes),
        next_command=shlex.join(["batcher", "recover", str(out)]) if len(findings) else "",
    )


def _bytes_alone(listing: Listing, findings: Findings) -> Proved:
    findings.note("without run.json each file was looked at by itself, and nothing was compared")
    whole = [open_whole(path, findings, signed=False) for path in listing.all_files]
    return Proved(read_bytes=sum(file.size for file in whole if file is not None))


def _all(  # noqa: PLR0913
    out: Path, facts: Facts, listing: Listing, findings: Findings, progress: Progress, *, finished: bool
) -> Proved:
    rates = read_rates(out / "prices.json", findings, sha256=facts.prices_sha256)
    walk = Walk(facts, listing, Frame(samples=facts.samples, tier=facts.tier, rates=rates), findings)
    walk.anchor(out / "data")
    for seen, (no, path) in enumerate(sorted(listing.parts.items()), 1):
        walk.block(no, path)
        progress(seen, len(listing.parts))
    loose = [each for no, ledgers in sorted(listing.ledgers.items()) for each in walk.loose(no, ledgers)]
    seen_state = audit_state(facts, walk, loose, findings, finished=finished)
    if not seen_state.is_running:
        _check_end(out, facts, listing, walk, findings, finished=finished)
    return replace(walk.proved, waiting=seen_state.waiting, cost_usd=walk.totals.cost_usd)


def _check_end(  # noqa: PLR0913
    out: Path, facts: Facts, listing: Listing, walk: Walk, findings: Findings, *, finished: bool
) -> None:
    """A run that says it is finished has all parts, and says what they add up to."""
    missing = [no for no in range(1, facts.blocks + 1) if no not in listing.parts]
    says_done = finished or (facts.is_done and facts.totals is not None)
    if says_done and missing and (finished or _had_all(facts)):
        name = f"train-{missing[0]:05d}-of-{facts.blocks + 1:05d}.parquet"
        said = f"{len(missing):,} of {facts.blocks:,} parts are not there"
        findings.add("missing", out / "data" / name, said, "all parts of a finished run", times=len(missing))
    if finished and facts.totals is None:
        findings.add("manifest", out / "run.json", "no totals", "what the finished run came to")
    if finished and facts.totals is not None and walk.is_complete and not missing:
        for found, wanted in facts.totals.differences(walk.totals):
            findings.add("totals", out / "run.json", found, f"the sum of all rows: {wanted}")
    if not finished and not missing:
        findings.note("every task has its outcome; `_SUCCESS` is put there by the same command, once more")


def _had_all(facts: Facts) -> bool:
    return facts.totals is not None and sum(facts.totals.by_status.values()) == facts.tasks
