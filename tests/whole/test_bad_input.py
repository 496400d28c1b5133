"""Whatever is wrong with what we are given: the exit code, the words, and how little was sent."""

import json
import os
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.errors import Exit
from batcher.store.rundir import Lock
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


def process(*argv, **environ):
    return subprocess.run(
        [sys.executable, "-m", "batcher", *argv],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environ,
        timeout=60,
    )


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


def test_an_empty_file_is_a_run_of_no_rows(batcher, given, here):
    given(b"")

    said = batcher(*RUN)

    assert (said.exit_code, said.sent, said.verdict) == (Exit.DONE, 0, "done: 0 of 0 ok")
    (anchor,) = (here / "out/a/data").iterdir()
    assert pq.ParquetFile(anchor).metadata.num_rows == 0
    assert "status" in pq.read_table(here / "out/a/data").column_names
    assert (here / "out/a/_SUCCESS").exists()


def test_a_broken_line_fails_alone_and_says_where_it_stands(batcher, given):
    given(GOOD + b'{"prompt": "What\n' + GOOD)

    said = batcher(*RUN)

    assert (said.exit_code, said.sent, said.verdict) == (Exit.ROWS_FAILED, 2, "done: 2 of 3 ok, 1 failed")
    message = "p.jsonl:2: not JSON: unexpected end of data (column 17)"
    assert rows_of("out/a", *ROW) == [ASKED, ("row-1", "failed", "bad_input", message), ASKED]


def test_a_broken_line_under_strict(batcher, given):
    given(GOOD + b'{"prompt": "What\n' + GOOD)

    refused(
        batcher(*RUN, "--strict"),
        "error: 1 row cannot be read:",
        "error:   p.jsonl:2: not JSON: unexpected end of data (column 17)",
        "  without --strict they become failed rows of the output",
    )


def test_a_column_that_the_template_wants_and_nobody_has(batcher, given):
    given(b'{"name": "x"}\n')

    refused(
        batcher(*RUN, "--template", "Hi {{ nme }}"),
        "error: [prompt] template: column 'nme' not found in p.jsonl; did you mean 'name'?",
        "  its columns: name",
    )


@pytest.mark.parametrize("other", [b'{"name": null}\n', b'{"age": 3}\n'])
def test_a_column_that_is_null_or_missing_in_one_row(batcher, given, other):
    given(b'{"name": "x"}\n' + other)

    said = batcher(*RUN, "--template", "Hi {{ name }}")

    assert (said.exit_code, said.sent) == (Exit.ROWS_FAILED, 1)
    assert rows_of("out/a", *ROW)[1] == ("row-1", "failed", "bad_input", "p.jsonl:2: column 'name' is null")


def test_a_prompt_that_is_null(batcher, given):
    given(GOOD + b'{"prompt": null}\n')

    assert batcher(*RUN).exit_code == Exit.ROWS_FAILED
    assert rows_of("out/a", *ROW)[1] == ("row-1", "failed", "bad_input", "p.jsonl:2: column 'prompt' is null")


def test_a_lone_surrogate(batcher, given):
    given(GOOD + b'{"prompt": "half \\ud83d a smile"}\n')

    said = batcher(*RUN)

    assert (said.exit_code, said.sent) == (Exit.ROWS_FAILED, 1)
    message = "p.jsonl:2: not JSON: no low surrogate in string (column 18)"
    assert rows_of("out/a", *ROW) == [ASKED, ("row-1", "failed", "bad_input", message)]


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


def test_a_run_directory_of_another_job(batcher, given):
    given(GOOD)
    assert batcher(*RUN, "--temperature", "0.5").exit_code == Exit.DONE

    refused(
        batcher(*RUN, "--temperature", "0.7", "--label", "team=x"),
        "error: out/a: this run was planned for another job",
        "  generation.temperature: 0.5 → 0.7",
        '  labels.team: default → "x"',
        "  to start afresh: name another folder with -o, or remove out/a",
    )
    assert batcher(*RUN, "--temperature", "0.5", "--concurrency", "3").sent == 0  # how fast is no part of the plan


def test_an_input_that_has_grown(batcher, given):
    given(GOOD)
    assert batcher(*RUN).exit_code == Exit.DONE
    given(GOOD * 2)

    said = batcher(*RUN)

    assert (said.exit_code, said.sent, said.out) == (Exit.USAGE, 0, "")
    assert said.refusal[0] == "error: out/a: the input has changed"
    assert said.refusal[1].startswith("  p.jsonl: ")
    assert said.refusal[-1] == "  to start afresh: name another folder with -o, or remove out/a"


def test_an_input_of_which_one_byte_has_changed_behind_our_back(batcher, given, here):
    """Same size, same mtime: the hash of the block tells."""
    given(GOOD * 5)
    stat = (here / "p.jsonl").stat()
    assert process(*RUN, BATCHER_FAILPOINT="planned").returncode < 0
    given(GOOD * 4 + GOOD.replace(b"1 + 2", b"1 + 3"))
    os.utime(here / "p.jsonl", ns=(stat.st_atime_ns, stat.st_mtime_ns))

    said = batcher(*RUN)

    assert (said.exit_code, said.sent) == (Exit.USAGE, 0)
    changed = "p.jsonl: changed since it was planned: block 1 is not what it was"
    assert said.verdict == f"{changed}; 0 of 5 answers are safe on disk"
    assert "note: put the file back as it was, or start a fresh run in another directory" in said.out.splitlines()


def test_a_second_process_on_the_same_run(given, here, endpoint):
    given(GOOD)
    state = here / "out/a/.state"
    state.mkdir(parents=True)
    lock = Lock(state / "lock", now=datetime(2026, 11, 22, 8, 30, tzinfo=UTC))
    try:
        done, as_json = process(*RUN), process(*RUN, "--json")
    finally:
        lock.release()

    assert done.returncode == as_json.returncode == Exit.LOCKED
    owner = f"process {os.getpid()}, started 2026-11-22T08:30:00+00:00, owns this run"
    assert done.stderr.splitlines() == [
        f"error: out/a: {owner}; nothing was sent",
        "  wait for it, stop it, or name another folder with -o",
    ]
    assert json.loads(as_json.stdout)["error"]["kind"] == "RunLocked"
