"""What is this file? Its container, its shape, its columns and the first request it would make; nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from batcher.engine.builders import builder_of
from batcher.engine.inspection import Inspection, Looked
from batcher.errors import InputError, JobError
from batcher.job.spec import InputFormat, Job
from batcher.records import Request, Row
from batcher.rows.columns import Census
from batcher.rows.index import Index
from batcher.rows.planning import SAMPLES, first_rows, plan_rows
from batcher.rows.readers import InputFile, find_inputs
from batcher.rows.shapes import AmbiguousInputError
from batcher.rows.slices import read_block
from batcher.rows.tables import Table
from batcher.store.schemas import RESERVED

HEAD_BYTES = 64 << 20
"""Of a compressed file so much is looked at; the first rows are in there, or each is longer than 1 MB."""


def inspect(job: Job, *, spool: Path, stdin: BinaryIO | None) -> Inspection:
    """Look at the first rows of a job's input.

    Args:
        job: complete; its template, shape and id count.
        spool: a folder for copies of what cannot be read in place.
        stdin: see `find_inputs`.

    Raises:
        InputError: there is no such file, or nothing of it can be read.
    """
    files = find_inputs(job.input, spool=spool, stdin=stdin, head_bytes=HEAD_BYTES)
    looked = tuple(Looked(name=file.name, container=file.container, size_bytes=file.size) for file in files)
    try:
        index = plan_rows(
            files,
            job.input,
            block_rows=SAMPLES,
            limit=SAMPLES,
            has_template=job.prompt.template is not None,
            reserved=RESERVED,
        )
    except InputError as error:
        samples = first_rows(files, job.input)
        kinds = error.kinds if isinstance(error, AmbiguousInputError) else ()
        return Inspection(
            files=looked, rows=len(samples), columns=_columns(files, samples), ambiguous=kinds, error=error
        )
    found = Inspection(
        files=looked,
        rows=index.rows,
        columns=_columns(files, first_rows(files, job.input)),
        shape=index.shape.kind,
        bad_rows=index.bad_rows,
        id_key=index.shape.id_key,
        prompt_key=index.shape.prompt_key,
        reference_key=index.shape.reference_key,
        notes=index.notes,
    )
    return _with_request(found, job, index)


def _with_request(found: Inspection, job: Job, index: Index) -> Inspection:
    try:
        builder = builder_of(job, index)
    except JobError as error:
        return replace(found, error=error)
    problem = ""
    for row in _rows(index, job, builder.needed):
        made = row.problem or builder.build(row)
        if isinstance(made, Request):
            return replace(found, request=orjson.loads(made.body), where=row.where, problem=problem)
        problem = problem or made.message
    return replace(found, problem=problem)


def _rows(index: Index, job: Job, needed: frozenset[str]) -> Iterator[Row]:
    for block in index.blocks:
        for piece in read_block(index, block, job.input, needed=needed):
            yield from piece.rows


def _columns(files: Sequence[InputFile], samples: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Name the columns of the first file and their types, as the output would have them."""
    census = Census()
    if files and files[0].format is InputFormat.PARQUET:
        with Table(files[0].path, files[0].name) as table:
            census.see_schema(table.schema)
    else:
        census.see_rows([dict(sample) for sample in samples])
    columns = census.freeze(consumed=(), reserved=()).columns
    return tuple((column.source, "JSON" if column.is_json else str(column.type)) for column in columns)
