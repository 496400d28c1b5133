"""What would a run ask, row by row? Its requests, made again from the input as it was planned."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from batcher.datasets.messages import Asked
from batcher.engine.builders import builder_of, media_names
from batcher.engine.plan import Plan, block_rows
from batcher.job.spec import Input, Job
from batcher.prompts.build import Builder
from batcher.records import Problem
from batcher.rows.blocks import Block
from batcher.rows.index import Index
from batcher.rows.planning import plan_rows
from batcher.rows.readers import find_inputs
from batcher.rows.slices import BlockReader
from batcher.store.schemas import RESERVED


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSlice:
    """Some rows in order.

    Attributes:
        columns: `id` and `model`, then the user's, of the same rows.
    """

    rows: list[Asked]
    columns: pa.RecordBatch


class Requests:
    """Makes the requests of a plan again; the input is read as it is asked for, block by block.

    Args:
        index: the plan of the input.
        builder: of the job.
        spec: `[input]`, as it was planned.
    """

    def __init__(self, index: Index, builder: Builder, spec: Input) -> None:
        self.index = index
        self._builder = builder
        self._reader = BlockReader(index, spec, needed=builder.needed)

    @classmethod
    def of_plan(cls, plan: Plan) -> Requests:
        """Of a run directory."""
        return cls(plan.index, plan.builder, plan.job.input)

    @classmethod
    def of_job(cls, job: Job, spool: Path) -> Requests:
        """Of a job that has no run directory yet.

        Args:
            job: complete.
            spool: a folder for decompressed copies of the input; it must stay for as long as rows are read.

        Raises:
            UserError: the job or its input is wrong.
        """
        files = find_inputs(job.input, spool=spool)
        index = plan_rows(
            files,
            job.input,
            block_rows=block_rows(job),
            has_template=job.prompt.template is not None,
            reserved=RESERVED,
            media=media_names(job),
        )
        return cls(index, builder_of(job, index), job.input)

    def slices(self, block: Block) -> Iterator[AskedSlice]:
        """Give the rows of a block in order.

        Raises:
            PlanChanged: the input is not what it was when it was planned; certain only when the last row was given.
        """
        for piece in self._reader.read(block):
            rows = [Asked(row.ordinal, row.id, row.problem or self._builder.build(row)) for row in piece.rows]
            yield AskedSlice(rows=rows, columns=_labelled(rows, piece.columns))

    def rows(self, block: Block) -> Iterator[Asked]:
        """Give the same one by one."""
        for piece in self.slices(block):
            yield from piece.rows


def _labelled(rows: list[Asked], columns: pa.RecordBatch) -> pa.RecordBatch:
    ids = pa.array([row.id for row in rows], pa.large_string())
    models = pa.array([None if isinstance(row.made, Problem) else row.made.model for row in rows], pa.large_string())
    named = [("id", ids), ("model", models), *zip(columns.schema.names, columns.columns, strict=True)]
    return pa.RecordBatch.from_arrays([array for _, array in named], names=[name for name, _ in named])


def spool_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that is gone when it is left."""
    return tempfile.TemporaryDirectory(prefix="batcher-")
