"""What is in the input? One pass that counts, hashes, types and cuts it into blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from batcher.errors import InputError
from batcher.job.spec import Input, InputFormat
from batcher.rows.arrays import mended, to_python
from batcher.rows.blocks import MAX_BLOCK_BYTES, MAX_BLOCKS, MEDIA_BLOCK_ROWS, BlockCutter
from batcher.rows.carriers import TELLING_COLUMNS
from batcher.rows.containers import parser_of
from batcher.rows.conversion import auditor_of
from batcher.rows.index import Index
from batcher.rows.labels import Labels, check_unique
from batcher.rows.readers import FORMAT_FLAGS, InputFile
from batcher.rows.shapes import Shape, detect
from batcher.rows.survey import Survey, whole_file
from batcher.rows.tables import Table

SAMPLES = 64
"""Rows that tell a shape."""


def _quietly(_rows: int, _read_bytes: int) -> None:
    pass


def plan_rows(  # noqa: PLR0913  each is the user's or the output's say
    files: Sequence[InputFile],
    spec: Input,
    *,
    block_rows: int,
    limit: int | None = None,
    has_template: bool,
    reserved: frozenset[str],
    media: Collection[str] = (),
    on_progress: Callable[[int, int], None] = _quietly,
    max_blocks: int = MAX_BLOCKS,
    max_block_bytes: int = MAX_BLOCK_BYTES,
) -> Index:
    """Plan an input in one pass, in memory bounded by a chunk, the longest row and the number of blocks.

    Args:
        files: from `find_inputs`.
        spec: `[input]`.
        block_rows: rows of a block, raised when there would be more than `max_blocks`.
        limit: plan only the first rows; None plans all.
        has_template: whether the job has a prompt template.
        reserved: the output's own column names.
        media: columns that may name files; where the first rows have one, blocks have at most `MEDIA_BLOCK_ROWS` rows.
        on_progress: called now and then with the rows and bytes so far.
        max_blocks: blocks at most.
        max_block_bytes: a block closes early at so much input (decoded, for Parquet).

    Raises:
        InputError: the shape is ambiguous or has no prompt; with `strict`, a row cannot be read or holds what
            cannot be sent; no row at all can be read; a file has no column of what is asked in the others; two rows
            are called the same by the column that `spec.id` names.
    """
    samples = first_rows(files, spec)
    shape = detect(
        samples,
        wanted=spec.shape,
        id_column=spec.id,
        has_template=has_template,
        where=files[0].name if files else "input",
    )
    _check_alike(files, spec, shape)
    if any(name in sample for sample in samples for name in media):
        block_rows = min(block_rows, MEDIA_BLOCK_ROWS)
    cutter = BlockCutter(block_rows=block_rows, max_blocks=max_blocks, max_block_bytes=max_block_bytes)
    with contextlib.ExitStack() as stack:
        labels = None if spec.id is None else stack.enter_context(Labels(spec.id))
        survey = Survey(
            cutter,
            max_row_bytes=spec.max_row_bytes,
            limit=limit,
            on_progress=on_progress,
            audit=auditor_of(shape),
            audited=shape.prompt_key,
            labels=labels,
        )
        for number, file in enumerate(files):
            survey.take(number, file)
        if labels is not None:
            check_unique(labels, files, spec, rows=survey.rows)
    if spec.strict and survey.bad_rows:
        raise _refusal(survey)
    if survey.problems and not samples:
        raise InputError(f"{survey.problems[0]}; nor can any other row of the input be read", hint=FORMAT_FLAGS)
    if spec.strict and survey.ignored:
        raise InputError(
            f"{files[0].name}: cannot be sent to Gemini: {_counted(survey)}", hint="without --strict it is left out"
        )
    return _index(survey, shape, files, cutter=cutter, reserved=reserved)


def _check_alike(files: Sequence[InputFile], spec: Input, shape: Shape) -> None:
    """Refuse a file of another shape among the others: each of its rows would fail, one by one."""
    if shape.prompt_key is None or len(files) < 2:
        return
    for file in files[1:]:
        columns = _first_columns(file, spec)
        if columns and shape.prompt_key not in columns:
            raise InputError(
                f"{file.name}: has no {shape.prompt_key!r}, by which the files before it are {shape.kind}; "
                f"its columns: {', '.join(columns)}",
                hint="run files of another shape into a directory of their own",
            )


def _first_columns(file: InputFile, spec: Input) -> Sequence[str]:
    if file.format is InputFormat.PARQUET:
        with Table(file.path, file.name) as table:
            return table.schema.names if any(map(table.rows_in, range(table.groups))) else ()
    return list(dict.fromkeys(chain.from_iterable(islice(_first_rows(file, spec), SAMPLES))))


def _index(
    survey: Survey, shape: Shape, files: Sequence[InputFile], *, cutter: BlockCutter, reserved: frozenset[str]
) -> Index:
    frozen = survey.census.freeze(
        consumed=shape.consumed, reserved=reserved, has_reference=shape.reference_key is not None
    )
    notes = (f"ignored: {_counted(survey)}", *frozen.notes) if survey.ignored else frozen.notes
    return Index(
        blocks=cutter.finish(),
        rows=survey.rows,
        bad_rows=survey.bad_rows,
        shape=shape,
        found=frozen.found,
        columns=frozen.columns,
        notes=notes,
        files=tuple(files),
    )


def _counted(survey: Survey) -> str:
    counts = survey.ignored.most_common()
    return ", ".join(f"{key} ({count:,} row{'' if count == 1 else 's'})" for key, count in counts)


def _refusal(survey: Survey) -> InputError:
    rows = "1 row" if survey.bad_rows == 1 else f"{survey.bad_rows:,} rows"
    more = survey.bad_rows - len(survey.problems)
    lines = [f"{rows} cannot be read:", *survey.problems, *([f"and {more:,} more"] if more else ())]
    return InputError("\n  ".join(lines), hint="without --strict they become failed rows of the output")


def first_rows(files: Sequence[InputFile], spec: Input) -> list[Mapping[str, Any]]:
    """Give the first readable rows of the first file that has any; of a table, only the values that tell a shape."""
    for file in files:
        if samples := list(islice(_first_rows(file, spec), SAMPLES)):
            return samples
    return []


def _first_rows(file: InputFile, spec: Input) -> Iterator[Mapping[str, Any]]:
    if file.format is InputFormat.PARQUET:
        yield from _first_table_rows(file, spec.id)
        return
    parse = parser_of(file.format, file.layout)
    for piece in whole_file(file, spec.max_row_bytes):
        yield from (row for line in piece.lines if isinstance(row := parse(line), dict))


def _first_table_rows(file: InputFile, id_column: str | None) -> Iterator[Mapping[str, Any]]:
    with Table(file.path, file.name) as table:
        names = table.schema.names
        # Only what can tell a shape: a column of pictures would fill the memory.
        telling = [name for name in names if name in TELLING_COLUMNS or name == id_column]
        for group in range(table.groups):
            stop = min(SAMPLES, table.rows_in(group))
            for batch in table.read(group, start=0, stop=stop, columns=telling, batch_rows=SAMPLES):
                sound, _ = mended(batch)
                columns = {name: to_python(sound.column(name)) for name in telling}
                yield from (
                    {name: columns[name][at] if name in columns else None for name in names}
                    for at in range(batch.num_rows)
                )
