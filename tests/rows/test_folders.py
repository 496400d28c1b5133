from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import InputError
from batcher.rows.folders import natural
from batcher.rows.readers import find_inputs
from tests.rows.files import an_input, write_lines


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def a_folder(*names: str) -> None:
    for name in names:
        Path("set", name).parent.mkdir(parents=True, exist_ok=True)
        write_lines(Path("set", name), [{"prompt": "a"}])


def found(named: str = "set") -> list[str]:
    return [file.name for file in find_inputs(an_input(named), spool=Path("spool"))]


def refused() -> InputError:
    with pytest.raises(InputError) as caught:
        found()
    return caught.value


@given(st.lists(st.integers(0, 10**6), unique=True, min_size=1, max_size=20))
def test_shards_sort_by_number(numbers: list[int]) -> None:
    names = sorted((f"s-{number}.jsonl" for number in numbers), key=natural)

    assert names == [f"s-{number}.jsonl" for number in sorted(numbers)]


@pytest.mark.parametrize("place", ["", "data/"])
def test_shards_are_the_rows_and_what_lies_beside_them_is_not(place: str) -> None:
    shards = [f"{place}train-{number:05d}-of-00003.jsonl" for number in range(3)]
    a_folder(*reversed(shards), "dataset_infos.json", "run.json", f"{place}notes.txt")

    assert found() == [f"set/{shard}" for shard in shards]


def test_a_missing_shard_is_named_and_the_others_can_be_asked_for() -> None:
    a_folder("data/train-00000-of-00003.jsonl", "data/train-00002-of-00003.jsonl")

    error = refused()
    assert error.message == "set/data: 2 shards are here, wanted 3; the first that is missing is 00001"
    assert error.hint == "-i 'set/data/train-*' reads what is here all the same"
    assert len(found("set/data/train-*")) == 2


def test_splits_are_never_mixed() -> None:
    a_folder("data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl")

    error = refused()
    assert error.message == "set/data: has the splits test, train; say which"
    assert error.hint == "-i 'set/data/test-*' or -i 'set/data/train-*'"
    assert found("set/data/train-*") == ["set/data/train-00000-of-00001.jsonl"]


@pytest.mark.parametrize(
    ("names", "splits", "hint"),
    [
        (("train.jsonl", "test.jsonl"), "test, train", "-i 'set/test*' or -i 'set/train*'"),
        (("data/dev_1.csv", "data/Train_1.csv"), "Train, dev", "-i 'set/data/Train*' or -i 'set/data/dev*'"),
    ],
)
def test_files_named_as_splits_are_not_mixed_either(names: tuple[str, ...], splits: str, hint: str) -> None:
    a_folder(*names)

    assert refused().message.endswith(f": has the splits {splits}; say which")
    assert refused().hint == hint


def test_a_name_that_only_begins_as_a_split_does_is_none() -> None:
    a_folder("testimonials.jsonl", "train.jsonl", "trainees.jsonl")

    assert len(found()) == 3


def test_what_a_library_writes_beside_the_data_is_no_data() -> None:
    a_folder("rows.jsonl", "dataset_infos.json")

    assert found() == ["set/rows.jsonl"]


def test_rows_in_folders_beneath_are_pointed_at() -> None:
    a_folder("README.md", "main/train-00000-of-00001.jsonl", "so so/x/a.jsonl", ".cache/b.jsonl")

    assert refused().message == "set: its rows are in folders beneath it; say which"
    assert refused().hint == "-i set/main or -i 'set/so so/x'"
    a_folder(*(f"{name}/a.jsonl" for name in "bcde"))
    assert refused().hint == "-i set/b or -i set/c or -i set/d or -i set/e (and 2 more)"


def test_shards_of_two_sets_are_told_apart() -> None:
    a_folder("train-00000-of-00001.jsonl", "train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl")

    assert refused().message == "set: 3 shards are here, wanted 2; they are of different sets"


def test_a_text_among_data_is_its_description_and_alone_it_is_data() -> None:
    a_folder("a.jsonl", "LICENSE.txt")
    assert found() == ["set/a.jsonl"]

    Path("set/a.jsonl").unlink()
    assert found() == ["set/LICENSE.txt"]


def test_what_save_to_disk_wrote_is_refused_with_the_way_out() -> None:
    a_folder("data-00000-of-00001.arrow", "dataset_info.json", "state.json")

    assert refused().message == "set: was written by save_to_disk, wanted Parquet"
    assert refused().hint == "in Python: datasets.load_from_disk('set').to_parquet('set.parquet')"
