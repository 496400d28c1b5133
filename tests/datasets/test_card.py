import importlib.metadata
import re
from decimal import Decimal

import huggingface_hub
import pyarrow as pa
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from batcher.datasets.card import COLUMNS, Ended, card
from batcher.datasets.licences import KNOWN
from batcher.money.totals import Tokens, Totals
from batcher.records import Status
from batcher.store.schemas import data_schema
from tests.builders import a_job
from tests.examples import a_few

TOTALS = Totals(by_status={Status.OK: 160, Status.FAILED: 4}, tokens=Tokens(input=48_211, output=12_004))
HOSTILE = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "---\nlicense: mit\n---",
            "a | b",
            "`x` ``` ~~~",
            "<script>alert(1)</script>",
            "![x](http://evil/pixel)",
            "[x](javascript:1)",
            "http://evil",
            "a\\|b \\",
            "\u202e\x1b[31m\x00\x85\u2028",
            "# Head\n\n- item",
        ]
    ),
)
# What the hub's own schema says of the fields that we write (huggingface/hub-docs, datasetcard.md, and the classes of
# huggingface_hub.repocard_data): the check itself is a POST to the network.
FIELDS = {
    "license": str,
    "license_name": str,
    "pretty_name": str,
    "size_categories": list,
    "tags": list,
    "configs": list,
}
SIZES = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"}


def manifest(**given):
    defaults = {
        "run_id": "20260101T000000Z-0123abcd",
        "created_at": "2026-01-01T00:00:00+00:00",
        "versions": {"batcher": importlib.metadata.version("batcher-gemini")},
        "job": {"name": "he", "model": "models/gemini-2.5-flash"},
        "inputs": [{"name": "human-eval.jsonl", "size": 44_877, "sha256": "b796127e635a"}],
        "rows": 164,
        "samples": 1,
        "tasks": 164,
    }
    return defaults | given


def a_schema(user=(), *, raw=False, parsed=False):
    return data_schema([pa.field(name, pa.large_string()) for name in user], raw=raw, parsed=parsed)


def ended(totals=TOTALS, verdict="done: 160 of 164 ok, 4 failed", served=("gemini-2.5-flash-001",)):
    return Ended(totals=totals, verdict=verdict, served=served)


def written(of=None, schema=None, end=None, licence=None):
    return card(of or manifest(), schema or a_schema(), end or ended(), licence=licence)


def front(text):
    _, matter, rest = text.split("---\n", 2)
    return yaml.safe_load(matter), rest


def rows(text):
    """The rows of all tables, as a Markdown reader finds them: the text of each cell."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).enable("table").parse(front(text)[1])
    found, row = [], None
    for token in tokens:
        if token.type == "tr_open":
            row = []
        elif token.type == "inline" and row is not None:
            row.append("".join(child.content for child in token.children))
        elif token.type == "tr_close":
            found.append(row)
            row = None
    return found


def test_the_front_matter_says_where_the_rows_are_and_no_licence():
    matter, _ = front(written())
    assert matter == {
        "pretty_name": "he",
        "configs": [
            {
                "config_name": "default",
                "default": True,
                "data_files": [{"split": "train", "path": "data/train-*.parquet"}],
            },
            {
                "config_name": "attempts",
                "data_files": [{"split": "train", "path": "attempts/attempts-*.parquet"}],
            },
        ],
        "size_categories": ["n<1K"],
        "tags": ["synthetic"],
    }
    assert "No licence is stated." in written()


@pytest.mark.parametrize("licence", ["cc-by-4.0", "Apache-2.0", "openrail++", "My Own 1.0", "1.0", "other"])
def test_a_licence_is_what_the_user_states(licence):
    a_job(output__license=licence)  # the job takes it
    matter, rest = front(written(licence=licence))
    known = licence.lower() in KNOWN
    assert matter["license"] == (licence.lower() if known else "other")
    assert matter.get("license_name") == (None if known else licence)
    assert f"Licence: `{licence}`, as stated by whoever made this." in rest


@pytest.mark.parametrize("licence", ["", 'mit"\ntags: [x]', "mit\n", "é", " mit", "a: b", "[mit]", "x" * 200])
def test_what_could_be_more_than_a_name_is_no_licence(licence):
    with pytest.raises(ValueError, match="license"):
        a_job(output__license=licence)


@pytest.mark.parametrize("licence", [None, "mit", "My Own"])
def test_the_hubs_own_reader_takes_it(licence, tmp_path):
    (tmp_path / "README.md").write_text(written(licence=licence), "utf-8")
    found = huggingface_hub.DatasetCard.load(tmp_path / "README.md")
    assert found.data.tags == ["synthetic"]
    assert found.data.pretty_name == "he"
    assert found.data.license == {None: None, "mit": "mit", "My Own": "other"}[licence]
    assert huggingface_hub.DatasetCardData(**found.data.to_dict()).to_dict() == found.data.to_dict()
    for name, value in found.data.to_dict().items():
        assert isinstance(value, FIELDS[name]), name
    assert set(found.data.size_categories) <= SIZES
    assert found.text.startswith("\n# he\n") or found.text.startswith("# he\n")


@pytest.mark.parametrize("name", ["yes", "1e5", "1.0", "null", "2026-01-01"])
def test_a_name_stays_text(name):
    assert front(written(manifest(job={"name": name, "model": "m"})))[0]["pretty_name"] == name


@pytest.mark.parametrize(
    ("tasks", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (5_000_000, "1M<n<10M"), (100_000_000, "100M<n<1B")],
)
def test_how_big_it_is(tasks, size):
    assert front(written(manifest(tasks=tasks)))[0]["size_categories"] == [size]


@pytest.mark.parametrize("parsed", [False, True])
@pytest.mark.parametrize("raw", [False, True])
def test_every_column_that_is_there_is_explained_in_its_order(raw, parsed):
    schema = a_schema(["question"], raw=raw, parsed=parsed)
    told = rows(written(schema=schema))[-len(schema) :]
    assert [name for name, _, _ in told] == schema.names
    kinds = {name: kind for name, kind, _ in told}
    assert (kinds["task"], kinds["candidates"], kinds["usage_metadata"]) == ("int64", "list<struct>", "struct")
    assert kinds["cost_usd"] == "decimal128(38, 15)"
    assert {name: said for name, _, said in told}["question"] == "of the input, as given"
    assert set(schema.names) - {"question"} <= set(COLUMNS)


def test_a_run_under_way_says_so_and_names_no_cost():
    text = card(manifest(), a_schema(), None, licence=None)
    assert ["state", "under way; finished parts are in data/"] in rows(text)
    assert not {"cost", "tokens", "answered by", "ok"} & {row[0] for row in rows(text)}


def test_a_finished_one_says_what_it_took():
    text = written()
    for row in (
        ["model", "gemini-2.5-flash"],
        ["answered by", "gemini-2.5-flash-001"],
        ["rows", "164"],
        ["settings", "the endpoint's own"],
        ["state", "done: 160 of 164 ok, 4 failed"],
        ["tokens", "48,211 in, 12,004 out"],
        ["ok", "160", "97.56 %"],
        ["failed", "4", "2.44 %"],
        ["human-eval.jsonl", "44,877", "b796127e635a"],
    ):
        assert row in rows(text), row
    assert ["rows", "164, 3 answers each"] in rows(written(manifest(samples=3)))


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        (TOTALS + Totals(unpriced=1), "at least $0"),
        (Totals(cost_usd=Decimal("10.025000000000000")), "$10.025"),
        (Totals(cost_usd=Decimal("10.000")), "$10"),
    ],
)
def test_what_it_cost(totals, said):
    assert ["cost", said] in rows(written(end=ended(totals)))


def test_no_folder_of_this_machine_is_told():
    text = written(manifest(inputs=[{"name": "/home/somebody/secret/rows.jsonl", "size": 1}, {"name": "in/b.jsonl"}]))
    assert "somebody" not in text
    assert [row[0] for row in rows(text) if "jsonl" in row[0]] == ["rows.jsonl", "in/b.jsonl"]


def test_settings_and_prompts_are_told():
    job = {
        "name": "x",
        "model": "m",
        "generation": {"temperature": 0.0, "stop_sequences": ["|", "`"], "response_schema": None},
        "request": {"send_labels": False, "service_tier": "flex"},
        "prompt": {"template": "Q: {{ q }}\n```\ncode", "system": "Be *brief*."},
        "output": {"schema": {"type": "string"}},
    }
    text = written(manifest(job=job))
    assert ["settings", 'temperature = 0.0, stop_sequences = ["|","\'"], service_tier = "flex"'] in rows(text)
    fences = [token.content for token in MarkdownIt().parse(front(text)[1]) if token.type == "fence"]
    assert "Q: {{ q }}\n```\ncode\n" in fences
    assert "Be *brief*.\n" in fences
    assert '{\n  "type": "string"\n}\n' in fences


@a_few
@given(name=HOSTILE, model=HOSTILE, verdict=HOSTILE, template=HOSTILE, served=HOSTILE)
@example(name="---", model="a|b", verdict="`", template="```\n---\nlicense: mit\n---\n# x", served="<b>")
def test_nothing_that_others_wrote_is_read_as_markdown_html_or_yaml(name, model, verdict, template, served):
    job = {"name": "x", "model": model, "prompt": {"template": template, "system": template}}
    of = manifest(job=job, inputs=[{"name": name, "size": 1, "sha256": None}])
    text = written(of, a_schema([name or "-"]), ended(verdict=verdict, served=(served,)))
    plain = written(
        manifest(job={**job, "model": "m", "prompt": {"template": template and "t", "system": template and "s"}}),
        a_schema(["q"]),
        ended(verdict="v", served=("s",)),
    )
    assert front(text)[0] == front(plain)[0]
    assert skeleton(text) == skeleton(plain)
    assert yaml.safe_load(huggingface_hub.DatasetCard(text).data.to_yaml())["tags"] == ["synthetic"]


def skeleton(text):
    """The structure that a Markdown reader sees: no text, but what kind of thing stands where; code is one thing."""
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).enable("table").parse(front(text)[1])
    return [(token.type, [child.type for child in token.children or () if child.type != "text"]) for token in tokens]


def test_the_same_text_twice_is_the_same_card():
    assert written() == written()
    assert re.search(r"\n\n\n", written()) is None
