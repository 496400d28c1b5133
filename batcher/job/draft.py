"""Which layer said what? A job under construction: the job file first, then environment and flags written over it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batcher.errors import JobError
from batcher.job import lines
from batcher.job.complaints import said
from batcher.job.find import find_job

# Two spellings of one setting: whoever says one of them on a higher layer takes the other one back.
_RIVALS: Mapping[tuple[str, ...], tuple[str, str]] = {
    ("input", "files"): ("input", "sha256"),  # it was the sum of the other files
    ("prompt", "template"): ("prompt", "template_file"),
    ("prompt", "template_file"): ("prompt", "template"),
    ("prompt", "system"): ("prompt", "system_file"),
    ("prompt", "system_file"): ("prompt", "system"),
    ("endpoint", "key_file"): ("endpoint", "key_command"),
    ("endpoint", "key_command"): ("endpoint", "key_file"),
}


@dataclass(slots=True, kw_only=True)
class Draft:
    """The layers written over each other so far; it lives only while one job is loaded.

    Attributes:
        origin: how a message names the job file.
        folder, cwd: absolute.
        document: what will be validated.
        sources: path -> who said it last.
        wrong: complaints, one line each.
    """

    origin: str
    folder: Path
    cwd: Path
    document: dict[str, Any]
    sources: dict[lines.Path, str]
    wrong: list[str]

    def place(self, path: lines.Path) -> str:
        """Give the place of a setting, or of the nearest thing around it that somebody wrote."""
        while path:
            if path in self.sources:
                return self.sources[path]
            path = path[:-1]
        return self.origin

    def set(self, path: tuple[str, ...], value: object, source: str) -> None:
        """Write one setting over what lower layers said."""
        several = self.document.get("endpoint")
        if path[0] == "endpoint" and len(path) > 1 and isinstance(several, list):
            self._set_one(several, path, value, source)
            return
        node = self.document
        for name in path[:-1]:
            inner = node.get(name)
            if not isinstance(inner, dict):
                inner = node[name] = {}
            node = inner
        node[path[-1]] = value
        for depth in range(min(2, len(path)), len(path) + 1):
            self.sources[path[:depth]] = source
        self._take_back(path)

    def _set_one(self, several: list[Any], path: tuple[str, ...], value: object, source: str) -> None:
        """Write a setting of one endpoint of several, `endpoint.2.weight`; which one has to be said."""
        if not path[1].isdecimal() or not 1 <= int(path[1]) <= len(several) or len(path) < 3:
            one = f"endpoint.1.{path[-1]}" if not path[1].isdecimal() else "endpoint.1.…"
            self.wrong.append(f"{source}: the job has {len(several)} endpoints; wanted one of them: --set {one}=…")
            return
        at = int(path[1]) - 1
        node = several[at]
        for name in path[2:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = value
        for depth in range(2, len(path) + 1):
            self.sources[("endpoint", at, *path[2:depth])] = source

    def _take_back(self, path: tuple[str, ...]) -> None:
        if (rival := _RIVALS.get(path)) is not None:
            self.document[rival[0]].pop(rival[1], None)
            self.sources.pop(rival, None)

    def complain(self, path: lines.Path, what: str) -> None:
        """Note what is wrong with one setting."""
        self.wrong.append(said(self.place(path), path, what))

    def path_of(self, path: lines.Path, text: str) -> Path:
        """Make a path absolute: against the job's folder, or where the command runs when a flag names it."""
        base = self.cwd if self.place(path).startswith("flag ") else self.folder
        return base / Path(text).expanduser()

    def stop_if_wrong(self) -> None:
        """Say everything that is wrong at once."""
        if self.wrong:
            raise JobError("\n".join(sorted(dict.fromkeys(self.wrong), key=_line)))


def read_draft(path: Path | None) -> Draft:
    """Read the first layer: the job file, or nothing when the job is made of flags alone.

    Raises:
        JobError: there is no such file, or it is not TOML; with the line.
    """
    cwd = Path.cwd()
    if path is None:
        return Draft(origin="command line", folder=cwd, cwd=cwd, document={}, sources={}, wrong=[])
    file = find_job(path)
    try:
        text = file.read_text("utf-8-sig")
        document = tomllib.loads(text)
    except OSError as error:
        raise JobError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise JobError(f"{file}: not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise JobError(_not_toml(file, str(error))) from None
    sources = {at: f"{file}:{line}" for at, line in lines.lines_of(text).items()}
    folder = (cwd / file).parent
    return Draft(origin=str(file), folder=folder, cwd=cwd, document=document, sources=sources, wrong=[])


def _line(complaint: str) -> int:
    """Order complaints as the file reads; what has no line comes first."""
    found = re.match(r"[^:]+:(\d+): ", complaint)
    return int(found[1]) if found else 0


def _not_toml(file: Path, message: str) -> str:
    """Move the line number that tomllib puts last to where editors look for it."""
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message)
    if found is None:
        return f"{file}: not TOML: {message}"
    where = f":{found[2]}:{found[3]}" if found[2] else ""
    return (
        f"{file}{where}: not TOML: {found[1][:1].lower()}{found[1][1:]}{'' if found[2] else ' at the end of the file'}"
    )
