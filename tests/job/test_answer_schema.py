"""What `[output] schema` may name, through the door that everybody uses: `load_job`."""

import json
import sys
from pathlib import Path

import pytest

from batcher.errors import JobError
from batcher.job.fingerprint import fingerprint
from batcher.job.load import load_job, revised

SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"const": None}}}
MODEL = """
from __future__ import annotations
from pydantic import BaseModel, TypeAdapter

class Item(BaseModel):
    name: str

class Order(BaseModel):
    items: list[Item]

orders = TypeAdapter(list[Order])
plain = {"type": "array", "items": {"type": "integer"}}
endless = {"minimum": float("inf")}
Callback = type("Callback", (), {})

def build():
    pass
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    return tmp_path


def write(path, text):
    Path(path).write_text(text, "utf-8")
    return Path(path)


def job_naming(schema):
    """`schema` as it would stand in the TOML file, quotes included."""
    text = f'model = "m"\n[input]\nfiles = ["r.jsonl"]\n[output]\nschema = {schema}\n'
    return write("jobs/nightly.toml", text)


def load(path=None, *sets, **flags):
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return load_job(path, flags=given, sets=sets, environ={}).job


def refusal(path=None, *sets, **flags):
    with pytest.raises(JobError) as refused:
        load(path, *sets, **flags)
    return refused.value.message


def test_a_file_is_read_beside_the_job(here):
    write("jobs/schema.json", json.dumps(SCHEMA))

    job = load(job_naming('"schema.json"'))

    assert job.output.schema == SCHEMA
    assert list(job.output.schema["properties"]) == ["b", "a"]  # the model answers in this order


def test_a_flag_names_a_file_where_the_command_runs():
    write("here.json", json.dumps(SCHEMA))

    assert load(model="m", input__files=["r"], output__schema="here.json").output.schema == SCHEMA
    assert load(job_naming('"other.json"'), "output.schema=here.json").output.schema == SCHEMA


def test_a_schema_may_stand_in_the_job_itself():
    job = load(job_naming('{type = "object", properties = {a = {type = "string"}}}'))

    assert job.output.schema == {"type": "object", "properties": {"a": {"type": "string"}}}


def test_a_model_an_adapter_and_a_dict_are_imported_from_the_jobs_folder():
    write("jobs/shapes.py", MODEL)

    order = load(job_naming('"shapes:Order"')).output.schema
    assert order["properties"]["items"]["items"] == {"$ref": "#/$defs/Item"}
    assert load(job_naming('"shapes:orders"')).output.schema["type"] == "array"
    assert load(job_naming('"shapes:plain"')).output.schema == {"type": "array", "items": {"type": "integer"}}


def test_a_module_in_a_package_and_one_of_pythons_path():
    Path("jobs/ours").mkdir()
    write("jobs/ours/__init__.py", "")
    write("jobs/ours/forms.py", MODEL)

    assert "items" in load(job_naming('"ours.forms:Order"')).output.schema["properties"]
    assert load(job_naming('"tests.job.test_answer_schema:SCHEMA"')).output.schema == SCHEMA


def test_an_import_leaves_no_trace_and_sees_the_module_as_it_is_now(monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    write("jobs/shapes.py", 'plain = {"title": "one"}')
    before = (set(sys.modules), list(sys.path), sys.dont_write_bytecode)

    assert load(job_naming('"shapes:plain"')).output.schema == {"title": "one"}
    write("jobs/shapes.py", 'plain = {"title": "two"}')
    assert load(job_naming('"shapes:plain"')).output.schema == {"title": "two"}

    assert (set(sys.modules), list(sys.path), sys.dont_write_bytecode) == before
    assert not Path("jobs/__pycache__").exists()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ('"gone.json"', "{here}/jobs/gone.json: No such file or directory"),
        ('"broken.json"', "{here}/jobs/broken.json: not JSON: unexpected end of data: line 2 column 1 (char 2)"),
        ('"list.json"', "{here}/jobs/list.json: found [1], wanted a JSON Schema: an object"),
        ('"nowhere:Order"', "no module 'nowhere' in {here}/jobs or on Python's path"),
        ('"shapes.deeper:Order"', "no module 'shapes.deeper' in {here}/jobs or on Python's path"),
        ('"shapes:Ordr"', "module 'shapes' ({here}/jobs/shapes.py) has no 'Ordr'; did you mean 'Order'?"),
        ('"shapes:zzz"', "module 'shapes' ({here}/jobs/shapes.py) has no 'zzz'"),
        ('"sys:Order"', "module 'sys' (built in) has no 'Order'"),
        ('"shapes:build"', "shapes:build: found a value of type function, wanted a pydantic model or a dict"),
        ('"shapes:Callback"', "shapes:Callback: found the class Callback, wanted a pydantic model or a dict"),
        ('"shapes:endless"', "shapes:endless: not JSON: ValueError: Out of range float values are not JSON compliant"),
        ('"faulty:Order"', "module 'faulty' cannot be imported: ZeroDivisionError: division by zero"),
        ('"needy:Order"', "module 'needy' cannot be imported: ModuleNotFoundError: No module named 'not_installed'"),
        ('"leaving:Order"', "module 'leaving' cannot be imported: SystemExit: 3"),
        ('"untold:Call"', "untold:Call: has no JSON Schema: PydanticInvalidForJsonSchema: Cannot generate a "),
        ("3", "found 3, wanted text or a table"),
    ],
)
def test_what_is_wrong_with_a_schema_is_said_with_its_place(here, schema, message):
    write("jobs/broken.json", "{\n")
    write("jobs/list.json", "[1]")
    write("jobs/shapes.py", MODEL)
    write("jobs/faulty.py", "1 / 0")
    write("jobs/needy.py", "import not_installed")
    write("jobs/leaving.py", "raise SystemExit(3)")
    write(
        "jobs/untold.py",
        "from collections.abc import Callable\nfrom pydantic import BaseModel\n"
        "class Call(BaseModel):\n    back: Callable[[], int]\n",
    )

    told = refusal(job_naming(schema))

    assert told.startswith(f"jobs/nightly.toml:5: [output] schema: {message.format(here=here)}")


def test_the_schema_is_part_of_what_the_job_is():
    write("jobs/schema.json", json.dumps(SCHEMA))
    plain, with_schema = load(model="m", input__files=["r"]), load(job_naming('"schema.json"'))
    reordered = {"properties": SCHEMA["properties"], "type": "object"}

    assert "output.schema" not in fingerprint(plain).facts
    assert fingerprint(with_schema).facts["output.schema"] == json.dumps(SCHEMA)
    write("jobs/schema.json", json.dumps(reordered))
    assert fingerprint(load(job_naming('"schema.json"'))).sha != fingerprint(with_schema).sha
    other_field = load(job_naming('"schema.json"'), "output.schema_field=none")
    assert fingerprint(other_field).facts["output.schema_field"] == '"none"'
    more_tries = load(job_naming('"schema.json"'), "retry.invalid_attempts=9")
    assert fingerprint(more_tries).sha == fingerprint(load(job_naming('"schema.json"'))).sha


def test_a_loaded_job_keeps_its_schema_when_the_file_is_gone():
    write("jobs/schema.json", json.dumps(SCHEMA))
    job = load(job_naming('"schema.json"'))
    Path("jobs/schema.json").unlink()

    again = revised(job, sets=["retry.invalid_attempts=1"], origin="run.json")

    assert again.output.schema == SCHEMA
    assert again.retry.invalid_attempts == 1
    assert fingerprint(again).sha == fingerprint(job).sha
