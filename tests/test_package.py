"""What is in the package, and does it work where nothing else is?"""

import ast
import importlib
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import batcher

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built("--wheel", tmp_path_factory.mktemp("dist"))


def built(what: str, into: Path) -> Path:
    command = [sys.executable, "-m", "build", what, "--no-isolation", "--outdir", str(into), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = into.iterdir()
    return made


def in_tree(folder: str) -> set[str]:
    """The files of a source folder, as they are named in the wheel."""
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    inside = "batcher/_jobs" if folder == "jobs" else folder
    return {f"{inside}/{path.relative_to(ROOT / folder).as_posix()}" for path in paths}


@pytest.mark.xdist_group("package")
def test_the_wheel_holds_the_package_and_the_jobs_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    ours = {name for name in names if ".dist-info/" not in name}

    assert ours == in_tree("batcher") | in_tree("jobs")
    assert len(names) == len(set(names))
    assert {
        "batcher/py.typed",
        "batcher/money/rates.json",
        "batcher/_jobs/hello/job.toml",
        "batcher/_jobs/hello/prompts.jsonl",
        "batcher/_jobs/humaneval/job.toml",
        "batcher/_jobs/humaneval/prompt.j2",
    } <= ours


@pytest.mark.xdist_group("package")
def test_the_wheel_says_what_it_is(wheel):
    archive = zipfile.ZipFile(wheel)
    told = {Path(name).name: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}

    assert wheel.name.startswith("batcher_gemini-")
    assert "\nRequires-Python: >=3.11\n" in told["METADATA"]
    assert "batcher = batcher.__main__:main" in told["entry_points.txt"]


@pytest.mark.xdist_group("package")
def test_the_sources_are_all_that_a_wheel_and_the_tests_need(tmp_path):
    with tarfile.open(built("--sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"README.md", "pyproject.toml", "batcher/py.typed", "jobs/hello/job.toml", "tests/test_package.py"} <= names
    assert not any(name.startswith(("out/", ".venv/")) for name in names)


def test_every_public_name_is_there_and_is_defined_where_the_table_says():
    for name, module in batcher.PUBLIC.items():
        assert getattr(batcher, name).__module__ == module
        assert getattr(importlib.import_module(module), name) is getattr(batcher, name)
    assert {*batcher.PUBLIC, "__version__"} <= set(dir(batcher))
    with pytest.raises(AttributeError, match="module 'batcher' has no attribute 'rnu'"):
        batcher.rnu  # noqa: B018  the look itself is what fails


def test_type_checkers_are_told_of_the_same_names():
    stub = ast.parse((ROOT / "batcher" / "__init__.pyi").read_text("utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom) and node.module != "collections.abc"]
    told = {alias.asname: node.module for node in imports for alias in node.names if alias.asname == alias.name}

    assert told == batcher.PUBLIC


def test_running_from_python_loads_neither_the_command_nor_what_only_notebooks_need():
    code = "import sys, batcher; batcher.run; print({'click', 'polars', 'IPython'} & set(sys.modules) or '-')"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "-\n"


def test_importing_batcher_loads_nothing_else():
    code = "import sys, batcher; print({'aiohttp', 'pyarrow', 'pydantic', 'asyncio'} & set(sys.modules) or 'light')"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "light\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("package")
def test_the_wheel_in_an_empty_environment_runs_the_demo(wheel, tmp_path):
    """Acceptance: what `pip install` brings is enough, and nothing of the checkout is needed."""
    venv.create(tmp_path / "venv", with_pip=True)
    bin_dir = tmp_path / "venv" / "bin"
    subprocess.run([bin_dir / "pip", "install", "-q", wheel], check=True, cwd=tmp_path)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}

    done = subprocess.run(
        [bin_dir / "batcher", "demo"], capture_output=True, text=True, check=False, cwd=tmp_path, env=environ
    )

    assert done.returncode == 0, done.stderr
    assert "done: 20 of 20 ok" in done.stdout
    assert (tmp_path / "out" / "demo" / "_SUCCESS").exists()
    script = "import pyarrow.parquet as pq; print(pq.read_table('out/demo/data').num_rows)"
    read = subprocess.run([bin_dir / "python", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert read.stdout == "20\n"
