"""Whatever is wrong with what we are given: the exit code, the words, and how little was sent."""

import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.errors import Exit
from tests.whole.console import KEY, MODEL, batcher_against, rows_of

RUN = ("run", "-i", "p.jsonl", "-m", MODEL, "-o", "out/a")
GOOD = b'{"id": "a", "prompt": "What is 1 + 2?"}\n'
ROW = ("id", "status", "error_kind", "error_message")
ASKED = ("a", "ok", None, None)


@pytest.fixture(autouse=True)
def here(home):
    return home


@pytest.fixture
def batcher(endpoint, capfd):
    return batcher_against(endpoint, capfd)


@pytest.fixture
def given(here):
    """Writes the input file."""
    return (here / "p.jsonl").write_bytes


def refused(said, *lines, exit_code=Exit.USAGE):
    """Nothing was sent and nothing was printed but these lines."""
    assert said.refusal == list(lines)
    assert (said.exit_code, said.sent, said.out) == (exit_code, 0, "")


def test_a_missing_file(batcher):
    refused(batcher(*RUN), "error: p.jsonl: no such file")


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (None, ()),
        (b'{"name": "x"}\n', ("--template", "Hi {{ nme }}")),
        (b'{"name": "x"}\n', ("--template", "Hi {{ name")),
        (GOOD + b'{"prompt": "What\n', ("--strict",)),
    ],
)
def test_what_is_refused_leaves_nothing_behind(batcher, given, here, content, more):
    if content is not None:
        given(content)
    before = set(here.rglob("*"))

    assert batcher(*RUN, *more).exit_code == Exit.USAGE
    assert set(here.rglob("*")) == before


def test_what_is_refused_leaves_what_was_there(batcher, here):
    (here / "out/a/data").mkdir(parents=True)
    (here / "out/a/data/notes.txt").write_text("mine")

    assert batcher(*RUN).exit_code == Exit.USAGE
    assert [path.name for path in (here / "out/a").rglob("*")] == ["data", "notes.txt"]


def test_a_job_that_was_refused_runs_once_it_is_right(batcher, given):
    assert batcher(*RUN).exit_code == Exit.USAGE
    given(GOOD)
    assert batcher(*RUN).exit_code == Exit.DONE


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf" + GOOD * 2, (GOOD * 2).replace(b"\n", b"\r\n"), (GOOD * 2).rstrip(b"\n")],
    ids=["bom", "crlf", "no-last-newline"],
)
def test_what_editors_do_to_files_is_read_all_the_same(batcher, given, content):
    given(content)

    assert batcher(*RUN).exit_code == Exit.DONE
    assert rows_of("out/a", "id", "prompt", "response") == [("a", "What is 1 + 2?", "3")] * 2


def test_utf_16_is_refused_with_the_command_that_converts_it(batcher, given):
    given(GOOD.decode().encode("utf-16"))

    refused(
        batcher(*RUN),
        "error: p.jsonl: is UTF-16, wanted UTF-8",
        "  iconv -f UTF-16 -t UTF-8 p.jsonl > p-utf8.jsonl",
    )


def test_a_line_of_50_megabytes_fails_alone(batcher, here):
    a_long_line(here / "p.jsonl")

    said = batcher(*RUN)

    assert (said.exit_code, said.sent) == (Exit.ROWS_FAILED, 2)
    message = "p.jsonl:2: longer than 20,000,000 bytes (input.max_row_bytes)"
    assert rows_of("out/a", *ROW) == [ASKED, ("row-1", "failed", "bad_input", message), ASKED]


def test_a_long_line_takes_no_more_memory_than_the_job_allows_a_row(batcher, here):
    a_long_line(here / "p.jsonl")

    tracemalloc.start()
    try:
        assert batcher(*RUN, "--set", "input.max_row_bytes=1000000").exit_code == Exit.ROWS_FAILED
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 25_000_000


def a_long_line(path: Path) -> None:
    with path.open("wb") as file:
        file.write(GOOD)
        file.seek(50_000_000, os.SEEK_CUR)  # a hole: zeros that take no disk
        file.write(b"\n" + GOOD)


def test_parquet_without_the_column(batcher):
    pq.write_table(pa.table({"question": ["a", "b"]}), "p.parquet")
    run = [word.replace("jsonl", "parquet") for word in RUN]

    refused(
        batcher(*run),
        "error: p.parquet: found nothing to ask in its columns ('question'); "
        "wanted 'request' or 'contents' or 'body' or 'messages' or 'conversations' or 'prompt' or 'instruction' "
        "or 'input' or 'text'",
        "  a template makes a prompt of any columns: --template 'Answer: {{ question }}'",
    )
    refused(
        batcher(*run, "--template", "{{ prompt }}"),
        "error: [prompt] template: column 'prompt' not found in p.parquet",
        "  its columns: question",
    )


def test_a_file_that_is_parquet_by_name_only(batcher):
    Path("p.parquet").write_bytes(GOOD)

    said = batcher("run", "-i", "p.parquet", "-m", MODEL, "-o", "out/a")

    assert (said.exit_code, said.sent) == (Exit.USAGE, 0)
    assert said.refusal[0].startswith("error: p.parquet: not a readable Parquet file: ")


def test_a_model_that_nobody_has(batcher, given):
    given(GOOD * 200)

    said = batcher("run", "-i", "p.jsonl", "-m", "gemini-9", "-o", "out/a", "--concurrency", "4")

    assert said.exit_code == Exit.REFUSED
    assert said.verdict.startswith("the endpoint refuses us: not_found (HTTP 404): models/gemini-9 is not found")
    assert said.verdict.endswith("0 of 200 answers are safe on disk")
    assert said.sent <= 4


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_wrong_key(batcher, given, monkeypatch, concurrency):
    given(GOOD * 200)
    monkeypatch.setenv("GEMINI_API_KEY", "another-key-9876543210")

    said = batcher(*RUN, "--concurrency", str(concurrency))

    assert said.exit_code == Exit.REFUSED
    assert said.verdict.startswith("the endpoint refuses us: bad_key (HTTP 400): API key not valid.")
    assert "note: asked with the key from GEMINI_API_KEY (…3210)" in said.out.splitlines()
    assert said.sent <= concurrency


def test_a_run_that_was_refused_goes_on_with_the_right_key(batcher, given, monkeypatch):
    given(GOOD * 20)
    monkeypatch.setenv("GEMINI_API_KEY", "another-key-9876543210")
    assert batcher(*RUN).exit_code == Exit.REFUSED
    monkeypatch.setenv("GEMINI_API_KEY", KEY)

    said = batcher(*RUN)

    assert (said.exit_code, said.sent, said.verdict) == (Exit.DONE, 20, "done: 20 of 20 ok")


def test_no_key(batcher, given, monkeypatch):
    given(GOOD)
    monkeypatch.setenv("GEMINI_API_KEY", "")

    refused(
        batcher(*RUN),
        "error: no key: GOOGLE_API_KEY and GEMINI_API_KEY are not set",
        "  export GEMINI_API_KEY=…, or set key_file in [endpoint]",
    )


def test_an_output_that_cannot_be_written(batcher, given):
    given(GOOD)
    Path("out").write_text("a file where the folder should be")

    refused(
        batcher(*RUN),
        "error: out/a: cannot be written: Not a directory",
        "  name another folder with -o",
        exit_code=Exit.STORAGE,
    )
