"""The README is true: every fenced block of it is run, its tables are compared with the code."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa
import pytest

from batcher.cli.app import VERBS
from batcher.cli.discretion import EXIT_BUG
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.errors import Exit
from batcher.job.spec import InputShape, Provider
from batcher.rows.shapes import detect
from batcher.store.schemas import ATTEMPTS, data_schema

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SET_UP = "python3 -m venv .venv && .venv/bin/pip install"
ANY_PORT = "8085"


# Two readers share the README, so that two workers can. All builds on what both type.
FOR_BOTH = {"## The first minute", "## With a real key"}
FOR_THE_SECOND = {
    *("## Stop, go on, ask again", "## Read replies again", "## Lost or damaged", "## Other endpoints"),
    *("## Read the result", "## Take it elsewhere", "## Prove it"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block.

    Attributes:
        section: the heading of the second level above it.
    """

    line: int
    section: str
    kind: str
    text: str


def blocks() -> list[Block]:
    found, section = [], ""
    for at in re.finditer(r"^```(\w*)\n(.*?)^```$|^(## [^\n]+)$", README, re.MULTILINE | re.DOTALL):
        section = at[3] or section
        if not at[3]:
            line = README.count("\n", 0, at.start()) + 1
            found.append(Block(line=line, section=section, kind=at[1], text=at[2]))
    return found


def read_by(reader: str) -> list[Block]:
    """The blocks that one of the two readers types, in their order."""
    if reader == "second":
        return [block for block in blocks() if block.section in FOR_BOTH | FOR_THE_SECOND]
    return [block for block in blocks() if block.section not in FOR_THE_SECOND]


def test_between_them_two_readers_type_every_block():
    first, second = read_by("first"), read_by("second")

    assert len(blocks()) == len(re.findall("^```$", README, re.MULTILINE))
    assert [block for block in blocks() if block not in first + second] == []
    assert {block.section for block in first if block in second} == FOR_BOTH
    assert {block.section for block in second} == FOR_BOTH | FOR_THE_SECOND


def set_ups() -> list[str]:
    return [block.text.strip() for block in blocks() if block.text.startswith(SET_UP)]


def test_the_readme_has_the_two_commands_and_ci_runs_exactly_them():
    ran = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()

    first, second = set_ups()
    assert first.endswith("batcher demo")
    assert second.endswith("pytest -q")
    assert [line for line in ran if line.startswith(SET_UP)] == [first, second]


@pytest.mark.timeout(600)  # dozens of commands, one after the other: a busy machine takes minutes
@pytest.mark.parametrize("reader", ["first", "second"])
def test_every_block_runs_and_prints_what_it_says(tmp_path, reader):
    shutil.copytree(ROOT / "jobs", tmp_path / "jobs")
    printed = ""
    with Emulator(Settings(seed=7)).in_thread() as emulator, a_shell(tmp_path, emulator.url) as shell:
        for block in read_by(reader):
            where = f"README.md:{block.line}"
            match block.kind:
                case "bash":
                    printed = shell(block.text, where)
                case "python":
                    printed = shell(f"{sys.executable} -W error - <<'END'\n{block.text}END\n", where)
                case "text":
                    assert says(printed, block.text), where
                case "toml":
                    (tmp_path / "job.toml").write_text(block.text)
                case "sql":
                    assert duckdb.sql(block.text.replace("'out/", f"'{tmp_path}/out/")).fetchall(), where
                case "json":
                    assert shapes(block.text) == list(shapes_told()), where
                case other:
                    pytest.fail(f"{where}: nobody runs a block of {other!r}")


@contextmanager
def a_shell(cwd: Path, url: str) -> Iterator[object]:
    """Runs a block as a user would, with the installed command, and gives its stdout; keeps what it exports."""
    bin_dir = Path(sys.executable).parent
    exported = {"GOOGLE_GEMINI_BASE_URL": url}
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    environ = kept | exported | {"PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}"}
    port = str(free_port())
    running = []

    def run(text, where):
        text = text.replace(ANY_PORT, port)
        text = text.rpartition(".venv/bin/")[2] if text.startswith(SET_UP) else text
        if text.startswith("pytest"):
            return ""  # these are they
        shell = subprocess.Popen(
            ["bash", "-eu", "-c", text],
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running.append(shell)
        out, err = shell.communicate(timeout=300)
        assert shell.returncode == 0, f"{where}: exit code {shell.returncode}\n{out}\n{err}"
        environ.update(re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE))
        return out

    try:
        yield run
    finally:
        for shell in running:
            stop_group(shell.pid)


def stop_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def says(printed: str, told: str) -> bool:
    """Whether a command printed what the README tells of it, as far as that goes."""
    told, dots, _ = told.partition("\n…\n")
    lines = roughly(told)
    return roughly(printed)[: len(lines) if dots else None] == lines


def roughly(text: str) -> list[str]:
    """What stays the same from run to run: no numbers but `20 of 20 ok`, no pace, no place, no blank lines."""
    lines = []
    for line in text.splitlines():
        if line.strip().startswith(("time ", "endpoint ")):
            continue
        is_verdict = line.startswith(("done", "{", "20 "))
        lines.append(line if is_verdict else re.sub(r"\d[\d,.]*", "0", line))
    return [line for line in lines if line.strip()]


def shapes(lines: str) -> list[str]:
    found = []
    for line in lines.splitlines():
        row = orjson.loads(line)
        is_table = "question" in row
        shape = detect([row], wanted=InputShape.AUTO, id_column=None, has_template=is_table, where="README.md")
        found.append(shape.kind.value)
    return found


def shapes_told() -> tuple[str, ...]:
    return tuple(name for row in table_under("## Your own file", "| shape ") for name in ticked(row[0]))


def test_all_shapes_and_providers_are_told():
    assert set(shapes_told()) == set(InputShape) - {InputShape.AUTO}
    assert [name for row in table_under("## Other endpoints") for name in ticked(row[0])] == list(Provider)


def table_under(heading: str, head: str = "|") -> list[list[str]]:
    """The rows of the first table under a heading (whose head begins so), without its head."""
    section = README.split(f"\n{heading}\n", 1)[1].partition(f"\n{head}")[2]
    section = f"{head}{section}"
    lines = re.search(r"((?:^\|.*\n)+)", section, re.MULTILINE)
    assert lines is not None
    return [[cell.strip() for cell in line.strip("|\n ").split("|")] for line in lines[1].splitlines()[2:]]


def ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def spelt(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "list<struct>"
    return "struct" if pa.types.is_struct(kind) else str(kind)


def members(kind: pa.DataType) -> set[str]:
    kind = kind.value_type if pa.types.is_list(kind) else kind
    return {field.name for field in kind} if pa.types.is_struct(kind) else set()


@pytest.mark.parametrize(
    ("heading", "schema"),
    [
        ("### Columns of `data/`", data_schema([], raw=True, parsed=True, images=True, spares=True)),
        ("### Columns of `attempts/`", ATTEMPTS),
    ],
)
def test_the_tables_of_columns_are_the_schemas(heading, schema):
    rows = table_under(heading)

    assert [(name, kind) for names, kind, _ in rows for name in ticked(names)] == [
        (field.name, spelt(field.type)) for field in schema
    ]
    for names, _, meaning in rows:
        for name in ticked(names):
            assert members(schema.field(name).type) <= set(ticked(meaning)), name


def test_the_table_of_exit_codes_is_the_enum():
    told = [int(code) for row in table_under("## Exit codes") for code in row[0].split(",")]

    assert told == sorted({*Exit, EXIT_BUG})


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "jobs/README.md", ".github/CONTRIBUTING.md"])
def test_only_verbs_that_exist_are_told(page):
    text = (ROOT / page).read_text("utf-8")

    assert set(re.findall(r"(?:^|`|bin/)batcher ([a-z]+)", text, re.MULTILINE)) <= set(VERBS)
