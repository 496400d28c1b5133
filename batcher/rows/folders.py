"""Which files of a folder are its rows? Shards as dataset hubs name them, else everything that can be read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from batcher.errors import InputError

_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.\w+(?:\.\w+)?")
# The words that `datasets` knows a split by; here only where a name begins with one.
_SPLIT = re.compile(r"(train|test|validation|valid|val|dev|eval)(?![a-z])", re.IGNORECASE)
# What `datasets` writes beside the data.
_DESCRIPTIONS = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
_TEXT = ".txt"
_MOST_FOLDERS = 4


def data_files(folder: Path, name: str, *, is_known: Callable[[Path], bool], known: Sequence[str]) -> list[Path]:
    """Give the data files of a folder, or of its `data/`, in the order of their rows; not the hidden ones.

    Where files are named as shards (`train-00000-of-00003.parquet`), only those are rows: beside them lie descriptions.
    Of train and test only one can be meant.

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
    for files, place in zip(places, (name, f"{name}/data"), strict=True):
        if found := [path for path in files if is_known(path)]:
            # A text among data is its description.
            return _one_split([path for path in found if path.suffix.lower() != _TEXT] or found, place)
    raise _nothing(folder, name, is_known, known)


def _nothing(folder: Path, name: str, is_known: Callable[[Path], bool], known: Sequence[str]) -> InputError:
    """Say that there are no rows, or that they lie in folders beneath, as the configurations of a dataset do."""
    beneath = (path.parent for depth in ("*/*", "*/*/*") for path in folder.glob(depth) if is_known(path))
    if places := sorted({str(place.relative_to(folder)) for place in beneath if not _is_hidden(place, folder)}):
        flags = [f"-i {shlex.quote(f'{name}/{place}')}" for place in places[:_MOST_FOLDERS]]
        more = f" (and {len(places) - _MOST_FOLDERS:,} more)" if len(places) > _MOST_FOLDERS else ""
        return InputError(f"{name}: its rows are in folders beneath it; say which", hint=" or ".join(flags) + more)
    return InputError(f"{name}: no input files in this folder; wanted {', '.join(known)}, each also as .gz or .zst")


def _is_hidden(place: Path, folder: Path) -> bool:
    return any(part[0] in "._" for part in place.relative_to(folder).parts)


def natural(name: str) -> list[tuple[int, str]]:
    """Order shard-2 before shard-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _visible(folder: Path) -> list[Path]:
    entries = (entry for entry in folder.glob("*") if entry.is_file() and entry.name[0] not in "._")
    return sorted(
        (entry for entry in entries if entry.name not in _DESCRIPTIONS), key=lambda entry: natural(entry.name)
    )


def _one_split(files: Sequence[Path], name: str) -> list[Path]:
    splits = list(dict.fromkeys(found[1] for path in files if (found := _SPLIT.match(path.name))))
    if len(splits) > 1:
        raise _mixed(splits, [f"{name}/{split}*" for split in splits], name)
    return list(files)


def _mixed(splits: Sequence[str], globs: Sequence[str], name: str) -> InputError:
    flags = [f"-i {shlex.quote(one)}" for one in globs]
    return InputError(f"{name}: has the splits {', '.join(splits)}; say which", hint=" or ".join(flags))


def _complete(shards: Sequence[Path], name: str) -> list[Path]:
    matches = [found for path in shards if (found := _SHARD.fullmatch(path.name)) is not None]
    splits = list(dict.fromkeys(found["split"] for found in matches))
    if len(splits) > 1:
        raise _mixed(splits, [f"{name}/{split}-*" for split in splits], name)
    counts = {int(found["count"]) for found in matches}
    missing = sorted(set(range(max(counts))) - {int(found["number"]) for found in matches})
    if missing or len(counts) > 1:
        raise InputError(
            f"{name}: {len(shards)} shards are here, wanted {max(counts)}{_named(missing)}",
            hint=f"-i {shlex.quote(f'{name}/{splits[0]}-*')} reads what is here all the same",
        )
    return list(shards)


def _named(missing: Iterable[int]) -> str:
    first = next(iter(missing), None)
    return "; they are of different sets" if first is None else f"; the first that is missing is {first:05d}"
