"""How many examples has a law whose every example takes long? A part of what the profile gives the others.

`pytest --hypothesis-profile=thorough` gives ten times as many to all that do not name a number.
"""

from __future__ import annotations

from hypothesis import settings

a_few = settings(max_examples=settings().max_examples * 3 // 10)
