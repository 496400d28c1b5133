"""Which JSON Schema does `[output] schema` name? A file, or a model or dict of the user's own module."""

from __future__ import annotations

import difflib
import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
from pydantic import BaseModel, TypeAdapter

from batcher.job.complaints import shown

_IMPORTED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", re.ASCII)


def is_module(named: str) -> bool:
    """Say whether a setting names something to import, `module:Model`, and not a file."""
    return _IMPORTED.fullmatch(named) is not None


def schema_of_file(file: Path) -> dict[str, Any]:
    """Read a schema from a JSON file. Whether it is a valid one, `prompts/schema.py` says.

    Raises:
        ValueError: what is wrong with the file, in one line.
    """
    try:
        found = orjson.loads(file.read_bytes())
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{file}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file}: found {shown(found)}, wanted a JSON Schema: an object")  # noqa: TRY004  told alike
    return found


def schema_of_module(named: str, folder: Path) -> dict[str, Any]:
    """Import `module:Model` and give its schema. This runs the user's own code.

    Args:
        named: `module:Model`; the model is a pydantic model class, a `TypeAdapter` or a dict.
        folder: where the module is looked for before the import path.

    Raises:
        ValueError: what is wrong with it, in one line.
    """
    module_name, _, name = named.partition(":")
    with _importing(module_name.partition(".")[0], folder):
        return _schema_of(_attribute(_imported(module_name, folder), name), named)


@contextmanager
def _importing(package: str, folder: Path) -> Iterator[None]:
    """Look into `folder` first, and leave no trace: the package is forgotten, since its schema is all that is kept.

    The next job may have another one of that name, or this one may have been edited.
    """
    known, path, writes_none = set(sys.modules), [*sys.path], sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = writes_none
        for name in sys.modules.keys() - known:
            if name.partition(".")[0] == package:
                del sys.modules[name]


def _imported(name: str, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ValueError(f"no module {name!r} in {folder} or on Python's path") from None
        raise _broken(name, error) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001  the user's code may raise anything
        raise _broken(name, error) from None


def _broken(name: str, error: BaseException) -> ValueError:
    return ValueError(f"module {name!r} cannot be imported: {_one_line(error)}")


def _attribute(module: ModuleType, name: str) -> object:
    names = [each for each in vars(module) if not each.startswith("_")]
    if name in vars(module):
        return vars(module)[name]
    near = difflib.get_close_matches(name, names, n=1)
    # Its file, because another module of that name may have come first.
    where = getattr(module, "__file__", None) or "built in"
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"module {module.__name__!r} ({where}) has no {name!r}{meant}")


def _schema_of(found: object, named: str) -> dict[str, Any]:
    try:
        if isinstance(found, type) and issubclass(found, BaseModel):
            found = found.model_json_schema()
        elif isinstance(found, TypeAdapter):
            found = found.json_schema()
    except Exception as error:  # noqa: BLE001  types may bring code of their own for their schema
        raise ValueError(f"{named}: has no JSON Schema: {_one_line(error)}") from None
    if not isinstance(found, Mapping):
        what = f"the class {found.__name__}" if isinstance(found, type) else f"a value of type {type(found).__name__}"
        raise ValueError(f"{named}: found {what}, wanted a pydantic model or a dict")  # noqa: TRY004  told alike
    try:
        plain: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{named}: not JSON: {_one_line(error)}") from None
    return plain


def _one_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
