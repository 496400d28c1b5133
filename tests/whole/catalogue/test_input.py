"""D19 to D28: whatever is wrong with the input or the job is told before anything is paid, or fails one row alone."""

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.errors import Exit
from tests.whole.console import rows_of
from tests.whole.runs import (
    MODEL,
    call,
    column,
    command,
    data,
    environment,
    manifest,
    run_argv,
    settled,
    sums,
    write_lines,
)

RUN = ("run", "-i", "p.jsonl", "-m", MODEL, "-o", "out/a")
GOOD = b'{"id": "a", "prompt": "What is 1 + 2?"}\n'
ROW = ("id", "status", "error_kind", "error_message")
ASKED = ("a", "ok", None, None)
TWO_BLOCKS = 300  # rows; a block has 256 at least


@pytest.fixture
def given(here):
    """Writes the input file."""
    return (here / "p.jsonl").write_bytes


def refused(said, *lines):
    """Nothing was sent and nothing was printed but these lines."""
    assert said.refusal == list(lines)
    assert (said.exit_code, said.sent, said.out) == (Exit.USAGE, 0, "")


# --- D19


def test_d19_a_broken_line_fails_alone_and_says_where_it_stands(batcher, given):
    """A malformed line is a failed row, bad_input with file and line, and no request."""
    given(GOOD + b'{"prompt": "What\n' + GOOD)

    said = batcher(*RUN)

    assert (said.exit_code, said.sent, said.verdict) == (Exit.ROWS_FAILED, 2, "done: 2 of 3 ok, 1 failed")
    message = "p.jsonl:2: not JSON: unexpected end of data (column 17)"
    assert rows_of("out/a", *ROW) == [ASKED, ("row-1", "failed", "bad_input", message), ASKED]


def test_d19_under_strict_a_broken_line_stops_the_run_before_it_begins(batcher, given, here):
    """With --strict a malformed line is exit 2 with file and line; nothing is sent or left behind."""
    given(GOOD + b'{"prompt": "What\n' + GOOD)

    refused(
        batcher(*RUN, "--strict"),
        "error: 1 row cannot be read:",
        "error:   p.jsonl:2: not JSON: unexpected end of data (column 17)",
        "  without --strict they become failed rows of the output",
    )
    assert not (here / "out").exists()


# --- D20


def test_d20_a_column_that_names_rows_names_each_once(batcher, here):
    """Duplicates in the column that the job names are exit 2 before any request; the first ten are listed."""
    rows = [{"key": f"k{n % 12}", "prompt": "What is 1 + 2?"} for n in range(24)]
    write_lines(here / "p.jsonl", [*rows, {"key": None, "prompt": "x"}, {"key": None, "prompt": "x"}])

    refused(
        batcher(*RUN, "--set", "input.id=key"),
        "error: p.jsonl: 12 rows are called as an earlier one by column 'key' (input.id):",
        *(f"error:   'k{n}': p.jsonl:{n + 1} and p.jsonl:{n + 13}" for n in range(10)),
        "error:   and 2 more",
        "  name another column with input.id, or none: rows then go by their place",
    )
    assert not (here / "out").exists()
    assert batcher(*RUN).exit_code == Exit.DONE  # a name that was merely found may stand twice


# --- D21


def test_d21_equal_prompts_are_so_many_rows_with_results_of_their_own(batcher, emulator, here):
    """Rows with one prompt, and one name, are each asked and each have a row."""
    write_lines(here / "p.jsonl", [{"id": "same", "prompt": "What is 4 + 4?"}] * 20)

    said = batcher(*RUN)

    assert (said.exit_code, said.sent) == (Exit.DONE, 20)
    assert column(here / "out/a", "id") == ["same"] * 20
    assert column(here / "out/a", "task") == list(range(20))
    billed = {each.response_id for each in emulator.journal}
    assert len(billed) == 20
    assert set(column(here / "out/a", "response_id")) == billed


# --- D22


def change_a_byte(path: Path, line: int) -> None:
    """Another digit in that line; size and mtime stay as they were."""
    stat = path.stat()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b" * 7", b" * 8")
    path.write_bytes(b"".join(lines))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)


@pytest.mark.parametrize(("line", "block", "asked_first"), [(0, 1, 0), (TWO_BLOCKS - 1, 2, 256)])
def test_d22_one_byte_changed_behind_our_back_is_found_before_its_block_is_asked(
    batcher, here, sent, line, block, asked_first
):
    """One byte changed, size and mtime restored: exit 2 naming file and block, and no request from that block."""
    rows = sums(TWO_BLOCKS)
    write_lines(here / "p.jsonl", rows)
    assert call(*RUN, "--concurrency", "8", BATCHER_FAILPOINT="planned").returncode < 0
    assert manifest(here / "out/a")["blocks"] == 2
    change_a_byte(here / "p.jsonl", line)

    said = batcher(*RUN, "--concurrency", "1")

    assert said.exit_code == Exit.USAGE
    changed = f"p.jsonl: changed since it was planned: block {block} is not what it was; "
    assert said.verdict.startswith(changed)
    assert "note: put the file back as it was, or start a fresh run in another directory" in said.out.splitlines()
    assert said.sent <= asked_first
    assert set(sent()) <= {row["prompt"] for row in rows[:asked_first]}

    (here / "p.jsonl").write_bytes(b"")  # and back: the same command goes on
    stat = orjson.loads((here / "out/a/run.json").read_bytes())["inputs"][0]
    write_lines(here / "p.jsonl", rows)
    os.utime(here / "p.jsonl", ns=(stat["mtime_ns"], stat["mtime_ns"]))
    assert batcher(*RUN).exit_code == Exit.DONE
    assert sorted(sent()) == sorted(row["prompt"] for row in rows)


def test_d22_an_input_that_has_grown_is_refused_with_what_differs(batcher, given):
    """An input of another size or mtime is exit 2 before the first request, with a diff and the way on."""
    given(GOOD)
    assert batcher(*RUN).exit_code == Exit.DONE
    given(GOOD * 2)

    said = batcher(*RUN)

    assert (said.exit_code, said.sent, said.out) == (Exit.USAGE, 0, "")
    assert said.refusal[0] == "error: out/a: the input has changed"
    assert said.refusal[1].startswith("  p.jsonl: ")
    assert "name another folder with -o, or remove out/a" in said.refusal[-1]


# --- D23


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (("--temperature", "0.7"), "  generation.temperature: 0.5 → 0.7"),
        (("-m", "gemini-2.5-pro"), '  model: "gemini-2.5-flash" → "gemini-2.5-pro"'),
        (("--template", "Say {{ prompt }}"), '  prompt.template: default → "Say {{ prompt }}"'),
        (("--label", "team=x"), '  labels.team: default → "x"'),
    ],
)
def test_d23_another_question_is_another_run(batcher, given, flags, difference):
    """Model, template or temperature changed on resume is exit 2 with a diff and the command that goes on."""
    given(GOOD)
    assert batcher(*RUN, "--temperature", "0.5").exit_code == Exit.DONE

    said = batcher(*RUN, *(() if "--temperature" in flags else ("--temperature", "0.5")), *flags)

    assert (said.exit_code, said.sent, said.out) == (Exit.USAGE, 0, "")
    assert said.refusal[:2] == ["error: out/a: this run was planned for another job", difference]
    assert "name another folder with -o, or remove out/a" in said.refusal[-1]


def test_d23_how_fast_is_no_part_of_the_question(batcher, given):
    """Changed concurrency, quotas and retries are accepted on resume, and what is done is not asked again."""
    given(GOOD)
    assert batcher(*RUN).exit_code == Exit.DONE

    said = batcher(*RUN, "--concurrency", "3", "--rpm", "100", "--set", "retry.attempts=9")

    assert (said.exit_code, said.sent) == (Exit.DONE, 0)


# --- D24


@pytest.mark.parametrize("other", [b'{"name": null}\n', b'{"age": 3}\n'])
def test_d24_a_column_that_is_null_or_missing_in_a_row_fails_that_row(batcher, given, sent, other):
    """A missing or null template column is bad_input, and the text "None" or "null" is never sent."""
    given(b'{"name": "x"}\n' + other)

    said = batcher(*RUN, "--template", "Hi {{ name }}")

    assert (said.exit_code, said.sent) == (Exit.ROWS_FAILED, 1)
    assert rows_of("out/a", *ROW)[1] == ("row-1", "failed", "bad_input", "p.jsonl:2: column 'name' is null")
    assert sent() == ["Hi x"]


def test_d24_a_prompt_that_is_null_fails_its_row(batcher, given, sent):
    """The column that is asked itself is held to the same."""
    given(GOOD + b'{"prompt": null}\n')

    assert batcher(*RUN).exit_code == Exit.ROWS_FAILED
    assert rows_of("out/a", *ROW)[1] == ("row-1", "failed", "bad_input", "p.jsonl:2: column 'prompt' is null")
    assert sent() == ["What is 1 + 2?"]


def test_d24_a_column_that_no_row_has_is_refused_before_anything_is_sent(batcher, given):
    """A template column that nobody has is exit 2, with the name that may have been meant."""
    given(b'{"name": "x"}\n')

    refused(
        batcher(*RUN, "--template", "Hi {{ nme }}"),
        "error: [prompt] template: column 'nme' not found in p.jsonl; did you mean 'name'?",
        "  its columns: name",
    )


# --- D25

ODD = {
    "nul": "a\x00b",
    "line separators": "one\u2028two\u2029three\x85four\x0bfive",
    "emoji of four bytes": "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿 \U0010ffff",
    "not characters": "\ufffe\uffff\ufdd0",
    "a byte order mark": "\ufeffhello\ufeff",
    "right to left": "\u202eabc\u202c عربى",
    "apart and together": "e\u0301 é",
    "controls": "".join(map(chr, range(1, 32))) + "\x7f",
}


@pytest.mark.parametrize("escaped", [False, True], ids=["as bytes", "escaped"])
def test_d25_odd_characters_arrive_as_they_are(batcher, here, sent, escaped):
    """NUL, U+2028, emoji of four bytes and their like reach the endpoint and the output byte for byte."""
    lines = [json.dumps({"prompt": text}, ensure_ascii=escaped) for text in ODD.values()]
    (here / "p.jsonl").write_bytes("".join(line + "\n" for line in lines).encode())

    assert batcher(*RUN, "--concurrency", "1").exit_code == Exit.DONE
    assert sent() == list(ODD.values())
    assert column(here / "out/a", "prompt") == list(ODD.values())


def test_d25_a_lone_surrogate_fails_its_row(batcher, given, sent):
    """Half a character is bad_input: it cannot be written as UTF-8, and nothing is sent in its place."""
    given(GOOD + b'{"prompt": "half \\ud83d a smile"}\n')

    said = batcher(*RUN)

    assert (said.exit_code, said.sent) == (Exit.ROWS_FAILED, 1)
    message = "p.jsonl:2: not JSON: no low surrogate in string (column 18)"
    assert rows_of("out/a", *ROW) == [ASKED, ("row-1", "failed", "bad_input", message)]
    assert sent() == ["What is 1 + 2?"]


def test_d25_a_lone_surrogate_in_a_parquet_file_fails_its_row(batcher, here, sent):
    """The same where a column of texts holds bytes that are none."""
    bad = pa.array([b"What is 1 + 2?", b"half \xed\xa0\xbd a smile"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"prompt": bad}), here / "p.parquet")

    said = batcher("run", "-i", "p.parquet", "-m", MODEL, "-o", "out/a")

    assert (said.exit_code, said.sent) == (Exit.ROWS_FAILED, 1)
    assert [row[1:3] for row in rows_of("out/a", *ROW)] == [("ok", None), ("failed", "bad_input")]
    assert sent() == ["What is 1 + 2?"]


# --- D26


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"], ids=["no byte", "blank lines"])
def test_d26_an_empty_input_is_a_finished_run(batcher, given, here, content):
    """No rows are exit 0: the anchor with its schema, rows = 0 in run.json, and _SUCCESS."""
    given(content)

    said = batcher(*RUN)

    out = here / "out/a"
    assert (said.exit_code, said.sent, said.verdict) == (Exit.DONE, 0, "done: 0 of 0 ok")
    (anchor,) = (out / "data").iterdir()
    assert pq.ParquetFile(anchor).metadata.num_rows == 0
    assert "status" in pq.read_table(out / "data").column_names
    assert (out / "_SUCCESS").exists()
    found = manifest(out)
    assert (found["rows"], found["tasks"], found["summary"]["exit_code"]) == (0, 0, 0)


def test_d26_a_table_without_rows_is_a_finished_run(batcher, here):
    """The same of a Parquet file that has columns and no rows."""
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), here / "p.parquet")

    said = batcher("run", "-i", "p.parquet", "-m", MODEL, "-o", "out/a")

    assert (said.exit_code, said.sent) == (Exit.DONE, 0)
    assert manifest(here / "out/a")["rows"] == 0


# --- D27


def nested_table(first: int, count: int, *, padding: int = 0) -> pa.Table:
    """Nested and dictionary columns beside an int64 key of any size; `padding` bytes a row that nobody asks."""
    numbers = range(first, first + count)
    noise = random.Random(first)
    return pa.table(
        {
            "key": pa.array([2**62 - n for n in numbers], pa.int64()),
            "prompt": pa.array([f"What is {n % 50} * 7?" for n in numbers]).dictionary_encode(),
            "tags": pa.array([["a"] * (n % 3) or None for n in numbers], pa.list_(pa.string())),
            "meta": pa.array([{"n": n, "deep": {"x": [n / 2]}} for n in numbers]),
            "lang": pa.array([("en", "de", None)[n % 3] for n in numbers]).dictionary_encode(),
            "picture": pa.array([noise.randbytes(1000) * (padding // 1000) for _ in numbers], pa.binary()),
        }
    )


def test_d27_nested_and_dictionary_columns_and_a_wide_key_come_back_in_order(batcher, here):
    """A Parquet file of any columns is read group by group; rows come out in its order, values as they were."""
    table = nested_table(0, 600)
    pq.write_table(table.drop_columns(["picture"]), here / "p.parquet", row_group_size=100)

    said = batcher("run", "-i", "p.parquet", "-m", MODEL, "-o", "out/a", "--set", "input.id=key")

    assert (said.exit_code, said.sent) == (Exit.DONE, 600)
    found = data(here / "out/a")
    assert found.column("id").to_pylist() == [str(key) for key in table.column("key").to_pylist()]
    for name in ("prompt", "lang", "tags", "meta"):
        values = found.column(name).to_pylist()
        if name in {"tags", "meta"} and pa.types.is_large_string(found.schema.field(name).type):
            values = [value and orjson.loads(value) for value in values]
        assert values == table.column(name).to_pylist(), name


PEAK = """
import resource, subprocess, sys
ended = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL)
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(ended.returncode)
"""


def peak_bytes(argv, tmp_path):
    """Run a command to its end in a process of its own; the most memory it held."""
    peak = tmp_path / "peak"
    watched = [sys.executable, "-c", PEAK, str(peak), *command(*argv)]
    done = subprocess.run(watched, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(peak.read_text()) * (1 if sys.platform == "darwin" else 1024)


def write_in_groups(path, groups, rows, padding, compression):
    with pq.ParquetWriter(path, nested_table(0, 1, padding=padding).schema, compression=compression) as writer:
        for group in range(groups):
            writer.write_table(nested_table(group * rows, rows, padding=padding))


LEAST_BYTES, MOST_BYTES = 30_000_000, 512_000_000


def test_d27_memory_is_bounded_whatever_the_file_holds(emulator, tmp_path):
    """A Parquet file that holds 400 MB is asked in less than 512 MB of memory, where reading it whole takes 600."""
    write_in_groups(tmp_path / "p.parquet", groups=16, rows=250, padding=100_000, compression="zstd")

    peak = peak_bytes(run_argv(tmp_path / "p.parquet", tmp_path / "out", emulator.url), tmp_path)

    assert LEAST_BYTES < peak < MOST_BYTES  # it was measured, and is bounded


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_d27_a_file_of_more_than_a_gigabyte_is_streamed(emulator, tmp_path):
    """More than 1 GB of Parquet with nested columns is asked in less than 512 MB of memory, in its order."""
    write_in_groups(tmp_path / "p.parquet", groups=44, rows=250, padding=100_000, compression="none")
    assert (tmp_path / "p.parquet").stat().st_size > 1 << 30

    peak = peak_bytes(run_argv(tmp_path / "p.parquet", tmp_path / "out", emulator.url), tmp_path)

    print(f"peak of {peak / 1e6:,.0f} MB")
    assert LEAST_BYTES < peak < MOST_BYTES
    assert column(tmp_path / "out", "task") == list(range(11_000))
    assert column(tmp_path / "out", "id") == [str(2**62 - n) for n in range(11_000)]


# --- D28


def test_d28_a_compressed_file_that_is_cut_is_refused_with_its_byte(batcher, here, sent):
    """A truncated .jsonl.gz is exit 2 "damaged … at byte n" before any request, and runs once it is whole."""
    rows = sums(50)
    whole = gzip.compress(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    (here / "p.jsonl.gz").write_bytes(whole[:-20])
    run = ("run", "-i", "p.jsonl.gz", "-m", MODEL, "-o", "out/a")

    cut = "Compressed file ended before the end-of-stream marker was reached"
    at = len(whole) - 20
    refused(
        batcher(*run),
        f"error: p.jsonl.gz: damaged: {cut} (found at byte {at} of {at}); nothing was read from it",
        "  it ends in the middle: fetch it again, or take its whole lines: gzip -dcq p.jsonl.gz | sed '$d' > p.jsonl",
    )
    assert not (here / "out").exists()

    (here / "p.jsonl.gz").write_bytes(whole)
    assert batcher(*run).exit_code == Exit.DONE
    assert (here / "out/a/_SUCCESS").exists()
    assert sorted(sent()) == sorted(row["prompt"] for row in rows)


def test_d28_what_is_whole_can_be_asked_as_the_message_says(batcher, here):
    """The command of the message gives the whole lines before the damage, and they run."""
    lines = [orjson.dumps(row | {"note": random.Random(n).randbytes(200).hex()}) for n, row in enumerate(sums(300))]
    whole = gzip.compress(b"".join(line + b"\n" for line in lines))
    (here / "p.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    said = batcher("run", "-i", "p.jsonl.gz", "-m", MODEL, "-o", "out/a")
    typed = said.refusal[-1].partition("whole lines: ")[2]

    subprocess.run(typed, shell=True, check=False, stderr=subprocess.DEVNULL)
    again = batcher(*RUN)

    assert again.exit_code == Exit.DONE
    assert 0 < again.sent < 300
    assert column(here / "out/a", "id") == [f"q{n}" for n in range(again.sent)]


@pytest.mark.parametrize("point", ["block-written", "after-commit:3"])
def test_d28_a_run_begun_on_a_whole_file_does_not_go_on_with_a_cut_one(batcher, here, emulator, point):
    """A file that was cut after planning is another input: exit 2, nothing sent; put back, the run goes on."""
    whole = gzip.compress(b"".join(orjson.dumps(row) + b"\n" for row in sums(50)))
    file = here / "p.jsonl.gz"
    file.write_bytes(whole)
    stat = file.stat()
    run = ("run", "-i", "p.jsonl.gz", "-m", MODEL, "-o", "out/a")
    assert call(*run, BATCHER_FAILPOINT=point).returncode < 0
    settled(emulator)
    file.write_bytes(whole[:-20])

    said = batcher(*run)

    assert (said.exit_code, said.sent) == (Exit.USAGE, 0)
    assert said.refusal[0] == "error: out/a: the input has changed"
    assert not (here / "out/a/_SUCCESS").exists()
    file.write_bytes(whole)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert batcher(*run).exit_code == Exit.DONE
