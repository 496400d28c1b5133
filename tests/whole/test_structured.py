"""A job with a schema: what is `ok` fits it, what is not keeps its text, and every answer is paid for in the ledger."""

import signal
import subprocess
from decimal import Decimal

import duckdb
import jsonschema_rs
import orjson
import pyarrow.compute as pc
import pytest

from batcher.emulator.faults import Fault, FaultKind, Faults, Rule, Share
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.engine.local import retry_run
from batcher.engine.status import read_job
from batcher.errors import Exit, JobError, PlanChanged
from batcher.job.key import Secret
from batcher.job.load import revised
from batcher.records import Status
from tests.whole.runs import (
    KEY,
    Watched,
    a_job,
    call,
    column,
    data,
    ledger,
    manifest,
    retry,
    run,
    sums,
    total,
    write_lines,
)

ROWS = 1_000
SCHEMA = {
    "type": "object",
    "properties": {
        "answer": {"type": "integer"},
        "unit": {"enum": ["none", "metre"]},
        "steps": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    },
    "required": ["answer", "unit", "steps"],
    "additionalProperties": False,
}
HALF_AND_HALF = Faults(
    shares=(
        Share(fault=Fault(kind=FaultKind.BAD_JSON), share=0.10),
        Share(fault=Fault(kind=FaultKind.MISMATCH), share=0.10),
    )
)


def settings(**options):
    return Settings(seed=7, keep_bodies=True, **options)


@pytest.fixture(scope="module")
def schema_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("schema") / "schema.json"
    file.write_bytes(orjson.dumps(SCHEMA))
    return file


@pytest.fixture(scope="module")
def finished(tmp_path_factory, schema_file):
    """The acceptance run: 1,000 rows, one reply in five spoilt."""
    folder = tmp_path_factory.mktemp("structured")
    with Emulator(settings(faults=HALF_AND_HALF)).in_thread() as emulator:
        rows = write_lines(folder / "rows.jsonl", sums(ROWS))
        job = a_job(emulator.url, rows, output__schema=str(schema_file))
        summary = run(job, folder / "out")
        yield folder / "out", summary, emulator


def test_every_ok_row_fits_and_every_invalid_one_keeps_its_text(finished):
    out, summary, _ = finished
    by_status = summary.totals.by_status
    assert by_status[Status.OK] + by_status[Status.INVALID] == ROWS == data(out).num_rows
    assert 1 <= by_status[Status.INVALID] <= 25  # 0.2 ** 3 of them

    validator = jsonschema_rs.validator_for(SCHEMA)
    for row in data(out).select(["status", "response", "parsed", "schema_valid", "error_kind", "attempts"]).to_pylist():
        assert row["response"]
        if row["status"] == "ok":
            assert validator.is_valid(orjson.loads(row["response"]))
            assert row["parsed"].encode() == orjson.dumps(orjson.loads(row["response"]), option=orjson.OPT_SORT_KEYS)
            assert (row["schema_valid"], row["error_kind"]) == (True, None)
        else:
            assert (row["status"], row["parsed"], row["schema_valid"]) == ("invalid", None, False)
            assert row["error_kind"] in {"invalid_json", "schema_mismatch"}
            assert row["attempts"] == 3


def test_an_invalid_row_says_what_is_wrong_and_where(finished):
    out, _, _ = finished
    invalid = data(out).filter(pc.field("status") == "invalid")
    texts = dict(zip(invalid["error_kind"].to_pylist(), invalid["error_message"].to_pylist(), strict=True))

    assert texts["schema_mismatch"].startswith("$.answer: ")
    assert texts["schema_mismatch"].endswith('is not of type "integer"')
    assert texts["invalid_json"].startswith("not JSON: unexpected end of data: line 1 column ")


def test_what_did_not_fit_is_paid_counted_as_wasted_and_in_the_ledger(finished):
    out, summary, emulator = finished
    attempts, rows = ledger(out), data(out)
    told = emulator.totals()

    assert attempts.num_rows == total(rows, "attempts") == summary.totals.attempts == told.requests
    assert set(attempts["verdict"].to_pylist()) == {"ok", "invalid"}
    assert set(attempts["billed"].to_pylist()) == {"yes"}
    assert total(attempts, "cost_usd") == total(rows, "cost_usd") == summary.totals.cost_usd
    wasted = total(attempts.filter(pc.field("verdict") == "invalid"), "cost_usd")
    assert wasted == total(rows, "wasted_usd") == summary.totals.wasted_usd > Decimal(0)
    assert (total(rows, "input_tokens"), total(rows, "output_tokens")) == (told.input_tokens, told.output_tokens)
    spoilt = pc.sum(pc.equal(attempts["verdict"], "invalid")).as_py()
    assert 0.15 * ROWS < spoilt < 0.25 * attempts.num_rows


def test_the_summary_says_how_to_ask_again(finished):
    out, summary, _ = finished

    assert summary.exit_code is Exit.ROWS_FAILED
    assert summary.next_command == f"batcher retry {out} --status invalid"


def test_the_schema_is_in_every_request_in_the_job_and_in_the_hash(finished, tmp_path):
    out, _, emulator = finished
    entry = emulator.journal[0]
    assert entry.body["generation_config"] == {"response_mime_type": "application/json", "response_json_schema": SCHEMA}
    assert manifest(out)["job"]["output"]["schema"] == SCHEMA
    assert orjson.loads(manifest(out)["fingerprint"]["facts"]["output.schema"]) == SCHEMA

    rows = write_lines(tmp_path / "rows.jsonl", sums(1))
    run(a_job(emulator.url, rows), tmp_path / "plain")
    assert column(tmp_path / "plain", "request_hash") != column(out, "request_hash")[:1]
    assert not {"parsed", "schema_valid"} & set(data(tmp_path / "plain").column_names)


def test_the_columns_stand_behind_the_response_and_duckdb_reads_them_as_json(finished):
    out, _, _ = finished
    names = data(out).column_names
    at = names.index("response")
    assert names[at : at + 4] == ["response", "parsed", "schema_valid", "candidates"]

    found = duckdb.sql(
        f"select count(*), count(parsed), count(*) filter (schema_valid), sum((parsed->>'answer')::int)"
        f" from '{out}/data/*.parquet'"
    ).fetchall()
    rows, parsed, valid, added = found[0]
    assert rows == ROWS
    assert parsed == valid < ROWS
    assert added > 0


def test_retry_asks_the_invalid_ones_again_and_nothing_else(tmp_path, schema_file):
    faults = Faults(
        script=(Rule(fault=Fault(kind=FaultKind.MISMATCH), contains="What is 3 * 7?", first=3),),
    )
    with Emulator(settings(faults=faults)).in_thread() as emulator:
        rows = write_lines(tmp_path / "rows.jsonl", sums(10))
        job = a_job(emulator.url, rows, output__schema=str(schema_file))
        first = run(job, tmp_path / "out")
        before = data(tmp_path / "out")
        assert first.totals.by_status == {Status.OK: 9, Status.INVALID: 1}

        again = retry(tmp_path / "out", Status.INVALID)

    assert again.sent == 1
    assert again.totals.by_status == {Status.OK: 10}
    after = data(tmp_path / "out")
    others = pc.field("ordinal") != 3
    assert after.filter(others) == before.filter(others)
    row = after.slice(3, 1).to_pylist()[0]
    assert (row["status"], row["schema_valid"], row["attempts"]) == ("ok", True, 4)
    assert row["parsed"]
    assert row["wasted_usd"] == before["cost_usd"][3].as_py() > 0


def test_a_schema_that_only_a_retry_brings_adds_no_columns(tmp_path, schema_file):
    faults = Faults(script=(Rule(fault=Fault(kind=FaultKind.UNAVAILABLE), contains="What is 3 * 7?", first=5),))
    with Emulator(settings(faults=faults)).in_thread() as emulator:
        rows = write_lines(tmp_path / "rows.jsonl", sums(5))
        run(a_job(emulator.url, rows), tmp_path / "out")
        job = revised(read_job(tmp_path / "out"), sets=[f"output.schema={schema_file}"], origin="run.json")

        summary = retry_run(
            job,
            key=Secret(KEY, source="a test"),
            out=tmp_path / "out",
            statuses=frozenset({Status.FAILED}),
            options=Watched().options(),
        )

    assert summary.totals.by_status == {Status.OK: 5}
    assert "parsed" not in data(tmp_path / "out").column_names
    assert jsonschema_rs.is_valid(SCHEMA, orjson.loads(column(tmp_path / "out", "response")[3]))


def test_another_schema_is_another_job(tmp_path, schema_file):
    with Emulator(settings()).in_thread() as emulator:
        rows = write_lines(tmp_path / "rows.jsonl", sums(3))
        run(a_job(emulator.url, rows, output__schema=str(schema_file)), tmp_path / "out")
        other = tmp_path / "other.json"
        other.write_bytes(orjson.dumps({**SCHEMA, "required": ["answer"]}))

        with pytest.raises(PlanChanged) as refused:
            run(a_job(emulator.url, rows, output__schema=str(other)), tmp_path / "out")

    (difference,) = refused.value.differences
    assert difference.startswith("output.schema: …")
    assert ': ["answer"], ' in difference.partition("→")[2]


@pytest.mark.parametrize("field", ["response_json_schema", "response_schema", "none"])
@pytest.mark.parametrize("provider", ["google", "visioncoder"])
def test_each_field_in_each_dialect_gives_answers_that_fit(tmp_path, schema_file, field, provider):
    with Emulator(settings()).in_thread() as emulator:
        rows = write_lines(tmp_path / "rows.jsonl", sums(3))
        job = a_job(
            emulator.url,
            rows,
            endpoint__provider=provider,
            output__schema=str(schema_file),
            output__schema_field=field,
            retry__invalid_attempts=1,
        )
        run(job, tmp_path / "out")
        config = emulator.journal[0].body.get("generation_config", {})

    assert set(config) - {"response_mime_type"} == ({field} - {"none"})
    # An emulator that is not told the schema answers in prose, and prose is not JSON.
    expected = ("invalid", None, False) if field == "none" else ("ok", config[field] and "{", True)
    for row in data(tmp_path / "out").to_pylist():
        assert (row["status"], row["parsed"] and row["parsed"][0], row["schema_valid"]) == expected


def test_a_model_of_the_users_own_module_beside_the_job(tmp_path):
    (tmp_path / "shapes.py").write_text(
        "from __future__ import annotations\n"
        "from pydantic import BaseModel, Field\n"
        "class Item(BaseModel):\n    name: str\n    price: float = Field(ge=0)\n"
        "class Order(BaseModel):\n    city: str | None = None\n    items: list[Item]\n"
        "    main: Item = Field(description='the first one')\n"
    )
    write_lines(tmp_path / "rows.jsonl", sums(20))
    with Emulator(settings(faults=HALF_AND_HALF)).in_thread() as emulator:
        job = tmp_path / "job.toml"
        job.write_text(
            f'model = "gemini-2.5-flash"\n[input]\nfiles = ["rows.jsonl"]\n[endpoint]\nbase_url = "{emulator.url}"\n'
            f'[output]\ndir = "{tmp_path}/out"\nschema = "shapes:Order"\n[retry]\ninvalid_attempts = 9\n'
        )
        done = call("run", str(job))
        sent = emulator.journal[0].body["generation_config"]["response_json_schema"]

    assert done.returncode == 0, done.stderr
    # A `$ref` has to stand alone on the wire, and the field's own words are kept.
    assert sent["properties"]["main"]["description"] == "the first one"
    assert sent["properties"]["main"]["required"] == ["name", "price"]
    assert sent["properties"]["items"]["items"] == {"$ref": "#/$defs/Item"}
    for row in data(tmp_path / "out").to_pylist():
        assert orjson.loads(row["parsed"])["main"]["price"] >= 0
    assert not (tmp_path / "__pycache__").exists()


def test_a_kill_does_not_give_invalid_answers_a_new_budget(tmp_path, schema_file):
    """Killed after the second of three answers that do not fit, the next start asks once more and no oftener."""
    always = Faults(script=(Rule(fault=Fault(kind=FaultKind.MISMATCH), contains="What is"),))
    with Emulator(settings(faults=always)).in_thread() as emulator:
        rows = write_lines(tmp_path / "rows.jsonl", sums(1))
        argv = [
            *("run", "-i", str(rows), "-m", "gemini-2.5-flash", "-o", str(tmp_path / "out"), "--concurrency", "1"),
            *("--base-url", emulator.url, "--schema", str(schema_file), "--set", "retry.invalid_attempts=50"),
            *("--rpm", "30000"),
        ]
        killed: subprocess.CompletedProcess[str] = call(*argv, BATCHER_FAILPOINT="after-commit:20")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        done = call(*argv)

    assert done.returncode == Exit.ROWS_FAILED, done.stderr
    attempts = ledger(tmp_path / "out").to_pylist()
    invalid = [each for each in attempts if each["verdict"] == "invalid"]
    assert len(invalid) == 50
    assert [each["attempt"] for each in attempts] == list(range(1, len(attempts) + 1))
    assert (tmp_path / "out" / "_SUCCESS").exists()


@pytest.mark.parametrize(
    ("schema", "more", "message"),
    [
        (
            {"minimum": "0"},
            {},
            '[output] schema: not a valid JSON Schema: $.minimum: "0" is not of type "number"',
        ),
        (
            {"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True}}},
            {"output__schema_field": "response_schema"},
            "[output] schema: $.properties.tags.uniqueItems: cannot be said in response_schema",
        ),
        (
            SCHEMA,
            {"generation__response_schema": {"type": "STRING"}},
            "[generation] response_schema: stands beside [output] schema; wanted one of the two",
        ),
        (
            SCHEMA,
            {"generation__response_mime_type": "text/x.enum"},
            "[generation] response_mime_type: found 'text/x.enum', wanted 'application/json' with [output] schema",
        ),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_before_anything_is_sent(tmp_path, schema, more, message):
    file = tmp_path / "schema.json"
    file.write_bytes(orjson.dumps(schema))
    with Emulator(settings()).in_thread() as emulator:
        rows = write_lines(tmp_path / "rows.jsonl", sums(3))
        job = a_job(emulator.url, rows, output__schema=str(file), **more)

        with pytest.raises(JobError) as refused:
            run(job, tmp_path / "out")

        assert emulator.totals().requests == 0
    assert refused.value.message == message
    assert not (tmp_path / "out").exists()


def test_a_row_with_a_schema_of_its_own_fails_and_says_so(tmp_path, schema_file):
    def asking(**config):
        return {"contents": [{"role": "user", "parts": [{"text": "What is 2 * 7?"}]}], "generationConfig": config}

    same = {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    lines = [
        asking(),
        asking(temperature=0, **same),
        asking(responseSchema={"type": "STRING"}),
        asking(responseJsonSchema={"type": "string"}),
        asking(responseMimeType="text/plain"),
    ]
    with Emulator(settings()).in_thread() as emulator:
        rows = write_lines(tmp_path / "rows.jsonl", lines)
        run(a_job(emulator.url, rows, output__schema=str(schema_file)), tmp_path / "out")

    told = "the row brings its own beside the job's [output] schema"
    assert column(tmp_path / "out", "status") == ["ok", "ok", "failed", "failed", "failed"]
    assert column(tmp_path / "out", "error_message") == [
        None,
        None,
        f"{rows}:3: response_schema: {told}",
        f"{rows}:4: response_json_schema: {told}",
        f"{rows}:5: response_mime_type: {told}",
    ]
    assert column(tmp_path / "out", "schema_valid") == [True, True, None, None, None]
