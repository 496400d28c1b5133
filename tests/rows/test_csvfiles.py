from __future__ import annotations

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import InputError
from batcher.job.spec import InputFormat
from batcher.rows.csvfiles import column_names, delimiter_of, read_fields, record_parser
from batcher.rows.readers import find_inputs
from tests.rows.files import an_input, planned, read_back

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0"), max_size=12)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows_of(content: str | bytes, name: str = "a.csv") -> list[dict[str, object]]:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    spec = an_input(name)
    rows, _ = read_back(planned(spec, Path("spool"), block_rows=2), spec)
    return [dict(row.values) for row in rows]


def refused(content: bytes, name: str = "a.csv") -> InputError:
    Path(name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        find_inputs(an_input(name), spool=Path("spool"))
    return caught.value


@given(st.lists(st.tuples(texts, texts), max_size=12), st.sampled_from([",", ";", "\t"]), st.integers(1, 5))
def test_what_a_writer_wrote_is_read_in_any_blocks(
    rows: list[tuple[str, str]], delimiter: str, block_rows: int
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
            writer.writerows([("prompt", "note"), *rows])
        spec = an_input(path)
        index = planned(spec, Path(folder), block_rows=block_rows)
        back, columns = read_back(index, spec)

        assert [tuple(row.values.values()) for row in back] == rows  # noqa: PD011  a Row's, no frame's
        assert [row["note"] for row in columns] == [note for _, note in rows]
        assert planned(spec, Path(folder), block_rows=block_rows) == index


def test_cells_are_text_as_they_stand() -> None:
    assert rows_of('prompt,n\n 007 ,\n"",1.50\n') == [{"prompt": " 007 ", "n": ""}, {"prompt": "", "n": "1.50"}]


def test_marks_line_ends_and_blank_lines_are_no_part_of_a_row() -> None:
    assert rows_of(b"\xef\xbb\xbfprompt,n\r\n\r\na,1\r\n   \r\nb,2") == [
        {"prompt": "a", "n": "1"},
        {"prompt": "b", "n": "2"},
    ]


def test_messages_name_the_line_that_a_record_begins_in() -> None:
    Path("a.csv").write_bytes(b'prompt,"no\nte"\n"a\nb",1\nc\nd,\xe9\ne,f,g\n"open')
    spec = an_input("a.csv")
    index = planned(spec, Path())
    rows, columns = read_back(index, spec)

    assert [row.problem.message if row.problem else row.where for row in rows] == [
        "a.csv:3",
        "a.csv:5: wanted 2 fields as in the header, found 1",
        "a.csv:6: not UTF-8: byte 0xe9 at column 3",
        "a.csv:7: wanted 2 fields as in the header, found 3",
        "a.csv:8: not CSV: a quoted field is never closed",
    ]
    assert (index.rows, index.bad_rows, len(columns)) == (5, 4, 5)


def test_a_carriage_return_in_the_open_is_told() -> None:
    assert record_parser(("a", "b"), ",")(b"x\ry,z") == "not CSV: a carriage return in a field without quotes"
    assert record_parser(("a", "b"), ",")(b'"x\ry",z\r') == {"a": "x\ry", "b": "z"}


def test_a_field_may_be_longer_than_the_libraries_limit() -> None:
    assert read_fields("x" * 200_000, ",") == ["x" * 200_000]


records = st.text(st.sampled_from("ab ,;'\"\\\t\r\u2028é"), min_size=1).filter(str.strip)


@given(st.lists(records, max_size=6), st.sampled_from(",;\t|"))
def test_every_record_is_what_the_library_reads_whatever_came_before(texts: list[str], delimiter: str) -> None:
    parse = record_parser(["a", "b"], delimiter)
    for text in texts:
        reader = csv.reader(iter((text, "")), delimiter=delimiter)
        try:
            fields = next(reader)
        except csv.Error:
            wanted: object = "not CSV: a carriage return in a field without quotes"
        else:
            wanted = dict(zip(["a", "b"], fields, strict=False))
            if reader.line_num > 1:
                wanted = "not CSV: a quoted field is never closed"
            elif len(fields) != 2:
                wanted = f"wanted 2 fields as in the header, found {len(fields)}"
        assert parse(text.encode()) == wanted


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [("prompt", ","), ("a,b", ","), ("a;b;c", ";"), ("a\tb", "\t"), ("a|b", "|"), ('"a,b,c";d', ";"), ("", ",")],
)
def test_the_delimiter_is_told_by_the_header(header: str, delimiter: str) -> None:
    assert delimiter_of(header) == delimiter


def test_a_tsv_has_tabs_whatever_else_its_header_holds() -> None:
    assert rows_of("prompt\tx,y,z\na, b\t1\n", "a.tsv") == [{"prompt": "a, b", "x,y,z": "1"}]


def test_what_pandas_and_excel_write_is_read() -> None:
    frame = pd.DataFrame({"prompt": ['say "hi"', "two\nlines"], "n": [1, 2]})
    frame.to_csv("a.csv")
    assert rows_of(Path("a.csv").read_bytes()) == [
        {"column_1": "0", "prompt": 'say "hi"', "n": "1"},
        {"column_1": "1", "prompt": "two\nlines", "n": "2"},
    ]
    frame.to_csv("b.csv", sep=";", index=False, encoding="utf-8-sig", lineterminator="\r\n")
    assert rows_of(Path("b.csv").read_bytes(), "b.csv") == [
        {"prompt": 'say "hi"', "n": "1"},
        {"prompt": "two\nlines", "n": "2"},
    ]


def test_a_header_names_the_columns() -> None:
    assert column_names(["", " a ", ""]) == ("column_1", "a", "column_3")
    assert refused(b"a,b,a\n").message == "a.csv: two columns are called 'a'"
    assert refused(b"\na,b\n").message == "a.csv: its first line is blank, wanted the names of the columns"
    assert refused(b"pr\xe9nom,b\n").message == "a.csv:1: not UTF-8: byte 0xe9 at column 3"
    assert refused(b"pr\xe9nom,b\n").hint == "iconv -f WINDOWS-1252 -t UTF-8 a.csv > a-utf8.csv"
    assert refused("a,b\n".encode("utf-16")).message == "a.csv: is UTF-16, wanted UTF-8"
    assert refused(b'"a,b\n').message == "a.csv:1: not CSV: a quoted field is never closed"


@pytest.mark.parametrize("content", [b"", b"prompt,n", b"prompt,n\n\n", b"\xef\xbb\xbf"])
def test_a_header_alone_is_an_input_without_rows(content: bytes) -> None:
    Path("a.csv").write_bytes(content)
    index = planned(an_input("a.csv"), Path())

    assert (index.rows, index.blocks, index.schema) == (0, (), pa.schema([]))


def test_a_table_of_cells_can_carry_json() -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["id", "messages"], ["a", '[{"role": "user", "content": "hi"}]']])
    Path("a.csv").write_text(text.getvalue(), newline="")

    assert planned(an_input("a.csv"), Path()).shape.kind == "messages"


def test_files_of_different_columns_meet_in_one_schema() -> None:
    Path("a.csv").write_text("text,n\na,1\n")
    Path("b.txt").write_text("only text\n")
    Path("c.json").write_text('[{"text": "c", "n": 3}]')
    spec = an_input("a.csv", "b.txt", "c.json")
    rows, columns = read_back(planned(spec, Path()), spec)

    assert [row.where for row in rows] == ["a.csv:2", "b.txt:1", "c.json, element 1"]
    assert [row["n"] for row in columns] == ['"1"', None, "3"]
    assert {file.format for file in find_inputs(spec, spool=Path())} == {
        *(InputFormat.CSV, InputFormat.TEXT, InputFormat.JSON),
    }
