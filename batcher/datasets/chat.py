"""How does a conversation look to whoever trains on it? One shape for each trainer, as JSONL or Parquet.

`trl-sft`: `messages`, list of {role, content}, as TRL's conversational language modelling wants it; other columns may
stand beside it, but none that TRL would take for the example itself.
`openai-sft`: the same in JSONL, nothing beside it, because OpenAI's validator refuses what it does not know.
`gemini-tuning`: `systemInstruction` and `contents`, whose last role is `model`.
`sharegpt`: `conversations` of {from, value}, with system, human and gpt.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from batcher.datasets.messages import Message

ROW_GROUP_BYTES = 32 << 20
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

TAKEN_BY_TRL = frozenset(
    {"messages", "conversations", "prompt", "completion", "chosen", "rejected", "label", "text", "tools"}
    | {"image", "images", "input_ids", "labels", "chat_template_kwargs"}
)
"""Columns that TRL reads as the example itself (trl 1.16.0, data_utils.py and trainer/sft_trainer.py)."""


class Chat(enum.StrEnum):
    """For whom."""

    TRL_SFT = "trl-sft"
    OPENAI_SFT = "openai-sft"
    GEMINI_TUNING = "gemini-tuning"
    SHAREGPT = "sharegpt"


class ChatSink(Protocol):
    """Takes conversations."""

    def add(self, conversations: Sequence[list[Message]], beside: pa.RecordBatch) -> None:
        """Write some, each with its row of the columns that stand beside it."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


def openai_example(messages: list[Message]) -> dict[str, Any]:
    """Give one line of an OpenAI fine-tuning file."""
    return {"messages": messages}


def gemini_example(messages: list[Message]) -> dict[str, Any]:
    """Give one line of a Gemini tuning file."""
    system = [{"text": message["content"]} for message in messages if message["role"] == "system"]
    contents = [
        {"role": "model" if message["role"] == "assistant" else "user", "parts": [{"text": message["content"]}]}
        for message in messages
        if message["role"] != "system"
    ]
    return (
        {"systemInstruction": {"role": "system", "parts": system}} | {"contents": contents}
        if system
        else {"contents": contents}
    )


def sharegpt_example(messages: list[Message]) -> dict[str, Any]:
    """Give one line of a ShareGPT file."""
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[each["role"]], "value": each["content"]} for each in messages]}


_EXAMPLES: Mapping[Chat, Callable[[list[Message]], dict[str, Any]]] = {
    Chat.TRL_SFT: openai_example,
    Chat.OPENAI_SFT: openai_example,
    Chat.GEMINI_TUNING: gemini_example,
    Chat.SHAREGPT: sharegpt_example,
}


class ChatLines:
    """Conversations as JSON lines.

    Args:
        plain: makes a value of a column fit for JSON.
    """

    def __init__(self, to: Chat, sink: BinaryIO, plain: Callable[[Any], Any]) -> None:
        self._example = _EXAMPLES[to]
        self._sink = sink
        self._plain = plain

    def add(self, conversations: Sequence[list[Message]], beside: pa.RecordBatch) -> None:
        """Write some, one a line."""
        rows = beside.to_pylist() if beside.num_columns else [{}] * len(conversations)
        self._sink.writelines(
            orjson.dumps(self._example(messages) | row, default=self._plain, option=orjson.OPT_APPEND_NEWLINE)
            for messages, row in zip(conversations, rows, strict=True)
        )

    def close(self) -> None:
        """Nothing is left."""


class ChatTable:
    """Conversations as Parquet: `messages`, then the columns beside it."""

    def __init__(self, sink: BinaryIO, beside: pa.Schema, *, row_group_bytes: int = ROW_GROUP_BYTES) -> None:
        self._row_group_bytes = row_group_bytes
        self._schema = pa.schema([pa.field("messages", _MESSAGES), *beside])
        self._writer = pq.ParquetWriter(sink, self._schema, compression="zstd", write_page_checksum=True)
        self._waiting: list[pa.RecordBatch] = []
        self._size = 0

    def add(self, conversations: Sequence[list[Message]], beside: pa.RecordBatch) -> None:
        """Take some; they are written once there are enough for a row group."""
        columns = [pa.array(conversations, _MESSAGES), *beside.columns]
        batch = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        self._waiting.append(batch)
        self._size += batch.nbytes
        if self._size >= self._row_group_bytes:
            self._flush()

    def close(self) -> None:
        """Write what is left and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting)
            self._writer.write_table(table, row_group_size=table.num_rows)
        self._waiting, self._size = [], 0
