"""Which files of a folder are its rows? Shards as dataset hubs name them, else everything that can be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from batcher.errors import InputError

_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.\w+(?:\.\w+)?")
_TEXT = (".txt", ".text")


def data_files(folder: Path, name: str, *, is_known: Callable[[Path], bool], known: Sequence[str]) -> list[Path]:
    """Give the data files of a folder, or of its `data/`, in the order of their rows; not the hidden ones.

    Where files are named as shards (`train-00000-of-00003.parquet`), only those are rows: beside them lie descriptions.

    Args:
        folder: there.
        name: for messages.
        is_known: whether a file's name says a format.
        known: the endings that do, for messages.

    Raises:
        InputError: there are none, a shard is missing, or there is more than one split.
    """
    places = [_visible(folder), _visible(folder / "data")]
    for files, place in zip(places, (name, f"{name}/data"), strict=True):
        if shards := [path for path in files if _SHARD.fullmatch(path.name) and is_known(path)]:
            return _complete(shards, place)
    if any(path.suffix == ".arrow" for files in places for path in files):
        raise InputError(
            f"{name}: was written by save_to_disk, wanted Parquet",
            hint=f"in Python: datasets.load_from_disk({name!r}).to_parquet({f'{folder.name}.parquet'!r})",
        )
    for files in places:
        if found := [path for path in files if is_known(path)]:
            # A text among data is its description.
            return [path for path in found if path.suffix.lower() not in _TEXT] or found
    raise InputError(f"{name}: no input files in this folder; wanted {', '.join(known)}, each also as .gz or .zst")


def natural(name: str) -> list[tuple[int, str]]:
    """Order shard-2 before shard-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _visible(folder: Path) -> list[Path]:
    entries = (entry for entry in folder.glob("*") if entry.is_file() and entry.name[0] not in "._")
    return sorted(entries, key=lambda entry: natural(entry.name))


def _complete(shards: Sequence[Path], name: str) -> list[Path]:
    matches = [found for path in shards if (found := _SHARD.fullmatch(path.name)) is not None]
    splits = list(dict.fromkeys(found["split"] for found in matches))
    if len(splits) > 1:
        flags = [f"-i '{name}/{split}-*'" for split in splits]
        raise InputError(f"{name}: has the splits {', '.join(splits)}; say which", hint=" or ".join(flags))
    counts = {int(found["count"]) for found in matches}
    missing = sorted(set(range(max(counts))) - {int(found["number"]) for found in matches})
    if missing or len(counts) > 1:
        raise InputError(
            f"{name}: {len(shards)} shards are here, wanted {max(counts)}{_named(missing)}",
            hint=f"-i '{name}/{splits[0]}-*' reads what is here all the same",
        )
    return list(shards)


def _named(missing: Iterable[int]) -> str:
    first = next(iter(missing), None)
    return "; they are of different sets" if first is None else f"; the first that is missing is {first:05d}"
