"""What does a file say of its columns to `datasets`? Which of them are pictures, sounds, documents or class labels.

`datasets` keeps this beside the Arrow types, under the key `huggingface` of a schema's metadata, and believes it where
the type is exactly the one that it would have written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pyarrow as pa

KEY = b"huggingface"
MEDIUM = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How `datasets` stores a picture, a sound, a video or a document."""
IMAGES = pa.list_(MEDIUM)

_KEPT = frozenset({"Image", "Audio", "Video", "Pdf", "ClassLabel"})
_LISTS = frozenset({"List", "Sequence", "LargeList"})
_PICTURES = frozenset({"image", "images"})
_IMAGE = {"_type": "Image"}
IMAGES_FEATURE = {"feature": _IMAGE, "_type": "Sequence"}  # `datasets` before 4 has no `List`; later ones read both


def features_in(schema: pa.Schema) -> dict[str, Any]:
    """Read what a file says of its columns; columns of plain values are left out, and so is what nobody can read.

    Returns:
        Column -> feature, as `datasets` writes it.
    """
    try:
        told = orjson.loads((schema.metadata or {}).get(KEY, b"{}"))["info"]["features"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return {}
    return {name: feature for name, feature in told.items() if _is_kept(feature)} if isinstance(told, dict) else {}


def _is_kept(feature: Any) -> bool:
    if isinstance(feature, list):
        return len(feature) == 1 and _is_kept(feature[0])
    if not isinstance(feature, dict):
        return False
    kind = feature.get("_type")
    return _is_kept(feature.get("feature")) if kind in _LISTS else kind in _KEPT


def feature_of(name: str, kind: pa.DataType) -> Any:
    """Tell by its name and type what a column is of which its file says nothing; None for plain values."""
    if name not in _PICTURES:
        return None
    if kind == MEDIUM:
        return _IMAGE
    return IMAGES_FEATURE if kind == IMAGES else None


def metadata_of(features: Mapping[str, Any]) -> dict[bytes, bytes] | None:
    """Write the metadata that makes `datasets` decode these columns; None where there are none."""
    return {KEY: orjson.dumps({"info": {"features": features}})} if features else None


def is_medium(kind: pa.DataType) -> bool:
    """Say whether a struct is a medium as `datasets` stores it, whichever of Arrow's types of text and bytes it has.

    One of the two may have no type: a table that was made of rows without paths, or without bytes.
    """
    if [field.name for field in kind] != ["bytes", "path"]:
        return False
    data, path = kind.field("bytes").type, kind.field("path").type
    nothing = pa.types.is_null
    return bool((_is_bytes(data) and (_is_text(path) or nothing(path))) or (nothing(data) and _is_text(path)))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
