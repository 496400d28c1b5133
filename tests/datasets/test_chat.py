import io

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.datasets.chat import TAKEN_BY_TRL, Chat, ChatLines, ChatTable
from batcher.datasets.flat import plain_json
from tests.datasets.conversations import conversations, is_conversational, openai_faults, trl_template_keys

NOTHING = pa.RecordBatch.from_struct_array(pa.array([], pa.struct([])))
MANY = st.lists(conversations(), min_size=1, max_size=5)


def lines(to, said, beside=NOTHING):
    sink = io.BytesIO()
    chat = ChatLines(to, sink, plain_json)
    chat.add(said, beside)
    chat.close()
    return [orjson.loads(line) for line in sink.getvalue().splitlines()]


def table(said, beside):
    sink = io.BytesIO()
    chat = ChatTable(sink, beside.schema)
    chat.add(said, beside)
    chat.close()
    return sink.getvalue()


def ids(count):
    return pa.record_batch({"id": [f"row {n}" for n in range(count)]})


@given(said=MANY)
def test_trl_reads_each_line_as_a_conversation(said):
    found = lines(Chat.TRL_SFT, said, ids(len(said)))
    assert [line["messages"] for line in found] == said
    assert [line["id"] for line in found] == [f"row {n}" for n in range(len(said))]
    assert all(map(is_conversational, found))
    assert all(map(trl_template_keys, found))


@given(said=MANY)
def test_parquet_says_the_same_as_lines(said):
    found = pq.read_table(pa.BufferReader(table(said, ids(len(said)))))
    assert found.to_pylist() == lines(Chat.TRL_SFT, said, ids(len(said)))
    assert all(map(is_conversational, found.to_pylist()))


def test_duckdb_reads_the_messages(tmp_path):
    said = [[{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]]
    (tmp_path / "a.parquet").write_bytes(table(said, ids(1)))
    asked = f"select messages[-1].content, messages[1].role, id from '{tmp_path}/a.parquet'"
    assert duckdb.sql(asked).fetchall() == [("2", "user", "row 0")]


@given(said=MANY)
def test_openai_finds_no_fault(said):
    found = lines(Chat.OPENAI_SFT, said)
    assert [line["messages"] for line in found] == said
    assert [openai_faults(line) for line in found] == [[]] * len(said)


@given(said=MANY)
def test_gemini_tuning_ends_with_the_model(said):
    for line, messages in zip(lines(Chat.GEMINI_TUNING, said), said, strict=True):
        roles = {"model": "assistant", "user": "user"}
        turns = [{"role": roles[c["role"]], "content": c["parts"][0]["text"]} for c in line["contents"]]
        system = [
            {"role": "system", "content": p["text"]} for p in line.get("systemInstruction", {"parts": []})["parts"]
        ]
        assert system + turns == messages
        assert line["contents"][-1]["role"] == "model"


@given(said=MANY)
def test_sharegpt_has_its_own_names(said):
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    found = lines(Chat.SHAREGPT, said)
    assert [
        [{"role": roles[turn["from"]], "content": turn["value"]} for turn in line["conversations"]] for line in found
    ] == said


@pytest.mark.parametrize("name", ["prompt", "completion", "chosen", "rejected", "label", "messages"])
def test_what_trl_knows_may_not_stand_beside(name):
    beside = {"messages": [{"role": "user", "content": "x"}], name: "text"}
    assert not (is_conversational(beside) and trl_template_keys(beside))
    assert name in TAKEN_BY_TRL


def test_row_groups_are_cut_by_size():
    said = [[{"role": "user", "content": "x" * 400}, {"role": "assistant", "content": "y"}]] * 2
    sink = io.BytesIO()
    chat = ChatTable(sink, ids(2).schema, row_group_bytes=2000)
    for _ in range(10):
        chat.add(said, ids(2))
    chat.close()
    file = pq.ParquetFile(pa.BufferReader(sink.getvalue()))
    assert file.metadata.num_rows == 20
    assert 4 <= file.num_row_groups < 10
