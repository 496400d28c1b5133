"""Which tasks does each block have? As the plan's index in the state folder says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import orjson

from batcher.audit.findings import Findings

_MAGIC = b"batcher-index 2\n"
_DIGEST_BYTES = 16


def read_ranges(path: Path, samples: int, findings: Findings) -> Sequence[range] | None:
    """The tasks of each block in order; None when the index cannot be relied on."""
    try:
        content = path.read_bytes()
        payload = content[len(_MAGIC) + _DIGEST_BYTES :]
        digest = content[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES]
        if not content.startswith(_MAGIC) or hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest() != digest:
            findings.add("bytes", path, "it does not fit its checksum", "the plan's index")
            return None
        document = orjson.loads(payload)
        rows = iter(document["extents"][5])
        tasks = [sum(next(rows) for _ in range(extents)) * samples for extents in document["blocks"]]
    except FileNotFoundError:
        findings.add("missing", path, "no such file", "the plan's index")
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
        findings.add("bytes", path, f"{type(error).__name__}: {error}", "the plan's index")
        return None
    return [range(first, stop) for first, stop in pairwise(accumulate(tasks, initial=0))]
