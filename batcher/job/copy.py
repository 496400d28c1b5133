"""How does a ready job become the user's own? Its folder is copied, under another name if one is given."""

from __future__ import annotations

import difflib
import re
import shlex
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batcher.errors import JobError, StorageError
from batcher.job.find import FIRST_JOB, JOB_FILE, packaged_jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A job that comes with the package.

    Attributes:
        about: the first line of its file.
        model: the one it asks.
        needs: packages that hold its input, as pip names them.
    """

    name: str
    about: str
    model: str
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What was made.

    Attributes:
        folder: as the user would type it.
        files: its files, relative to it.
    """

    job: Ready
    folder: Path
    files: tuple[str, ...]


def ready_jobs() -> tuple[Ready, ...]:
    """The jobs that can be copied, by name."""
    return tuple(_ready(name, path) for name, path in packaged_jobs().items())


def copy_job(name: str, folder: Path) -> Copied:
    """Copy a ready job; nothing is ever overwritten.

    The copy is called after its folder, and its own comments name it where it lies.

    Args:
        name: of a packaged job.
        folder: made by this; it may be there, but empty.

    Raises:
        JobError: there is no such job, or something is in the folder already.
        StorageError: it cannot be written.
    """
    packaged = packaged_jobs()
    if name not in packaged:
        raise _unknown(name, packaged)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise JobError(f"{folder}: is there already; nothing was copied", hint=f"batcher init {name} -o ANOTHER_FOLDER")
    is_new = not folder.exists()
    try:
        shutil.copytree(
            packaged[name].parent,
            folder,
            ignore=shutil.ignore_patterns("__pycache__", ".*"),
            dirs_exist_ok=not is_new,  # somebody may make it between the look and this: then it is refused
        )
        _rename(folder / JOB_FILE, name, folder)
    except OSError as error:
        if is_new and not isinstance(error, FileExistsError):
            shutil.rmtree(folder, ignore_errors=True)
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}") from None
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return Copied(job=_ready(name, folder / JOB_FILE), folder=folder, files=tuple(files))


def _rename(file: Path, name: str, folder: Path) -> None:
    text = file.read_text("utf-8").replace(f"jobs/{name}/{JOB_FILE}", shlex.quote(str(folder / JOB_FILE)))
    called = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.absolute().name).strip("._-") or name
    text = re.sub(rf"\bout/{re.escape(name)}\b", f"out/{called}", text)
    text = re.sub(rf'^name = "{re.escape(name)}"', f'name = "{called}"', text, count=1, flags=re.MULTILINE)
    file.write_text(text, "utf-8")


def _ready(name: str, path: Path) -> Ready:
    text = path.read_text("utf-8")
    document = tomllib.loads(text)
    about = text.splitlines()[0].lstrip("# ").strip() if text.startswith("#") else ""
    return Ready(name=name, about=about, model=str(document.get("model", "")), needs=_needs(document))


def _needs(document: Mapping[str, object]) -> tuple[str, ...]:
    source = document.get("input")
    if not isinstance(source, Mapping):
        return ()
    named = (str(each) for each in (*source.get("files", ()), source.get("media_root")))
    return tuple(each.removeprefix("pypi:").partition("/")[0] for each in named if each.startswith("pypi:"))


def _unknown(name: str, packaged: Mapping[str, Path]) -> JobError:
    near = difflib.get_close_matches(name, packaged, n=1)
    meant = f"; did you mean {near[0]}?" if near else f"; ready jobs: {', '.join(packaged) or 'none'}"
    first = near[0] if near else FIRST_JOB
    return JobError(
        f"no ready job is called {name!r}{meant}", hint=f"to call yours so: batcher init {name} --from {first}"
    )
