"""How does a part that is read again replace the old one, so that a kill leaves the old or the new, never between?

What is meant to be published is said in the journal first. After a kill the part itself says how far it came: where it
is the new one the journal follows; where it is the old one a ledger file of the new generation is taken back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from batcher.money.totals import Totals
from batcher.store.blocks import State, put_block
from batcher.store.disk import remove, sync_folder
from batcher.store.parts import Stamp, read_footer
from batcher.store.rundir import RunDir

_MEANT = "reparsing-"
_SUCCESS = "reparsing"


def mean_to(stamp: Stamp) -> Callable[[sqlite3.Connection], None]:
    """Say that a block's part and ledger of this generation are about to be published."""

    def work(connection: sqlite3.Connection) -> None:
        key = f"{_MEANT}{stamp.block}"
        connection.execute("insert or replace into meta values (?, ?)", (key, str(stamp.generation).encode()))

    return work


def done_with(stamp: Stamp, totals: Totals) -> Callable[[sqlite3.Connection], None]:
    """Say that they are, in one commit with the block's new totals."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("begin immediate")
        put_block(stamp.block, State.SEALED, stamp.generation, stamp.digest, totals)(connection)
        connection.execute("delete from meta where key = ?", (f"{_MEANT}{stamp.block}",))
        connection.execute("commit")

    return work


def settle(rundir: RunDir, blocks: int) -> Callable[[sqlite3.Connection], None]:
    """Bring journal, parts and ledger together after a kill.

    Raises:
        StorageError: a part is damaged.
    """

    def work(connection: sqlite3.Connection) -> None:
        meant = connection.execute(
            "select key, value from meta where key >= ? and key < ?", (_MEANT, f"{_MEANT}:")
        ).fetchall()
        for key, value in meant:
            no, generation = int(key.removeprefix(_MEANT)), int(value)
            footer = read_footer(rundir.part(no, blocks))
            if footer.stamp.generation == generation:
                done_with(footer.stamp, footer.totals)(connection)
            else:
                remove(rundir.ledger(no, generation))
                sync_folder(rundir.attempts)
                connection.execute("delete from meta where key = ?", (key,))

    return work


def keep_success(rundir: RunDir) -> Callable[[sqlite3.Connection], None]:
    """Take `_SUCCESS` away and remember that it was there."""

    def work(connection: sqlite3.Connection) -> None:
        if rundir.success.exists():
            connection.execute("insert or replace into meta values (?, ?)", (_SUCCESS, b"1"))
            rundir.unmark_success()

    return work


def restore_success(rundir: RunDir) -> Callable[[sqlite3.Connection], None]:
    """Put `_SUCCESS` back where it was, also after a kill."""

    def work(connection: sqlite3.Connection) -> None:
        if connection.execute("select 1 from meta where key = ?", (_SUCCESS,)).fetchone():
            rundir.mark_success()
            connection.execute("delete from meta where key = ?", (_SUCCESS,))

    return work
