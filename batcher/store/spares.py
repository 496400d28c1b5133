"""Which tasks need not be asked, because another run or another row has their answer? An index, made while planning.

Two runs are matched by (request hash, sample, n-th occurrence of that request). SQLite sorts on the disk, so a hundred
million rows take as much memory as a thousand: requests and answers are written down as they are read, sorted by their
hashes, matched, and what is found is kept in the order of tasks. No row is ever looked up by its hash afterwards.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from batcher.errors import StorageError
from batcher.store.disk import remove, sync_file

_PICOS = 12  # digits of a dollar that are added up: in 64 bits, up to 9 million dollars
_CACHE_KIB = 64 << 10

_SCHEMA = """
create table asked(hash blob, ordinal integer);
create table had(hash blob, sample integer, task integer, part integer, row integer, usable integer, cost integer,
    source integer);
create table found.spare(task integer primary key, source integer, part integer, row integer, cost integer);
create table found.twin(task integer primary key, first integer);
"""
_WANTED = """
create table wanted as select hash, ordinal, min(ordinal) over same as first,
    row_number() over (partition by hash order by ordinal) - 1 as n from asked window same as (partition by hash)
"""
_ANSWERED = """
create table answered as select * from (select hash, sample, source, part, row, cost, usable,
    row_number() over (partition by source, hash, sample order by task) - 1 as n from had) where usable
"""
_MATCH = """
insert into found.spare select w.ordinal * :samples + a.sample as task, min(a.source), a.part, a.row, a.cost
    from wanted w join answered a on a.hash = w.hash and a.n = w.n
    where a.sample < :samples and (not :dedup or w.n = 0) group by task order by task
"""  # with min(), SQLite takes the other columns from the row that has the least
_TWINS = "insert into found.twin select ordinal, first from wanted where n > 0 order by ordinal"


class Held(NamedTuple):
    """An answer of a finished part.

    Attributes:
        usable: whether it may stand in for asking; one that may not still counts as an occurrence.
        cost_usd: what it had cost; None where nobody knows.
    """

    request_hash: bytes
    sample: int
    task: int
    part: int
    row: int
    usable: bool
    cost_usd: Decimal | None


class Spare(NamedTuple):
    """Where the answer of a task is that is not asked.

    Attributes:
        original: the earlier task of this run whose request it repeats; None when it repeats none.
        source: number of the other run that has the answer, or the original's; None when the original is asked.
        part, row: of that run: the part's number, and the row's in it.
    """

    task: int
    original: int | None
    source: int | None
    part: int
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an index holds.

    Attributes:
        reused: for each source, tasks that it has the answer of, and what those had cost there, US dollars.
        twins: tasks that share the answer of an earlier row.
        unmatched: for each source, usable answers that no row asks for.
    """

    reused: tuple[tuple[int, Decimal], ...]
    twins: int
    unmatched: tuple[int, ...]

    @property
    def tasks(self) -> int:
        """Tasks that are not asked."""
        return self.twins + sum(count for count, _ in self.reused)


class SpareFinder:
    """Gathers requests and answers, and writes the index.

    Args:
        path: of the index; a scratch file stands beside it meanwhile.

    Raises:
        StorageError: the disk refuses; by any method.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._scratch = path.with_name(f"{path.name}.scratch")
        self._sources = 0
        for stale in (path, self._scratch):
            remove(stale)
        with _disk(path):
            self._connection = sqlite3.connect(self._scratch, isolation_level=None)
            run = self._connection.execute
            run(f"pragma cache_size=-{_CACHE_KIB}")
            run("pragma journal_mode=off")  # it is made again from the start if anything goes wrong
            run("pragma synchronous=off")
            # What is sorted may be as large as the input: where the run is there is room, /tmp may be memory.
            run("pragma temp_store=file")
            run(f"pragma temp_store_directory={_quoted(path.parent)}")
            run("attach ? as found", (str(path),))
            run("pragma found.journal_mode=off")
            run("pragma found.synchronous=off")
            self._connection.executescript(_SCHEMA)

    def ask(self, rows: Iterable[tuple[bytes, int]]) -> None:
        """Take (request hash, ordinal) of the rows to ask, in order."""
        self._insert("insert into asked values (?, ?)", rows)

    def have(self, answers: Iterable[Held]) -> None:
        """Take the answers of one more run, in order of their tasks; the runs are numbered as they come."""
        source, self._sources = self._sources, self._sources + 1
        rows = ((*answer[:-1], _picos(answer.cost_usd), source) for answer in answers)
        self._insert("insert into had values (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def match(self, *, samples: int, dedup: bool) -> Found:
        """Write the index and say what it holds.

        Args:
            samples: of the run; the n-th is matched with the n-th.
            dedup: whether rows that repeat an earlier row's request share its answer; the first one alone may then
                take over another run's. With one sample only.
        """
        assert samples == 1 or not dedup
        with _disk(self._path):
            run = self._connection.execute
            run(_WANTED)
            run("drop table asked")
            run(_ANSWERED)
            run("drop table had")
            run("create index answered_by on answered(hash, n)")
            run(_MATCH, {"samples": samples, "dedup": dedup})
            if dedup:
                run(_TWINS)
            found = self._found()
            self._close()
            sync_file(self._path)
        return found

    def _found(self) -> Found:
        run = self._connection.execute
        reused = {s: (n, cost) for s, n, cost in run("select source, count(*), sum(cost) from spare group by source")}
        usable = dict(run("select source, count(*) from answered group by source").fetchall())
        counts = [reused.get(source, (0, 0)) for source in range(self._sources)]
        return Found(
            reused=tuple((count, Decimal(cost or 0).scaleb(-_PICOS)) for count, cost in counts),
            twins=run("select count(*) from twin").fetchone()[0],
            unmatched=tuple(usable.get(source, 0) - count for source, (count, _) in enumerate(counts)),
        )

    def _insert(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        with _disk(self._path):
            self._connection.execute("begin")
            self._connection.executemany(statement, rows)
            self._connection.execute("commit")

    def _close(self) -> None:
        self._connection.close()
        remove(self._scratch)

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._close()
        remove(self._path)


def read_spares(path: Path, first: int, stop: int) -> list[Spare]:
    """The tasks from `first` to before `stop` that need not be asked, in order.

    Raises:
        StorageError: the index is gone or damaged.
    """
    with _disk(path), contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return sorted(_read(connection, first, stop), key=lambda spare: spare.task)


def _read(connection: sqlite3.Connection, first: int, stop: int) -> Iterator[Spare]:
    bounds = (first, stop)
    spares = connection.execute("select task, null, source, part, row from spare where task >= ? and task < ?", bounds)
    yield from (Spare(*row) for row in spares)
    twins = connection.execute(
        "select t.task, t.first, s.source, s.part, s.row from twin t left join spare s on s.task = t.first"
        " where t.task >= ? and t.task < ?",
        bounds,
    )
    yield from (Spare(*row) for row in twins)


def _picos(cost_usd: Decimal | None) -> int | None:
    return None if cost_usd is None else int(cost_usd.scaleb(_PICOS))


def _quoted(path: Path) -> str:
    return "'{}'".format(str(path).replace("'", "''"))


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"{path}: the index of reused answers fails: {error}") from error
