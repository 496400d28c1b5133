"""Streamed or whole, in either dialect and in any format: the same answers; and a stream that breaks is asked again."""

import itertools

import pyarrow.compute as pc
import pytest

from batcher.emulator.faults import Fault, FaultKind, Faults, Rule
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings, Spelling
from batcher.emulator.streams import Form
from batcher.errors import Exit
from tests.media import a_picture
from tests.whole.runs import (
    MODEL,
    a_job,
    call,
    column,
    data,
    emulator_settings,
    ledger,
    manifest,
    run,
    run_argv,
    sums,
    total,
    write_lines,
)

ROWS = [
    *sums(12),
    {"id": "long", "prompt": "Tell me about whales and the sea they live in, and about ships."},
    {"id": "blocked", "prompt": "[blocked] a prompt that is not answered"},
    {"id": "unsafe", "prompt": "[safety] an answer that is withheld"},
    {"id": "limit", "prompt": "[maxtokens] an answer that is too long for its limit"},
]
SAME = (
    "response", "candidates", "usage_metadata", "prompt_feedback", "status", "finish_reason", "input_tokens",
    "output_tokens", "cost_usd", "request_hash", "model_version", "error_kind",
)  # fmt: skip
WAYS = {
    "whole": ("off", None),
    "events": ("sse", Form.SSE),
    "array": ("json", Form.ARRAY),
    "lines": ("json", Form.NDJSON),
}
SETTINGS = {"generation.candidate_count": 2, "generation.thinking_config": {"include_thoughts": True}}
KILLED = -9


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_lines(tmp_path_factory.mktemp("rows") / "rows.jsonl", ROWS)


def asked(rows, out, way, dialect, **options):
    """One run; what it left, and the paths that were asked."""
    stream, form = WAYS[way]
    with Emulator(emulator_settings(streams=form, **options)).in_thread() as emulator:
        job = a_job(emulator.url, rows, endpoint__dialect=dialect, endpoint__stream=stream, **SETTINGS)
        run(job, out)
        return data(out).select(SAME).to_pydict(), {each.path for each in emulator.journal}


@pytest.mark.parametrize("spelling", [Spelling.CAMEL, Spelling.SNAKE])
def test_one_job_in_every_way_has_equal_answers(rows, tmp_path, spelling):
    found = {}
    for dialect, way in itertools.product(("google", "flat"), WAYS):
        found[dialect, way], paths = asked(rows, tmp_path / f"{dialect}-{way}", way, dialect, spelling=spelling)
        verb = "generateContent" if way == "whole" else "streamGenerateContent"
        assert paths == {f"/v1beta/models/{MODEL}:{verb}"}

    first = found["google", "whole"]
    assert None not in first["response"][:13]
    assert all(len(candidates) == 2 for candidates in first["candidates"][:13])
    assert first["status"] == ["ok"] * 13 + ["blocked", "blocked", "truncated"]
    for way, columns in found.items():
        for name in SAME:
            assert columns[name] == first[name], (way, name)


def test_each_dialect_in_its_own_spelling_has_equal_answers_in_every_way(rows, tmp_path):
    """As endpoints are: the flat one tells less of the usage and more of the ratings, streamed or not."""
    found = {}
    for dialect, way in itertools.product(("google", "flat"), ("whole", "lines")):
        found[dialect, way], _ = asked(rows, tmp_path / f"{dialect}-{way}", way, dialect)
    for dialect in ("google", "flat"):
        assert found[dialect, "lines"] == found[dialect, "whole"]
    for name in ("response", "status", "finish_reason", "input_tokens", "request_hash"):
        assert found["flat", "whole"][name] == found["google", "whole"][name]


@pytest.mark.parametrize("dialect", ["google", "flat"])
def test_pictures_go_in_and_come_out_of_streams_as_of_whole_replies(tmp_path, dialect):
    (tmp_path / "red.png").write_bytes(a_picture(4, 3, kind="png", colour="red"))
    rows = write_lines(tmp_path / "rows.jsonl", [{"id": "one", "prompt": "Turn it green.", "image": "red.png"}])
    settings = {"generation.response_modalities": ["TEXT", "IMAGE"], "generation.candidate_count": 2}
    found = {}
    for way, (stream, form) in WAYS.items():
        with Emulator(emulator_settings(streams=form)).in_thread() as emulator:
            out = tmp_path / way
            run(a_job(emulator.url, rows, endpoint__dialect=dialect, endpoint__stream=stream, **settings), out)
            (asked,) = emulator.journal
            assert any("inline_data" in part for part in asked.body["contents"][0]["parts"])
            found[way] = data(out).select([*SAME, "response_images"]).to_pydict()

    assert len(found["whole"]["response_images"][0]) == 2
    for way, columns in found.items():
        assert columns == found["whole"], way


BROKEN_AT_FIRST = {
    "[ends]": FaultKind.STREAM_CUT,
    "[breaks]": FaultKind.CUT,
    "[halves]": FaultKind.CUT_CLEAN,
    "[errs]": FaultKind.STREAM_ERROR,
}
ODD = {
    "[tail]": FaultKind.STREAM_USAGE_TAIL,
    "[no index]": FaultKind.STREAM_NO_INDEX,
    "[split]": FaultKind.STREAM_SPLIT,
}
MARKED = [{"id": mark, "prompt": f"{mark} Tell me about whales and ships."} for mark in (*BROKEN_AT_FIRST, *ODD)]


def faults(first=1):
    broken = [Rule(fault=Fault(kind=kind), contains=mark, first=first) for mark, kind in BROKEN_AT_FIRST.items()]
    return Faults(script=(*broken, *(Rule(fault=Fault(kind=kind), contains=mark) for mark, kind in ODD.items())))


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    return write_lines(tmp_path_factory.mktemp("marked") / "rows.jsonl", MARKED)


@pytest.fixture(scope="module")
def unbroken(marked, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "out"
    with Emulator(Settings(seed=7)).in_thread() as emulator:
        run(a_job(emulator.url, marked), out)
    return data(out).select(["response", "candidates", "usage_metadata"]).to_pydict()


def check_mended(out, unbroken, emulator):
    assert column(out, "status") == ["ok"] * len(MARKED)
    assert data(out).select(["response", "candidates", "usage_metadata"]).to_pydict() == unbroken
    attempts = ledger(out)
    assert column(out, "attempts") == [2] * len(BROKEN_AT_FIRST) + [1] * len(ODD)
    maybe = attempts.filter(pc.equal(attempts.column("billed"), "maybe"))
    assert maybe.num_rows == len(BROKEN_AT_FIRST)
    assert set(maybe.column("reason").to_pylist()) == {"cut_stream", "cut_body", "http_503"}
    known = total(data(out), "input_tokens")
    assert known <= emulator.totals().input_tokens <= known + total(maybe, "reserve_input_tokens")
    assert None not in maybe.column("reserve_usd").to_pylist()


@pytest.mark.parametrize("form", Form)
def test_a_stream_that_breaks_is_asked_again_and_an_odd_one_is_read(marked, unbroken, tmp_path, form):
    with Emulator(Settings(seed=7, streams=form, faults=faults())).in_thread() as emulator:
        summary = run(a_job(emulator.url, marked, endpoint__stream="sse"), tmp_path / "out")
        assert summary.exit_code is Exit.DONE
        check_mended(tmp_path / "out", unbroken, emulator)


def test_a_stream_read_back_from_the_journal_says_the_same(marked, unbroken, tmp_path):
    """Killed when everything is answered and nothing sealed: the next start has only the bodies."""
    out = tmp_path / "out"
    with Emulator(Settings(seed=7, streams=Form.NDJSON, faults=faults())).in_thread() as emulator:
        argv = [*run_argv(marked, out, emulator.url), "--stream", "json"]
        assert call(*argv, BATCHER_FAILPOINT="frozen").returncode == KILLED
        sent = emulator.totals().requests
        assert call(*argv).returncode == Exit.DONE
        assert emulator.totals().requests == sent
        check_mended(out, unbroken, emulator)


def test_a_stream_that_always_breaks_fails_its_row_and_no_other(marked, tmp_path):
    out = tmp_path / "out"
    with Emulator(Settings(seed=7, faults=faults(first=None))).in_thread() as emulator:
        summary = run(a_job(emulator.url, marked, endpoint__stream="sse", **{"retry.attempts": 2}), out)
    assert summary.exit_code is Exit.ROWS_FAILED
    assert column(out, "status") == ["failed"] * len(BROKEN_AT_FIRST) + ["ok"] * len(ODD)
    assert column(out, "error_kind")[:4] == ["cut_stream", "cut_body", "cut_stream", "http_503"]
    assert column(out, "error_message")[0] == "the stream ended too early: candidate 0 has no finish reason"
    assert column(out, "response")[:4] == [None] * 4


def test_how_it_is_asked_may_change_between_two_starts(rows, tmp_path):
    out = tmp_path / "out"
    with Emulator(emulator_settings()).in_thread() as emulator:
        argv = run_argv(rows, out, emulator.url, "--dialect", "flat", "--concurrency", "2")
        assert call(*argv, "--stream", "json", BATCHER_FAILPOINT="after-commit:3").returncode == KILLED
        assert call(*argv).returncode == Exit.DONE
        assert {each.verb for each in emulator.journal} == {"streamGenerateContent", "generateContent"}
    assert column(out, "status") == ["ok"] * 13 + ["blocked", "blocked", "truncated"]
    assert "endpoint.stream" not in manifest(out)["fingerprint"]["facts"]
