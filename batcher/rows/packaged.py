"""Which file or folder of an installed package is meant? `pypi:PACKAGE==VERSION/path/in/package` to a path on disk."""

from __future__ import annotations

import difflib
import importlib.metadata
import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from batcher.errors import InputError

_PREFIX = "pypi:"
_NAMED = re.compile(rf"{_PREFIX}(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^/]+)/(?P<path>.+)")


def is_packaged(named: str) -> bool:
    """Whether a name is that of something in a package, well written or not."""
    return named.startswith(_PREFIX)


def packaged_file(named: str) -> Path:
    """Resolve the name of a file, for `input.files`.

    Raises:
        InputError: no such package, another version of it, or no such file among those that it brought.
    """
    package, inside = _package(named, "input.files")
    # Only what the package brought: a path with `..` could name any file of the machine.
    contents = [str(file) for file in package.files or ()]
    path = Path(str(package.locate_file(inside)))
    if not path.is_file() or inside not in contents:
        raise _nothing(named, package, inside, contents)
    return path


def packaged_folder(named: str) -> Path:
    """Resolve the name of a folder, for `input.media_root`.

    Raises:
        InputError: no such package, another version of it, or no folder of that name that it brought files into.
    """
    package, inside = _package(named, "input.media_root")
    # Its own folders only. The files of a package may name `../../bin/x`, so that `..` is no proof of being one.
    folders = {parent for file in package.files or () if ".." not in file.parts for parent in file.parents}
    known = {str(folder) for folder in folders} - {"."}
    folder = str(PurePosixPath(inside))
    path = Path(str(package.locate_file(folder)))
    if not path.is_dir() or folder not in known:
        raise _nothing(named, package, inside, known)
    return path


def _package(named: str, setting: str) -> tuple[importlib.metadata.Distribution, str]:
    """The package in the version that is named, and the path in it."""
    match = _NAMED.fullmatch(named)
    if match is None:
        raise InputError(f"{setting}: found {named!r}, wanted pypi:PACKAGE==VERSION/path/in/package")
    name, version = match["name"], match["version"]
    install = f"python -m pip install {name}=={version}"
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"{named}: the package {name} is not installed", hint=install) from None
    if package.version != version:
        raise InputError(f"{named}: {name} {package.version} is installed, wanted {version}", hint=install)
    return package, match["path"]


def _nothing(
    named: str, package: importlib.metadata.Distribution, inside: str, contents: Collection[str]
) -> InputError:
    close = difflib.get_close_matches(inside, contents, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    name = _NAMED.sub(r"\g<name>", named)
    return InputError(f"{named}: no {inside} in {name} {package.version}{meant}")
