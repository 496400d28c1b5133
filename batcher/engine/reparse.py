"""How does a finished run get the good of a parser that was mended? Its kept replies are read again; nothing is sent.

A part of which a row differs is built anew, one generation up, and takes the place of the old one in one step. What
the ledger has of an attempt that is read otherwise is corrected by a row of its own (`store/entries.py`). Answers that
are in no part yet are judged again where they are, in the journal; the rest is read when their block is sealed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batcher.datasets.card import Ended, card
from batcher.datasets.served import versions_served
from batcher.engine.closing import verdict_of
from batcher.engine.export import Run, open_run
from batcher.engine.plan import terms_of
from batcher.engine.process import of_careful_files
from batcher.engine.reparsed import Reparsed
from batcher.engine.reread import Check, Slice, judged, reread
from batcher.errors import Exit, StorageError, UserError
from batcher.job.spec import Job
from batcher.money.prices import RateCard
from batcher.money.totals import Totals
from batcher.prompts.schema import answer_schema
from batcher.records import Outcome
from batcher.store.bills import Read, totals_of
from batcher.store.blocks import BlockRow, State, read_answers, read_blocks
from batcher.store.entries import corrections, read_entries
from batcher.store.failpoints import FailPoints
from batcher.store.frames import pack_attempt, pack_outcome
from batcher.store.journal import connect
from batcher.store.parts import PartBuilder, Stamp, read_footer
from batcher.store.reparsed import done_with, keep_success, mean_to, restore_success, settle
from batcher.store.rundir import Lock

_ROWS_AT_ONCE = 128
_PICTURES_AT_ONCE = 8
_TASKS_AT_ONCE = 256
_FINISHED = frozenset({Exit.DONE, Exit.ROWS_FAILED})

Progress = Callable[[int, int], None]
"""Told the rows so far and the rows there are."""


def reparse(out: Path, *, dry_run: bool, progress: Progress, failpoints: FailPoints) -> Reparsed:
    """Read the kept replies of a run again; blocks until it is done.

    Args:
        out: the run directory.
        dry_run: only say what would change.
        progress: told now and then how far it is.
        failpoints: armed by tests.

    Raises:
        UserError: the folder is no run, or it has kept no reply.
        RunLocked: a process is at work in it.
        StorageError: the run is damaged, or the disk refuses.
    """
    run = open_run(out)
    if not run.rundir.journal.exists():
        raise StorageError(f"{run.rundir.state}: the run's state is gone, so that no part can be replaced safely")
    with _held(run) as journal:
        settle(run.rundir, int(run.manifest["blocks"]))(journal)
        work = _Work(run, journal, dry_run=dry_run, failpoints=failpoints)
        try:
            work.all(progress)
        except OSError as error:
            raise StorageError(f"{out}: cannot be written: {error.strerror or error}") from error
        except pa.ArrowException as error:
            raise StorageError(f"{run.rundir.data}: a part is damaged: {error}") from error
        except sqlite3.Error as error:
            raise StorageError(f"{run.rundir.journal}: {error}") from error
    return work.found


@contextlib.contextmanager
def _held(run: Run) -> Iterator[sqlite3.Connection]:
    with of_careful_files():
        lock = Lock(run.rundir.lock, now=dt.datetime.now(dt.UTC))
        try:
            with contextlib.closing(connect(run.rundir.journal)) as journal:
                run.rundir.clear_tmp()
                yield journal
        finally:
            lock.release()


class _Work:
    def __init__(self, run: Run, journal: sqlite3.Connection, *, dry_run: bool, failpoints: FailPoints) -> None:
        self._run = run
        self._journal = journal
        self._failpoints = failpoints
        self._terms = terms_of(run.job, run.manifest, RateCard.read(run.rundir.prices))
        self._check = check_of(run.job)
        self._schema = pq.read_schema(run.rundir.part(0, int(run.manifest["blocks"])))
        self.found = Reparsed(run_dir=str(run.rundir.out), dry_run=dry_run, tasks=run.tasks)

    def all(self, progress: Progress) -> None:
        blocks = read_blocks(self._journal)
        keeps = self._schema.get_field_index("raw") >= 0
        if not keeps and not self._journal.execute("select exists(select 1 from done)").fetchone()[0]:
            raise UserError(
                f"{self._run.rundir.out}: no row has its raw reply, so that nothing can be read again",
                hint="the next run keeps them with --set output.raw=true",
            )
        for no, part in self._run.parts:
            row = blocks.get(no)
            if row is None or row.state is not State.SEALED:
                self.found.asked_again += row is not None
            elif keeps:
                self._part(no, part, row)
            else:
                self.found.without_raw += read_footer(part).rows
            progress(self.found.reread + self.found.without_raw + self.found.unknown, self._run.tasks)
        self._open()
        if not self.found.dry_run:
            self._close()
            restore_success(self._run.rundir)(self._journal)

    def _part(self, no: int, part: Path, row: BlockRow) -> None:
        entries = read_entries(self._run.rundir, no)
        before = self.found.differ
        corrected = False
        totals = Totals()
        for piece in self._pieces(part, entries):
            self._take(piece)
            corrected = corrected or bool(piece.corrected)
            totals += totals_of(*zip(*piece.ended, strict=True))
        if self.found.differ == before and not corrected:
            return
        self.found.parts += 1
        if not self.found.dry_run:
            self._rewrite(part, row, entries, totals)

    def _take(self, piece: Slice) -> None:
        found = self.found
        found.reread += piece.reread
        found.without_raw += piece.without_raw
        found.unknown += piece.unknown
        found.differ += piece.differ
        found.by_column += piece.by_column
        found.changed += piece.changed

    def _pieces(self, part: Path, entries: Mapping[int, list[Read]]) -> Iterator[Slice]:
        rows = _PICTURES_AT_ONCE if self._terms.images else _ROWS_AT_ONCE
        with pq.ParquetFile(part, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=rows):
                yield reread(batch.cast(self._schema), entries, self._schema, self._terms, self._check)

    def _rewrite(self, part: Path, row: BlockRow, entries: Mapping[int, list[Read]], totals: Totals) -> None:
        rundir = self._run.rundir
        was = read_footer(part).stamp
        stamp = Stamp(
            run_id=was.run_id,
            block=was.block,
            generation=max(was.generation, row.generation) + 1,
            digest=was.digest,
            first_task=was.first_task,
            tasks=was.tasks,
        )
        keep_success(rundir)(self._journal)
        self._failpoints.hit("success-removed")
        mean_to(stamp)(self._journal)
        blocks = int(self._run.manifest["blocks"])
        builder = PartBuilder(rundir, stamp, self._schema, blocks=blocks, failpoints=self._failpoints)
        for piece in self._pieces(part, entries):
            builder.add(piece.data, corrections(piece.corrected, was.block, self._terms))
            if builder.heavy:
                builder.flush()
        builder.finish(totals)
        done_with(stamp, totals)(self._journal)
        self._failpoints.hit("sealed")

    def _open(self) -> None:
        """Judge again what the journal has; a commit for each piece, so that a kill leaves whole records."""
        tasks = [task for (task,) in self._journal.execute("select task from done order by task")]
        for start in range(0, len(tasks), _TASKS_AT_ONCE):
            piece = tasks[start : start + _TASKS_AT_ONCE]
            done, tried = [], []
            for outcome, attempts in zip(*read_answers(piece[0], piece[-1] + 1)(self._journal), strict=True):
                last = attempts[-1] if attempts else None
                if last is None or last.n != outcome.attempts or not last.body or 300 <= (last.http_status or 0) < 400:
                    continue
                self.found.open += 1
                attempt, now = judged(last, self._check, was=outcome)
                if attempt != last:
                    tried.append((attempt.task, attempt.n, pack_attempt(attempt)))
                if now != outcome:
                    done.append((now.task, pack_outcome(now)))
                    self._count(outcome, now)
            if not self.found.dry_run and (done or tried):
                self._journal.execute("begin immediate")
                self._journal.executemany("insert or replace into attempt values (?, ?, ?)", tried)
                self._journal.executemany("insert or replace into done values (?, ?)", done)
                self._journal.execute("commit")

    def _count(self, was: Outcome, now: Outcome) -> None:
        self.found.differ += 1
        for name in ("status", "error_kind", "error_message"):
            self.found.by_column[name] += getattr(was, name) != getattr(now, name)
        if was.status is not now.status:
            self.found.changed[str(was.status), str(now.status)] += 1

    def _close(self) -> None:
        """Let run.json and the card say what is so now; a kill may have come between the last part and them."""
        run, rundir = self._run, self._run.rundir
        manifest = dict(run.manifest)
        said = dict(manifest.get("summary") or {})
        totals = sum((row.totals for row in read_blocks(self._journal).values() if row.totals), Totals())
        is_stale = bool(said) and said["exit_code"] in _FINISHED and said["totals"] != totals.as_json()
        if not self.found.differ and not is_stale:
            return
        if is_stale and totals.done == run.tasks:
            verdict, exit_code = verdict_of(run.job, totals, run.tasks)
            said |= {"verdict": verdict, "exit_code": int(exit_code), "totals": totals.as_json()}
            manifest["summary"] = said
            ended = Ended(totals=totals, verdict=verdict, served=versions_served(rundir.parts()))
            rundir.write_card(card(manifest, self._schema, ended, licence=run.job.output.license))
        note = {
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "batcher": version("batcher-gemini"),
            "rows": self.found.differ,
            "by_column": dict(+self.found.by_column),
        }
        manifest["reparsed"] = [*manifest.get("reparsed", ()), note]
        self._failpoints.hit("before-success")
        rundir.write_manifest({name: value for name, value in manifest.items() if name != "format_version"})


def check_of(job: Job) -> Check | None:
    """What judges an answer by the job's schema; None when it has none."""
    schema = answer_schema(job)
    return None if schema is None else schema.check
