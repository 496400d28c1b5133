"""What could stand in a user's file, or come back: hypothesis strategies for the tests of all rooms."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from batcher.records import Reply
from tests.builders import a_reply

INT64_MAX = 2**63 - 1

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
"""Text that JSON can carry: anything but lone surrogates, line separators and NUL included."""

int64s = st.integers(-(2**63), INT64_MAX)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | int64s | floats | texts

json_values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)

column_names = st.sampled_from(("id", "prompt", "lang", "score", "meta", "status", "größe"))
json_rows = st.dictionaries(column_names, json_values, max_size=5)
"""A row of a JSON-lines file: any columns, any types."""

typed_rows = st.fixed_dictionaries(
    {},
    optional={"flag": st.booleans(), "count": int64s, "score": floats, "lang": texts, "nothing": st.none()},
)
"""Rows whose columns each keep one type."""

prompts = texts.filter(lambda text: bool(text) and not text.isspace())
prompt_rows = st.fixed_dictionaries({"prompt": prompts}, optional={"id": texts, "lang": texts})

token_counts = st.none() | st.integers(0, 2**31 - 1)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    """A 200 whose usage may lack any count."""
    names = ("promptTokenCount", "candidatesTokenCount", "totalTokenCount", "thoughtsTokenCount")
    return a_reply(draw(st.none() | texts), **{name: draw(token_counts) for name in names})
