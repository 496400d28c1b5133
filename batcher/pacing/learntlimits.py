"""Which limits has an endpoint told the runs of this host? What a 429 named as its quota's value, and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from batcher.pacing.statefolder import StateFolder

_FILE = "limits.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """One limit that an endpoint told.

    Attributes:
        owner: whose quota: the lane, and the mark of its key where no project is named.
        quota: as in `limited_by`: `requests/min`, `input tokens/min`, `requests/day`.
        value: units a minute or a day.
        at_us: when it was told, microseconds since the epoch.
        run: the run that was told, by its directory.
    """

    owner: str
    quota: str
    value: float
    at_us: int
    run: str


class LearntLimits:
    """The limits learnt on this host; each method reads or writes the file.

    Args:
        folder: the user's.
    """

    __slots__ = ("_folder",)

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder

    def get(self, owner: str) -> tuple[Learnt, ...]:
        """What is known of one owner's quotas, those of all keys where it names none."""
        of_keys = f"{owner} key-"
        return tuple(each for each in self.all() if each.owner == owner or each.owner.startswith(of_keys))

    def all(self) -> tuple[Learnt, ...]:
        """All that is known, by owner and quota.

        Raises:
            OSError: the file cannot be read.
        """
        return tuple(sorted(_read(self._folder.read(_FILE)), key=lambda learnt: (learnt.owner, learnt.quota)))

    def put(self, learnt: Learnt) -> None:
        """Keep a limit; what was told later takes the place of what was told before.

        Raises:
            OSError: the disk refuses.
        """
        self._folder.make()
        with self._folder.locked(_FILE):
            known = {(each.owner, each.quota): each for each in self.all()}
            known[learnt.owner, learnt.quota] = learnt
            self._write(known.values())

    def forget(self, owner: str | None = None) -> int:
        """Drop what is known of one owner, or everything; returns how many limits that were.

        Raises:
            OSError: the disk refuses.
        """
        if not self._folder.path.is_dir():
            return 0
        with self._folder.locked(_FILE):
            known = self.all()
            dropped = {*known} if owner is None else {*self.get(owner)}
            self._write(each for each in known if each not in dropped)
        return len(dropped)

    def _write(self, known: Iterable[Learnt]) -> None:
        self._folder.write(_FILE, {"limits": [asdict(each) for each in known]})


def _read(said: Mapping[str, Any]) -> Iterator[Learnt]:
    for each in said.get("limits", ()):
        try:
            yield Learnt(**each)
        except TypeError:
            continue  # of another version
