"""Acceptance: a notebook that nbclient executes, in a kernel whose loop runs, shows a run as HTML."""

import asyncio

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import batcher
from batcher.errors import Exit
from tests.api.runs import LATENCY_S, ROWS, an_emulator, asked, slow_rows
from tests.whole.runs import environment, write_lines

CELLS = [
    "import batcher\nrun = batcher.run('hello', limit=5, out='out/hello')\nrun",
    "len(run.to_pandas()), run.to_polars().shape[0], run.to_arrow().num_rows, run.summary.verdict",
    "run = await batcher.arun([{'prompt': 'What is 6 * 7?'}], model='gemini-2.5-flash', out='out/two')\nprint(run)",
    "[o.response async for o in batcher.stream([{'prompt': 'What is 2 + 2?'}], model='gemini-2.5-flash')]",
    "batcher.open_run('out/two')",
]


@pytest.fixture(scope="module")
def emulator():
    with an_emulator(LATENCY_S) as emulator:
        yield emulator


@pytest.fixture
def environ(emulator, tmp_path):
    """Where nothing of the machine's own Jupyter is read or written."""
    folders = ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")
    return environment(
        GOOGLE_GEMINI_BASE_URL=emulator.url,
        PYDEVD_DISABLE_FILE_VALIDATION="1",
        **{name: str(tmp_path / ".jupyter") for name in folders},
    )


def a_client(folder, *cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    return NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(folder)}})


async def test_a_notebook_runs_and_shows_its_run(tmp_path, environ):
    """Nothing of it needs a loop to be patched or a widget to be installed."""
    notebook = await a_client(tmp_path, *CELLS).async_execute(env=environ)

    shown, counts, awaited, streamed, opened = (cell.outputs for cell in notebook.cells)
    progress, result = shown
    assert (progress.output_type, progress.data) == ("display_data", {"text/plain": "done: 5 of 5 ok · $0.0000191"})
    assert result.data["text/plain"] == "<Run out/hello.preview: done: 5 of 5 ok, $0.0000191>"
    assert 'class="batcher-run' in result.data["text/html"]
    assert "What is 17 + 25?" in result.data["text/html"]
    assert counts[0].data["text/plain"] == "(5, 5, 5, 'done: 5 of 5 ok')"
    assert awaited[0].text.startswith("<Run out/two: done: 1 of 1 ok, $")
    assert streamed[0].data["text/plain"] == "['4']"
    assert "What is 6 * 7?" in opened[0].data["text/html"]
    assert [output.output_type for cell in notebook.cells for output in cell.outputs if "name" in output] == ["stream"]


async def test_interrupting_the_kernel_drains_and_running_the_cell_again_completes(tmp_path, environ, emulator):
    emulator.reset()
    write_lines(tmp_path / "rows.jsonl", slow_rows())
    cell = "import batcher; batcher.run('rows.jsonl', model='gemini-2.5-flash', out='out', concurrency=8)"
    client = a_client(tmp_path, cell)
    async with client.async_setup_kernel(env=environ):
        running = asyncio.ensure_future(client.async_execute_cell(client.nb.cells[0], 0))
        await asked(emulator, 20)
        await client.km.interrupt_kernel()
        with pytest.raises(CellExecutionError) as caught:
            await running
        stopped = batcher.open_run(tmp_path / "out").summary
        sent = emulator.totals().requests
        await client.async_execute_cell(client.nb.cells[0], 0)

    said = f"stopped by SIGINT; {sent} of {ROWS} answers are safe on disk"
    assert (caught.value.ename, caught.value.evalue) == ("KeyboardInterrupt", f"{said}; the same call goes on")
    assert (stopped.verdict, stopped.exit_code, stopped.totals.maybe_billed) == (said, Exit.INTERRUPT, 0)
    assert 20 <= sent < ROWS == emulator.totals().requests
    assert f"done: {ROWS} of {ROWS} ok" in client.nb.cells[0].outputs[-1].data["text/plain"]
