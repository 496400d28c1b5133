"""Which builder asks the rows of a planned input? The one of its job, with what planning knows of its media."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from batcher.job.spec import Job
from batcher.prompts.build import Builder
from batcher.prompts.media import NAMES, MediaSource
from batcher.rows.index import Index
from batcher.rows.packaged import is_packaged, packaged_folder
from batcher.rows.readers import STDIN


def builder_of(job: Job, index: Index) -> Builder:
    """Make it.

    Raises:
        JobError: the job does not fit the input.
        InputError: its media are in a package that is not installed.
    """
    where = index.files[0].name if index.files else "the input"
    return Builder(job, index.shape, index.found, where=where, source=_media_source(job, index))


def media_names(job: Job) -> tuple[str, ...]:
    """Say which columns may name files, for planning: blocks of such rows are short."""
    return NAMES if job.prompt.media is None else job.prompt.media


def _media_source(job: Job, index: Index) -> MediaSource:
    folders = {Path.cwd() if file.name == STDIN else file.source.parent for file in index.files}
    named = job.input.media_root
    root = None if named is None else packaged_folder(named) if is_packaged(named) else Path(named)
    texts = (column.source for column in index.columns if not column.is_json and column.type == pa.large_string())
    return MediaSource(texts=frozenset(texts), root=root or (folders.pop() if len(folders) == 1 else None))
