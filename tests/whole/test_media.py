"""Pictures, sounds and documents in, pictures out: files in, emulator, files out, and the readers people use."""

from __future__ import annotations

import base64
import contextlib
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import duckdb
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from batcher.emulator.server import Emulator
from batcher.records import Status
from batcher.rows.features import IMAGES, MEDIUM
from tests.media import a_document, a_picture, a_sound
from tests.whole.runs import (
    a_job,
    call,
    column,
    command,
    data,
    emulator_settings,
    environment,
    retry,
    run,
    run_argv,
    write_lines,
)

COLOURS = ("red", "lime", "blue", "gray", "teal")
PICTURES = [
    a_picture(4 + n, 3, kind=kind, colour=colour)
    for n, (kind, colour) in enumerate(zip(["png", "jpeg", "gif", "webp", "bmp"], COLOURS, strict=True))
]
IMAGE_MODEL = "gemini-2.5-flash-image"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(emulator_settings()).in_thread() as running:
        yield running


def asked(emulator: Emulator) -> list[list[dict[str, Any]]]:
    """The parts of every request's one turn, in canonical form, by their text."""
    turns = [entry.body["contents"][0]["parts"] for entry in emulator.journal if entry.body is not None]
    return sorted(turns, key=lambda parts: "".join(part.get("text", "") for part in parts))


def loaded(out: Path, tmp_path: Path, **options: Any) -> Any:
    """As the hub's library loads it; it keeps files open that only the collector closes."""
    with contextlib.suppress(ResourceWarning):
        return datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"), **options)


def a_hub_file(path: Path, features: datasets.Features, **columns: list[Any]) -> Path:
    """A Parquet file as `datasets` writes one."""
    datasets.Dataset.from_dict(columns, features=features).to_parquet(str(path))
    return path


@pytest.mark.parametrize("dialect", ["google", "flat"])
def test_pictures_of_a_hub_file_are_sent_and_come_back_as_pictures(
    emulator: Emulator, tmp_path: Path, dialect: str
) -> None:
    features = datasets.Features(
        {
            "prompt": datasets.Value("string"),
            "image": datasets.Image(),
            "kind": datasets.ClassLabel(names=["round", "square"]),
        }
    )
    held = [{"bytes": picture, "path": f"{n}.png"} for n, picture in enumerate(PICTURES)]
    rows = a_hub_file(
        tmp_path / "rows.parquet",
        features,
        prompt=[f"{n}: what is it?" for n in range(5)],
        image=held,
        kind=[0, 1, 0, 1, 0],
    )
    out = tmp_path / "out"
    summary = run(a_job(emulator.url, rows, **{"endpoint.dialect": dialect}), out)

    assert summary.exit_code == 0
    mimes = [parts[0]["inline_data"]["mime_type"] for parts in asked(emulator)]
    assert mimes == ["image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"]
    assert [base64.b64decode(parts[0]["inline_data"]["data"]) for parts in asked(emulator)] == PICTURES
    assert data(out).schema.field("image").type == MEDIUM
    assert column(out, "image") == held
    if dialect == "google":  # the flat one tells no modalities
        told = [usage["prompt_tokens_details"][-1] for usage in column(out, "usage_metadata")]
        assert told == [{"modality": "IMAGE", "token_count": 258}] * 5

    table = loaded(out, tmp_path)
    assert isinstance(table.features["image"], datasets.Image)
    assert table.features["kind"].names == ["round", "square"]
    assert [row["image"].size for row in table] == [(4 + n, 3) for n in range(5)]
    assert table[0]["image"].getpixel((0, 0)) == (255, 0, 0)
    frame = pd.read_parquet(out / "data")
    assert [held["bytes"] for held in frame["image"]] == PICTURES
    told = duckdb.sql(
        f"select image.path, octet_length(image.bytes) from '{out}/data/*.parquet' order by ordinal"
    ).fetchall()
    assert told == [(f"{n}.png", len(picture)) for n, picture in enumerate(PICTURES)]


def test_paths_of_a_line_file_are_read_beside_it(emulator: Emulator, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "img").mkdir(parents=True)
    for n, picture in enumerate(PICTURES):
        (folder / "img" / f"{n}.dat").write_bytes(picture)
    (tmp_path / "secret.png").write_bytes(PICTURES[0])
    rows: list[dict[str, Any]] = [{"id": f"q{n}", "prompt": f"{n}?", "image": f"img/{n}.dat"} for n in range(5)]
    rows += [
        {"id": "out", "prompt": "5?", "image": "../secret.png"},
        {"id": "net", "prompt": "6?", "image": "https://example.com/a.png"},
        {"id": "none", "prompt": "7?"},
        {"id": "pdf", "prompt": "8?", "pdf": "data:application/pdf;base64," + base64.b64encode(a_document()).decode()},
        {"id": "audio", "prompt": "9?", "audio": {"bytes": base64.b64encode(a_sound()).decode(), "path": None}},
    ]
    out = tmp_path / "out"
    summary = run(a_job(emulator.url, write_lines(folder / "rows.jsonl", rows)), out)

    assert summary.exit_code == 1
    assert column(out, "status") == ["ok"] * 5 + ["failed"] * 3 + ["ok"] * 2
    messages = column(out, "error_message")
    assert "'../secret.png': leads outside of" in messages[5]
    assert "nothing is fetched" in messages[6]
    assert messages[7].endswith(
        "no medium in 'image' and 'pdf' and 'audio' (prompt.media_optional = true asks without)"
    )
    assert [parts[0]["inline_data"]["mime_type"] for parts in asked(emulator)] == [
        "image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "application/pdf", "audio/wav",
    ]  # fmt: skip
    assert column(out, "image")[:2] == ["img/0.dat", "img/1.dat"]


def test_what_is_big_is_sent_whole_or_told_before_it_is_sent(emulator: Emulator, tmp_path: Path) -> None:
    for n, size in enumerate((3 << 20, 6 << 20)):
        (tmp_path / f"{n}.png").write_bytes(PICTURES[0].ljust(size, b"\0"))
    rows = [{"prompt": f"{n}?", "image": f"{n}.png"} for n in range(2)]
    out = tmp_path / "out"
    job = a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", rows), **{"limits.max_request_bytes": 6_000_000})
    run(job, out)

    assert column(out, "status") == ["ok", "failed"]
    assert column(out, "error_kind") == [None, "too_large"]
    assert column(out, "error_message")[1].endswith(
        "column 'image': its media have 6,291,456 bytes and more; a request takes 6,000,000, base64 and all"
        " (limits.max_request_bytes)"
    )
    assert [len(base64.b64decode(parts[0]["inline_data"]["data"])) for parts in asked(emulator)] == [3 << 20]


@pytest.mark.parametrize("dialect", ["google", "flat"])
def test_what_was_uploaded_is_named_by_its_address(emulator: Emulator, tmp_path: Path, dialect: str) -> None:
    film = {"file_uri": "https://youtu.be/x", "mime_type": "video/mp4"}
    rows = [{"prompt": "0?", "image": film}, {"prompt": "1?", "image": base64.b64encode(PICTURES[1]).decode()}]
    out = tmp_path / "out"
    summary = run(a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", rows), **{"endpoint.dialect": dialect}), out)

    assert summary.exit_code == 0
    assert [parts[0] for parts in asked(emulator)] == [
        {"file_data": film},
        {"inline_data": {"mime_type": "image/jpeg", "data": base64.b64encode(PICTURES[1]).decode()}},
    ]


def test_a_row_that_was_too_large_or_had_no_file_is_asked_by_a_retry(emulator: Emulator, tmp_path: Path) -> None:
    rows = write_lines(tmp_path / "rows.jsonl", [{"prompt": f"{n}?", "image": f"{n}.png"} for n in range(3)])
    (tmp_path / "0.png").write_bytes(PICTURES[0])
    (tmp_path / "1.png").write_bytes(PICTURES[0])
    out = tmp_path / "out"
    run(a_job(emulator.url, rows), out)
    (tmp_path / "2.png").write_bytes(PICTURES[1])
    before = column(out, "status")
    (tmp_path / "0.png").unlink()  # its answer is paid: it need not be read again
    retry(out)

    assert (before, column(out, "status")) == (["ok", "ok", "failed"], ["ok"] * 3)
    assert [parts[0]["inline_data"]["mime_type"] for parts in asked(emulator)] == [
        "image/png",
        "image/png",
        "image/jpeg",
    ]


def test_bytes_lists_and_places_of_the_template(emulator: Emulator, tmp_path: Path) -> None:
    table = pa.table(
        {
            "left": pa.array(PICTURES[:2], pa.large_binary()),
            "images": pa.array(
                [[{"bytes": PICTURES[2], "path": None}] * 2, []],
                pa.list_(pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])),
            ),
            "q": ["a", "b"],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    out = tmp_path / "out"
    job = a_job(
        emulator.url,
        tmp_path / "rows.parquet",
        **{"prompt.template": "Is {{ left }} on it, {{ q }}?", "prompt.media": ["left", "images"]},
    )
    run(job, out)

    kinds = [[part.get("text") or part["inline_data"]["mime_type"] for part in parts] for parts in asked(emulator)]
    assert kinds == [
        ["image/gif", "image/gif", "Is ", "image/png", " on it, a?"],
        ["Is ", "image/jpeg", " on it, b?"],
    ]
    assert data(out).schema.field("images").type == IMAGES
    assert loaded(out, tmp_path)[0]["images"][1].size == (6, 3)


@pytest.mark.parametrize("dialect", ["google", "flat"])
@pytest.mark.parametrize("raw", [False, True])
def test_pictures_that_a_model_made_are_a_column_of_pictures(
    emulator: Emulator, tmp_path: Path, dialect: str, raw: bool
) -> None:
    rows = write_lines(
        tmp_path / "rows.jsonl",
        [{"prompt": f"Paint {n}.", "images": "mine"} for n in range(20)] + [{"prompt": "[blocked]"}],
    )
    out = tmp_path / "out"
    settings = {"generation.response_modalities": ["TEXT", "IMAGE"], "generation.candidate_count": 2, "output.raw": raw}
    job = a_job(emulator.url, rows, **settings, **{"prompt.media": [], "endpoint.dialect": dialect, "samples": 2})
    run(job, out)

    table = data(out)
    assert table.schema.names[-1] == "response_images"
    assert table.schema.field("response_images").type == IMAGES
    assert column(out, "images")[0] == "mine"
    assert column(out, "response_images")[-2:] == [[], []]
    for made, candidates in zip(column(out, "response_images")[:-2], column(out, "candidates"), strict=False):
        assert [picture["path"] for picture in made] == ["0-1.png", "1-1.png"]
        for picture, candidate in zip(made, candidates, strict=True):
            text, painted = orjson.loads(candidate["parts"])
            assert text["text"] == candidate["text"]
            held = painted.get("inlineData") or painted.get("inline_data")
            assert held == {"mimeType" if dialect == "google" else "mime_type": "image/png", "path": picture["path"]}
            assert Image.open(io.BytesIO(picture["bytes"])).size == (16, 16)
    assert len({picture["bytes"] for made in column(out, "response_images") for picture in made}) > 10

    seen = loaded(out, tmp_path)
    assert seen[3]["response_images"][1].size == (16, 16)
    assert [len(row) for row in pd.read_parquet(out / "data")["response_images"]] == [2] * 40 + [0, 0]
    each = f"select unnest(response_images) as image from '{out}/data/*.parquet'"
    assert duckdb.sql(f"select count(*) from ({each}) where image.path = '0-1.png'").fetchall() == [(40,)]


def test_a_model_of_pictures_makes_them_unasked_and_a_text_run_pays_nothing(emulator: Emulator, tmp_path: Path) -> None:
    rows = write_lines(tmp_path / "rows.jsonl", [{"prompt": "Paint."}])
    run(a_job(emulator.url, rows, model=IMAGE_MODEL), tmp_path / "pictures")
    run(a_job(emulator.url, rows), tmp_path / "text")
    run(a_job(emulator.url, rows, model=IMAGE_MODEL, **{"generation.response_modalities": ["TEXT"]}), tmp_path / "said")

    assert len(column(tmp_path / "pictures", "response_images")[0]) == 1
    assert column(tmp_path / "pictures", "usage_metadata")[0]["candidates_tokens_details"][1] == {
        "modality": "IMAGE", "token_count": 1290,
    }  # fmt: skip
    assert "response_images" not in data(tmp_path / "text").schema.names
    assert "response_images" not in data(tmp_path / "said").schema.names
    assert pq.read_schema(next((tmp_path / "text" / "data").iterdir())).metadata is None


def test_pictures_survive_a_resume_and_a_retry(emulator: Emulator, tmp_path: Path) -> None:
    rows = write_lines(tmp_path / "rows.jsonl", [{"prompt": "Paint [5x503] it."}, {"prompt": "Paint."}])
    out = tmp_path / "out"
    run(a_job(emulator.url, rows, model=IMAGE_MODEL, **{"retry.attempts": 2}), out)
    first = column(out, "response_images")
    retry(out, Status.FAILED)
    retry(out, Status.FAILED)

    assert [len(made) for made in first] == [0, 1]
    assert [len(made) for made in column(out, "response_images")] == [1, 1]
    assert column(out, "response_images")[1] == first[1]
    assert loaded(out, tmp_path)[1]["response_images"][0].size == (16, 16)


def test_an_empty_run_directory_says_its_features_already(emulator: Emulator, tmp_path: Path) -> None:
    rows = write_lines(tmp_path / "rows.jsonl", [{"prompt": "Paint."}])
    run(a_job(emulator.url, rows, model=IMAGE_MODEL), tmp_path / "out")
    anchor, part = sorted((tmp_path / "out" / "data").iterdir())

    assert pq.read_schema(anchor).metadata[b"huggingface"] == pq.read_schema(part).metadata[b"huggingface"]
    assert orjson.loads(pq.read_schema(anchor).metadata[b"huggingface"]) == {
        "info": {"features": {"response_images": {"feature": {"_type": "Image"}, "_type": "Sequence"}}}
    }


def test_paths_that_come_through_a_pipe_are_those_of_where_it_runs(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(PICTURES[0])
    row = orjson.dumps({"prompt": "?", "image": "0.png"}).decode()
    argv = command(*run_argv(Path("-"), tmp_path / "out", emulator.url))
    ended = subprocess.run(
        argv, input=row, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert base64.b64decode(asked(emulator)[0][0]["inline_data"]["data"]) == PICTURES[0]


def test_inspect_shows_the_medium_and_export_leaves_out_what_it_cannot_say(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(PICTURES[0])
    rows = write_lines(tmp_path / "rows.jsonl", [{"prompt": "?", "image": "0.png"}])
    run(a_job(emulator.url, rows), tmp_path / "out")
    inspected = call("inspect", rows, "--json")
    exported = call("export", tmp_path / "out", "--to", "trl-sft", "-o", tmp_path / "train.jsonl")

    first, _ = orjson.loads(inspected.stdout)["request"]["contents"][0]["parts"]
    assert base64.b64decode(first["inlineData"]["data"]) == PICTURES[0]
    assert exported.stdout.startswith("exported 0 of 1: 1 with media or calls in the prompt left out")
