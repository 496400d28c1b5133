"""A run's folder as its finder meets it: the card parses, and what it says of the folder is so."""

import hashlib
import os
import re
import subprocess
import sys

import huggingface_hub
import pytest

from batcher.emulator.server import Emulator
from tests.whole.runs import a_job, data, emulator_settings, ledger, manifest, run, sums, write_lines


@pytest.fixture(scope="module")
def emulator():
    with Emulator(emulator_settings()).in_thread() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def finished(emulator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    rows = write_lines(folder / "rows.jsonl", [*sums(5), {"id": "cut", "prompt": "[maxtokens] Tell me a long story."}])
    settings = {"generation.temperature": 0.5, "prompt.system": "You are a calculator."}
    run(a_job(emulator.url, rows, **settings), folder / "out")
    return folder / "out"


def loaded(out):
    return huggingface_hub.DatasetCard.load(out / "README.md")


def test_the_hubs_reader_parses_it_before_and_after(finished, emulator, tmp_path):
    found = loaded(finished)
    assert [config["config_name"] for config in found.data.configs] == ["default", "attempts"]
    assert found.data.license is None
    assert "No licence is stated." in found.text
    assert f"| answered by | `{data(finished).column('model_version')[0]}` |" in found.text
    assert "| settings | `temperature = 0.5` |" in found.text
    assert "| `truncated` | 1 | 16.67 % |" in found.text
    assert "You are a calculator." in found.text


def test_the_source_is_named_with_its_hash(finished):
    rows = finished.parent / "rows.jsonl"
    digest = hashlib.sha256(rows.read_bytes()).hexdigest()
    assert manifest(finished)["inputs"][0]["sha256"] == digest
    assert f"| {rows.stat().st_size:,} | `{digest}` |" in loaded(finished).text


def test_a_preview_does_not_read_the_whole_file_for_it(emulator, tmp_path):
    run(a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", sums(5))), tmp_path / "out", limit=2)
    assert manifest(tmp_path / "out.preview")["inputs"][0]["sha256"] is None
    assert "`not taken`" in loaded(tmp_path / "out.preview").text


def test_a_licence_may_be_stated_after_the_fact(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", sums(2))
    run(a_job(emulator.url, rows), tmp_path / "out")
    before = (tmp_path / "out" / "run.json").read_bytes()
    run(a_job(emulator.url, rows, output__license="cc-by-4.0"), tmp_path / "out")
    assert loaded(tmp_path / "out").data.license == "cc-by-4.0"
    assert "| answered by |" in loaded(tmp_path / "out").text
    assert (tmp_path / "out" / "run.json").read_bytes() == before
    run(a_job(emulator.url, rows), tmp_path / "again")
    assert loaded(tmp_path / "again").data.license is None


def test_what_it_says_about_loading_works(finished, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```$", loaded(finished).text, re.MULTILINE | re.DOTALL)
    check = f"assert (len(rows), len(requests)) == ({data(finished).num_rows}, {ledger(finished).num_rows})\n"
    assert len(blocks) == 3
    code = f"{blocks[0]}{check}{blocks[1]}assert len(rows) == 6\n{blocks[2]}"
    environ = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code.replace("PATH", str(finished))],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "truncated" in done.stdout
