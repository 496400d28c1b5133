"""Does an answer hold the JSON that was asked for? A judgement on its text; what fits is for the schema to say.

Only the first candidate is judged: `response`, `finish_reason` and `status` are its, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import orjson

from batcher.gemini.excerpts import one_line
from batcher.gemini.verdict import Verdict
from batcher.records import Answer, Billed, Kind

Violation = Callable[[Any], str | None]
"""Says where a value first breaks the schema and how; None when it satisfies it."""

_FENCED = re.compile(r"\s*```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL | re.IGNORECASE)
# So many digits may be an integer beyond 64 bits, which orjson reads as a float. Searched for as zeros: a seventh of
# what a regular expression takes.
_LONG_NUMBER = b"0" * 19
_DIGITS_TO_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)


def judge_json(answer: Answer, violation: Violation, *, most: int, fenced: bool) -> Verdict | None:
    """Judge an answer that is in order by everything else.

    Args:
        answer: with its candidates.
        violation: see there.
        most: answers of one task that may be invalid before its row is.
        fenced: whether one code fence around the JSON is taken off, as models write it whom nothing but the prompt
            asks for JSON.

    Returns:
        None when its text is JSON that satisfies the schema. Else `invalid_json` or `schema_mismatch`: the answer is
        paid for, and the row is asked again at once, as nothing was wrong with the endpoint.
    """
    text = answer.candidates[0].text if answer.candidates else None
    if text is None:
        return _invalid("invalid_json", "no JSON: the answer has no text", most)
    try:
        value = orjson.loads(_unfenced(text) if fenced else text)
    except orjson.JSONDecodeError as error:
        hint = "; it stands in a code fence" if not fenced and _FENCED.fullmatch(text) else ""
        return _invalid("invalid_json", f"not JSON: {error}{hint}", most)
    found = violation(value)
    return None if found is None else _invalid("schema_mismatch", found, most)


def canonical_json(text: str) -> str:
    """Spell JSON in one way: no blanks, keys sorted, so that equal answers are equal texts.

    Args:
        text: JSON, perhaps in a code fence. What is nested deeper than JSON writers go is kept as it is.
    """
    bare = _unfenced(text)
    try:
        if _LONG_NUMBER in bare.encode().translate(_DIGITS_TO_ZEROS):
            return json.dumps(json.loads(bare), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return orjson.dumps(orjson.loads(bare), option=orjson.OPT_SORT_KEYS).decode()
    except (ValueError, TypeError, RecursionError):  # orjson's own errors are the first two
        return bare.strip()


def _unfenced(text: str) -> str:
    found = _FENCED.fullmatch(text)
    return found[1] if found else text


def _invalid(reason: str, message: str, most: int) -> Verdict:
    return Verdict(
        kind=Kind.INVALID,
        reason=reason,
        billed=Billed.YES,
        wait_s=0.0,
        counted=False,
        most=most,
        message=one_line(message),
    )
