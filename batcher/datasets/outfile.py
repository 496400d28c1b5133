"""What goes into the file? Batches of `data/` in, the lines or row groups of one format out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from batcher.datasets.answers import Examples, said_in
from batcher.datasets.chat import Chat, ChatLines, ChatSink, ChatTable
from batcher.datasets.flat import Csv, plain_json
from batcher.datasets.messages import COLUMNS, Answered, Asked, Gap, Message
from batcher.datasets.order import Format, Order
from batcher.datasets.selection import Selection

_OPENAI_LEAST = 10  # examples, or a fine-tuning job is refused


class CsvFile:
    """Rows as CSV.

    Args:
        schema: of `data/`.

    Attributes:
        columns: to be read of a part.
    """

    def __init__(self, order: Order, sink: BinaryIO, schema: pa.Schema, selection: Selection) -> None:
        self._chosen = list(order.columns or schema.names)
        self._selection = selection
        self._csv = Csv(sink, pa.schema([schema.field(name) for name in self._chosen]))
        self.columns = _each(*self._chosen, "status", *order.where)

    def add(self, batch: pa.RecordBatch) -> None:
        """Write the rows of a batch that go out."""
        kept = self._selection.of(batch)
        self._csv.add(kept.select(self._chosen))
        self._selection.written += kept.num_rows

    def take(self, asked: Iterator[Asked]) -> None:
        """Need nothing of the input."""

    def close(self) -> None:
        """Nothing is left."""

    def notes(self) -> list[str]:
        """Nothing to say."""
        return []


class ChatFile:
    """Rows as conversations.

    Args:
        schema: of `data/`.
        examples: makes the conversations.

    Attributes:
        columns: to be read of a part.
    """

    def __init__(
        self, order: Order, sink: BinaryIO, schema: pa.Schema, selection: Selection, examples: Examples
    ) -> None:
        own = ("id",) if order.to is Format.TRL_SFT else ()
        self._beside = list(order.columns or own)
        self._selection = selection
        self._examples = examples
        self._sink = _chat_sink(order, sink, pa.schema([schema.field(name) for name in self._beside]))
        self.columns = _each(*COLUMNS, "candidates", "status", *self._beside, *order.where)
        self._to = order.to
        self._made = 0
        self.take = examples.take

    def add(self, batch: pa.RecordBatch) -> None:
        """Write the rows of a batch that go out and are conversations."""
        kept = self._selection.of(batch)
        rows = map(Answered, *(kept.column(name).to_pylist() for name in COLUMNS))
        conversations: list[list[Message]] = []
        places: list[int] = []
        for place, (row, candidates) in enumerate(zip(rows, said_in(kept.column("candidates")), strict=True)):
            made = self._examples.of(row, candidates)
            if isinstance(made, Gap):
                self._selection.leave(made)
                continue
            self._selection.written += 1
            conversations += made
            places += [place] * len(made)
        self._made += len(conversations)
        if conversations:
            self._sink.add(conversations, kept.select(self._beside).take(pa.array(places, pa.int64())))

    def close(self) -> None:
        """Write what is left."""
        self._sink.close()

    def notes(self) -> list[str]:
        """Give one line for each surprise."""
        few = self._to is Format.OPENAI_SFT and self._made < _OPENAI_LEAST
        return [*self._examples.notes(), *([f"OpenAI asks for at least {_OPENAI_LEAST} examples"] if few else [])]


def _chat_sink(order: Order, sink: BinaryIO, beside: pa.Schema) -> ChatSink:
    if order.target is not None and order.target.suffix.lower() == ".parquet":
        return ChatTable(sink, beside)
    return ChatLines(Chat(order.to), sink, plain_json)


def _each(*names: str) -> list[str]:
    return list(dict.fromkeys(names))
