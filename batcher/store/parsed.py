"""What JSON did the answers hold? Columns of a run whose job has a schema for its answers.

What was `ok` has been held against the schema when it came, so nothing is validated here.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from batcher.gemini.structured import canonical_json
from batcher.records import Status

# A row that failed or was blocked has no answer that could be valid or not: null.
_VALID = {Status.OK: True, Status.INVALID: False, Status.TRUNCATED: False}


def parsed(statuses: Sequence[Status], responses: Sequence[str | None]) -> pa.Array:
    """The answers that satisfy the schema, in one spelling; null for the others."""
    texts = [
        canonical_json(text) if status is Status.OK and text is not None else None
        for status, text in zip(statuses, responses, strict=True)
    ]
    return pa.array(texts, pa.large_string())


def schema_valid(statuses: Sequence[Status]) -> pa.Array:
    """Whether each answer satisfies the schema; null where there is none."""
    return pa.array([_VALID.get(status) for status in statuses], pa.bool_())
