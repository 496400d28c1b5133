import shlex
from pathlib import Path

import pytest

from batcher.engine.changed import Overlap, _said, _way

OUT = Path("out/a")


def way(*words):
    return shlex.split(_way(shlex.join(["batcher", "run", *words]), OUT, OUT))[2:]


@pytest.mark.parametrize(
    "named", [("-o", "out/a"), ("--out", "out/a"), ("--out=out/a",), ("--out", "./out/a/")], ids=" ".join
)
def test_the_command_names_another_folder_in_the_place_of_the_old_one(named):
    assert way("-i", "p.jsonl", *named, "--json") == ["-i", "p.jsonl", "--json", "-o", "out/a-2", "--reuse", "out/a"]


def test_a_folder_that_the_job_named_is_overruled():
    assert way("job.toml") == ["job.toml", "-o", "out/a-2", "--reuse", "out/a"]


def test_a_value_that_looks_like_the_flag_stays():
    assert way("--template", "-o", "job.toml")[:3] == ["--template", "-o", "job.toml"]


def test_behind_two_dashes_nothing_is_a_flag():
    assert way("-q", "--", "job.toml") == ["-q", "-o", "out/a-2", "--reuse", "out/a", "--", "job.toml"]


def test_what_has_to_be_quoted_is():
    folder = Path("out/it's mine")
    assert shlex.split(_way("batcher run j.toml", folder, folder))[3:] == [
        *("-o", "out/it's mine-2"),
        *("--reuse", "out/it's mine"),
    ]


def test_a_folder_that_is_there_is_not_proposed(tmp_path):
    out = tmp_path / "a"
    (tmp_path / "a-2").mkdir()
    (tmp_path / "a-3.preview").mkdir()
    assert f"-o {out}-4 " in _way("batcher run j.toml", out, out)


def test_whoever_typed_nothing_gets_arguments():
    assert _way("", OUT, OUT) == "the same call with out='out/a-2', reuse='out/a'"


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((9, 3, 0, 0), "3 rows are new, 0 are gone; to ask only those"),
        ((9, 1, 1, 0), "1 row is new, 1 is gone; to ask only those"),
        ((9, 0, 2, 1), "0 rows are new, 2 are gone, 1 is without an answer to use; to ask only those"),
        ((9, 0, 2, 0), "0 rows are new, 2 are gone; to take over its answers"),
        ((1, 1_200, 0, 0), "1,200 rows are new, 0 are gone; to ask only those"),
    ],
)
def test_it_is_said_in_numbers(counts, said):
    assert _said(Overlap(**dict(zip(("kept", "new", "gone", "again"), counts, strict=True)))) == said
