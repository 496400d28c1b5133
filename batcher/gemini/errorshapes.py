"""Which error object does a body hold, whoever wrote it: Google, a proxy in OpenAI's shape, a web framework?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def error_of(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find and normalise the error of a body.

    Args:
        data: a reply's JSON object.

    Returns:
        `{"code": int | None, "message": str, "status": str | None, "details": [mapping, ...]}`, or None without an
        error. OpenAI's shape has no status: its worded `code` or its `type` stands there instead.
    """
    error = data.get("error")
    if isinstance(error, dict) and error:
        return _from_object(error)
    if isinstance(error, str) and error:
        return _from_object({**data, "message": _worded(data.get("message")) or error})
    if error:
        return _from_object({"message": str(error)})
    if "detail" in data:
        return _from_object({"message": _from_detail(data["detail"])})
    if isinstance(data.get("message"), str):
        return _from_object(data)
    return None


def _from_object(error: Mapping[str, Any]) -> dict[str, Any]:
    code = error.get("code")
    details = error.get("details")
    return {
        "code": _number(code),
        "message": _worded(error.get("message")) or "",
        "status": _worded(error.get("status")) or _worded(code) or _worded(error.get("type")),
        "details": [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else [],
    }


def _from_detail(detail: Any) -> str:
    """Read a web framework's `detail`: a text, or a list of what was wrong with each field."""
    if isinstance(detail, dict):
        return _worded(detail.get("message")) or _worded(detail.get("error")) or str(detail)
    if not isinstance(detail, list):
        return str(detail)
    return "; ".join(_from_complaint(item) for item in detail)


def _from_complaint(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    place = item.get("loc")
    where = ".".join(str(step) for step in place) if isinstance(place, list) else ""
    return f"{where}: {item.get('msg')}" if where else str(item.get("msg"))


def _number(code: Any) -> int | None:
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) < 10:
        return int(code)
    return code if type(code) is int else None


def _worded(value: Any) -> str | None:
    return value if isinstance(value, str) and value and not value.isdigit() else None
