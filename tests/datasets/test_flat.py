import csv
import datetime as dt
import io
import re
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from batcher.datasets.flat import Csv, harmless

TRIGGERS = "=+-@\uff1d\uff0b\uff0d\uff20"
BLANKS = " \t\xa0\u200b\ufeff\x00\x0b"
SHARP = st.text(st.sampled_from(f"{TRIGGERS}{BLANKS}\r\na1',\"|"), max_size=12)
TEXTS = st.one_of(st.text(max_size=20), SHARP)


def written(table):
    sink = io.BytesIO()
    sheet = Csv(sink, table.schema)
    for batch in table.to_batches(max_chunksize=3):
        sheet.add(batch)
    return sink.getvalue()


def cells(raw):
    return list(csv.reader(io.StringIO(raw.decode(), newline="")))


def physical_lines(text):
    return re.split("[\r\n]", text)


@given(text=TEXTS)
@example(text="=HYPERLINK(1)")
@example(text="  \t=1+1")
@example(text="fine\n+1+1")
@example(text="\r\n@x")
@example(text="\tplain")
def test_no_line_can_be_taken_for_a_formula(text):
    shown = harmless(text)
    is_number = re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text)
    for line in physical_lines(shown):
        assert (
            is_number
            or not line.lstrip(BLANKS + " \x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029\u3000")[:1]
            or (line.lstrip(BLANKS)[:1] not in TRIGGERS)
        )
    assert not shown.startswith(("\t", "\r"))


@given(text=TEXTS)
def test_nothing_but_apostrophes_at_the_start_of_lines_is_added(text):
    for was, line in zip(physical_lines(text), physical_lines(harmless(text)), strict=True):
        assert line in {was, f"'{was}"}


@given(text=st.text(max_size=20).filter(lambda text: not re.search(f"[{TRIGGERS}\t\r]", text)))
def test_a_harmless_text_stays(text):
    assert harmless(text) == text


@pytest.mark.parametrize("number", ["-5", "+3.25", "-1e-7", "42"])
def test_a_number_is_no_formula(number):
    assert harmless(number) == number


@pytest.mark.parametrize("sum_", ["-5+3", "+1\n", "-A1", "--5", "=5"])
def test_what_only_looks_like_one_is(sum_):
    assert harmless(sum_) == f"'{sum_}"


VALUES = {
    pa.string(): TEXTS,
    pa.large_string(): TEXTS,
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False, allow_infinity=False),
    pa.bool_(): st.booleans(),
    pa.decimal128(38, 15): st.decimals(-(10**9), 10**9, places=15),
    pa.binary(16): st.binary(min_size=16, max_size=16),
    pa.large_binary(): st.binary(max_size=8),
    pa.list_(pa.struct([("key", pa.string())])): st.lists(st.fixed_dictionaries({"key": TEXTS}), max_size=2),
    pa.timestamp("us", tz="UTC"): st.datetimes(timezones=st.just(dt.UTC)),
}


@st.composite
def tables(draw):
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=5))
    rows = draw(st.integers(0, 5))
    names = draw(st.lists(st.text(min_size=1, max_size=6), min_size=len(kinds), max_size=len(kinds), unique=True))
    columns = [pa.array(draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows)), kind) for kind in kinds]
    return pa.table(columns, names=names)


def told(value, kind):
    """What a reader of texts should find for a value."""
    if value is None:
        return ""
    match value:
        case str():
            return harmless(value)
        case bool():
            return str(value).lower()
        case bytes():
            return value.hex()
    return None if pa.types.is_nested(kind) else value


def same(found, value, kind):
    wanted = told(value, kind)
    match wanted:
        case Decimal():
            return Decimal(found) == wanted and "E" not in found
        case float():
            return float(found) == wanted and "e" not in found
        case dt.datetime():
            return dt.datetime.fromisoformat(found) == wanted
        case None:
            return pa.array([found]).cast(pa.string()).to_pylist() == [found] and found.startswith("[")
        case int() if not isinstance(wanted, bool):
            return int(found) == wanted
    return found == wanted


@given(table=tables())
def test_every_cell_comes_back_through_a_plain_reader(table):
    header, *rows = cells(written(table))
    assert header == [harmless(name) for name in table.column_names]
    for at, values in enumerate(zip(*(column.to_pylist() for column in table.columns), strict=True)):
        assert len(rows[at]) == len(values)
        for found, value, column in zip(rows[at], values, table.columns, strict=True):
            assert same(found, value, column.type), (found, value)
    assert len(rows) == table.num_rows


@given(table=tables().filter(lambda table: table.num_rows > 0))
@example(table=pa.table({"x": pa.array([None, "", "a"], pa.string())}))
def test_pyarrow_tells_null_from_empty(table):
    names = [harmless(name) for name in table.column_names]
    assume(len(set(names)) == len(names))
    found = pyarrow.csv.read_csv(
        pa.BufferReader(written(table)),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    assert (found.column_names, found.num_rows) == (names, table.num_rows)
    for column, was in zip(found.columns, table.columns, strict=True):
        pairs = list(zip(column.to_pylist(), was.to_pylist(), strict=True))
        assert all((read is None) == (value is None) or table.num_columns == 1 for read, value in pairs)
        assert all(same(read, value, was.type) for read, value in pairs if read)


@given(table=tables())
@settings(max_examples=50)
def test_duckdb_tells_null_from_empty(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("duckdb") / "rows.csv"
    path.write_bytes(written(table))
    names = ", ".join(f"'c{n}': 'VARCHAR'" for n in range(table.num_columns))
    how = "header=true, delim=',', quote='\"', escape='\"', new_line='\\n', auto_detect=false, allow_quoted_nulls=false"
    found = duckdb.sql(f"select * from read_csv('{path}', {how}, columns={{{names}}})").fetchall()
    assert len(found) == table.num_rows
    for read, was in zip(found, zip(*(column.to_pylist() for column in table.columns), strict=True), strict=True):
        for text, value, kind in zip(read, was, table.schema.types, strict=True):
            assert (text is None) == (value is None) or table.num_columns == 1
            assert not text or same(text, value, kind)


ROWS = pa.table(
    {
        "id": ["a", "b, c", 'quoted "x"'],
        "text": pa.array(["two\nlines", "=1+1", None], pa.large_string()),
        "cost_usd": pa.array([Decimal("0.000003700000000"), None, Decimal("0.000000000000001")], pa.decimal128(38, 15)),
        "ms": [1e-7, 1.5, None],
        "ok": [True, None, False],
        "at": pa.array([0, 1_700_000_000_123_456, None], pa.timestamp("us", tz="UTC")),
        "n": [-5, 2**62, None],
    }
)


def test_how_it_looks():
    assert written(ROWS).decode() == (
        '"id","text","cost_usd","ms","ok","at","n"\n'
        '"a","two\nlines",0.0000037,0.0000001,true,1970-01-01T00:00:00.000000Z,-5\n'
        '"b, c","\'=1+1",,1.5,,2023-11-14T22:13:20.123456Z,4611686018427387904\n'
        '"quoted ""x""",,0.000000000000001,,false,,\n'
    )


def test_duckdb_guesses_the_types(tmp_path):
    (tmp_path / "rows.csv").write_bytes(written(ROWS))
    asked = f"select id, text, ms, ok, n, epoch_us(\"at\") from '{tmp_path}/rows.csv'"
    found = duckdb.sql(asked).fetchall()
    assert found == [
        ("a", "two\nlines", 1e-7, True, -5, 0),
        ("b, c", "'=1+1", 1.5, None, 2**62, 1_700_000_000_123_456),
        ('quoted "x"', None, None, False, None, None),
    ]


def test_pyarrow_guesses_the_types(tmp_path):
    (tmp_path / "rows.csv").write_bytes(written(ROWS))
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    found = pyarrow.csv.read_csv(tmp_path / "rows.csv", parse_options=options)
    assert found["n"].to_pylist() == [-5, 2**62, None]
    assert found["ok"].to_pylist() == [True, None, False]
    assert found["cost_usd"].to_pylist()[0] == 0.0000037


def test_columns_of_other_kinds():
    table = pa.table(
        {
            "day": pa.array([dt.date(2026, 11, 25)]),
            "span": pa.array([dt.timedelta(seconds=3)]),
            "far": pa.array([317_000_000_000_000], pa.timestamp("ms")),
            "nan": pa.array([float("nan")]),
            "deep": pa.array([{"cost": Decimal("0.10"), "raw": b"\x00", "at": dt.datetime(2026, 1, 1)}]),  # noqa: DTZ001
        }
    )
    (_, row) = cells(written(table))
    assert row[0] == "2026-11-25"
    assert row[1] == "0:00:03"
    assert row[2] == "12015-05-01T11:33:20.000"
    assert row[3] == "nan"
    assert row[4] == '{"cost":"0.1","raw":"AA==","at":"2026-01-01T00:00:00"}'
