"""What is a count in JSON that nobody vouches for?"""

from __future__ import annotations

import re
from typing import Any

# The largest number of tokens, bytes or seconds we believe; above it a count is damage. Fits every column's int64.
MAX_COUNT = 10**12
_DIGITS = re.compile(r"[0-9]{1,13}")


def count(value: Any) -> int | None:
    """Read a count given as a number or, as proto3 writes 64 bits, as text; None for whatever is none."""
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if type(value) is str and _DIGITS.fullmatch(value):
        return count(int(value))
    return count(int(value)) if type(value) is float and value.is_integer() else None
