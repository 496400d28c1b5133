import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.cli.app import call
from batcher.errors import Exit
from tests.rows.test_samples import DATA, SHAPES

TEMPLATE = "Only the number: {{ question }}"


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def inspected(capsys):
    def inspect(*argv):
        exit_code = call(["inspect", *map(str, argv), "--json"])
        said = capsys.readouterr()
        assert said.err == ""
        document = json.loads(said.out)
        assert document.get("exit_code") == exit_code
        return document

    return inspect


@pytest.fixture
def told(capsys):
    def inspect(*argv):
        exit_code = call(["inspect", *map(str, argv)])
        said = capsys.readouterr()
        assert said.err == ""
        return exit_code, said.out.splitlines()

    return inspect


@pytest.mark.parametrize("name", SHAPES)
def test_every_sample_is_named_right_without_a_key(inspected, name, monkeypatch):
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    template = ["--template", "{{ question }}"] if name == "19-table" else []
    found = inspected(DATA / f"{name}.jsonl", *template)

    assert (found["shape"], found["container"], found["rows"], found["exit_code"]) == (SHAPES[name], "jsonl", 3, 0)
    assert found["request"]["contents"][-1]["parts"]
    assert found["error"] is found["problem"] is None
    assert found["ambiguous"] == []
    (command,) = found["next_commands"]
    assert command.startswith("batcher run -i ")


def test_rivals_name_what_to_type(inspected, told):
    path = DATA / "rivals.jsonl"
    found = inspected(path)

    assert (found["exit_code"], found["shape"], found["ambiguous"]) == (Exit.USAGE, None, ["messages", "prompt"])
    assert [command.rpartition(" --shape ")[2] for command in found["next_commands"]] == ["messages", "prompt"]
    assert {column["name"] for column in found["columns"]} == {"prompt_id", "prompt", "messages"}

    exit_code, lines = told(path)
    assert exit_code == Exit.USAGE
    assert lines[0] == "messages or prompt, jsonl"
    assert lines[-2].startswith("  next      batcher run -i ")
    assert lines[-1].startswith("  or        batcher run -i ")
    assert inspected(path, "--shape", "prompt")["shape"] == "prompt"


def test_a_person_is_told_what_will_be_sent(told):
    Path("q.csv").write_text("id,question,n\na,What is 17 + 25?,1\n")

    assert told("q.csv", "--template", TEMPLATE) == (
        0,
        [
            "table, csv",
            "",
            "  file      q.csv · csv · 35 bytes",
            "  rows      the first 1 looked at",
            "  columns   id (large_string), question (large_string), n (large_string)",
            "  id        id",
            "",
            "first request, from q.csv:2:",
            "  {",
            '    "contents": [',
            "      {",
            '        "role": "user",',
            '        "parts": [',
            "          {",
            '            "text": "Only the number: What is 17 + 25?"',
            "          }",
            "        ]",
            "      }",
            "    ]",
            "  }",
            "",
            f"  next      batcher run -i q.csv --template '{TEMPLATE}' -m gemini-2.5-flash -o out/q",
        ],
    )


def test_what_has_no_shape_says_what_would_give_it_one(told):
    Path("q.csv").write_text("question\nWhat is 17 + 25?\n")
    exit_code, lines = told("q.csv")

    assert exit_code == Exit.USAGE
    assert lines[0] == "no shape that is known, csv"
    assert lines[-1] == "  next      a template makes a prompt of any columns: --template 'Answer: {{ question }}'"


def test_only_the_first_rows_are_looked_at(inspected):
    Path("a.jsonl").write_text('{"prompt": "a"}\n' * 64 + "broken\n" * 9)

    assert (inspected("a.jsonl")["rows"], inspected("a.jsonl")["bad_rows"]) == (64, 0)


def test_the_first_row_that_can_be_asked_shows_the_request(inspected):
    Path("a.jsonl").write_text('nonsense\n{"prompt": null}\n{"prompt": "a"}\n')
    found = inspected("a.jsonl")

    assert (found["rows"], found["bad_rows"], found["exit_code"]) == (3, 1, 0)
    assert found["problem"].startswith("a.jsonl:1: not JSON")
    assert found["request"]["contents"][0]["parts"] == [{"text": "a"}]


def test_types_of_a_table_are_its_own_and_long_texts_are_cut_for_a_person(inspected, told):
    pq.write_table(pa.table({"prompt": ["x" * 1000], "n": pa.array([1], pa.int32())}), "a.parquet")

    assert inspected("a.parquet")["columns"] == [
        {"name": "prompt", "type": "large_string"},
        {"name": "n", "type": "int32"},
    ]
    _, lines = told("a.parquet")
    assert any(line.endswith('xxx…(+600 chars)"') for line in lines)


def test_a_template_that_does_not_fit_is_an_error_of_its_own(inspected):
    Path("a.jsonl").write_text('{"question": "a"}\n')
    found = inspected("a.jsonl", "--template", "{{ qestion }}")

    assert (found["shape"], found["exit_code"], found["request"]) == ("table", Exit.USAGE, None)
    assert found["error"]["message"] == (
        "[prompt] template: column 'qestion' not found in a.jsonl; did you mean 'question'?"
    )


def test_a_missing_file_is_said_as_everywhere(capsys):
    assert call(["inspect", "nowhere.jsonl"]) == Exit.USAGE
    assert capsys.readouterr().err == "error: nowhere.jsonl: no such file\n"
