"""Strategies: requests as users write them."""

from __future__ import annotations

from hypothesis import strategies as st

texts = st.text(max_size=12)
user_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["userId", "user_id", "x"]), inner),
    max_leaves=4,
)
user_objects = st.dictionaries(st.sampled_from(["userId", "user_id", "Own", "text"]), user_json, max_size=3)
parts = st.one_of(
    st.fixed_dictionaries({"text": texts}, optional={"thought": st.booleans(), "partMetadata": user_objects}),
    st.fixed_dictionaries({"functionCall": st.fixed_dictionaries({"name": texts, "args": user_objects})}),
    st.fixed_dictionaries({"function_response": st.fixed_dictionaries({"name": texts, "response": user_objects})}),
    st.fixed_dictionaries({"inlineData": st.fixed_dictionaries({"mime_type": st.just("image/png"), "data": texts})}),
)
contents = st.fixed_dictionaries(
    {"parts": st.lists(parts, max_size=3)}, optional={"role": st.sampled_from(["user", "model", None])}
)
schemas = st.fixed_dictionaries(
    {"type": st.just("OBJECT")},
    optional={
        "properties": st.dictionaries(
            st.sampled_from(["firstName", "last_name"]),
            st.fixed_dictionaries({"type": st.just("STRING"), "maxLength": st.just(3)}),
        ),
        "propertyOrdering": st.lists(texts, max_size=2),
    },
)
settings = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2) | st.none(),
        "topP": st.floats(0, 1),
        "max_output_tokens": st.integers(1, 65_536),
        "stopSequences": st.lists(texts, max_size=2),
        "responseSchema": schemas,
        "response_json_schema": user_objects,
        "thinkingConfig": st.fixed_dictionaries({"includeThoughts": st.booleans()}),
    },
)
bases = st.fixed_dictionaries(
    {},
    optional={
        "systemInstruction": st.fixed_dictionaries({"parts": st.lists(parts, max_size=2)}),
        "generationConfig": settings,
        "tools": st.lists(
            st.fixed_dictionaries(
                {"function_declarations": st.lists(st.fixed_dictionaries({"name": texts, "parameters": schemas}))}
            ),
            max_size=1,
        ),
        "safetySettings": st.lists(st.fixed_dictionaries({"category": texts, "threshold": texts}), max_size=2),
        "labels": user_objects,
        "cachedContent": texts,
        "serviceTier": st.just("flex"),
    },
)
requests = st.builds(lambda base, asked: {**base, "contents": asked}, bases, st.lists(contents, min_size=1, max_size=3))
