"""The key is in no file, no line of output and no process list, whatever goes wrong."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from batcher.cli.app import call
from batcher.cli.discretion import EXIT_BUG
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency, Settings
from batcher.errors import Exit
from tests.whole.console import MODEL

CANARY = "canary/7f3a9c+do-not-print~0b1d"  # no shape that a pattern would know; `/` is escaped by some JSON writers
RUN = ("run", "-i", "p.jsonl", "-m", MODEL, "-o", "out/a", "--debug", "-v")
ROWS = b"".join(b'{"prompt": "What is %d + 2?"}\n' % n for n in range(20))


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", CANARY)
    (tmp_path / "p.jsonl").write_bytes(ROWS)
    return tmp_path


@pytest.fixture
def batcher(capfd):
    """Runs a command against a URL; gives its exit code and all it said."""

    def run(url, *argv):
        exit_code = call([*argv, "--base-url", url] if argv[0] == "run" else argv)
        said = capfd.readouterr()
        return exit_code, said.out + said.err

    return run


def environ_with(url):
    return os.environ | {"GOOGLE_GEMINI_BASE_URL": url}


def everything_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file as it lies on disk; what is compressed, also as it reads."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield str(path), path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            yield f"{path} (rows)", str(pq.read_table(path).to_pylist())
        if path.suffix == ".arrow":
            with pa.memory_map(str(path)) as file:
                yield f"{path} (rows)", str(pa.ipc.open_file(file).read_all().to_pylist())


def assert_nowhere(said="", *, folder="out"):
    assert [name for name, text in everything_in(Path(folder)) if CANARY in text] == []
    assert CANARY not in said


def in_a_process(here, url, code, *argv, **more):
    """Run some code in a process whose every file, log and temporary file can be looked at afterwards."""
    (here / "tmp").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-W", "default", "-c", code, *argv],
        capture_output=True,
        text=True,
        check=False,
        env=environ_with(url) | {"TMPDIR": str(here / "tmp"), "PYTHONASYNCIODEBUG": "1"} | more,
        timeout=120,
    )


def test_the_canary_would_be_found(here):
    pq.write_table(
        pa.table({"text": ["x" * 1000 + CANARY]}), here / "a.parquet", compression="zstd", use_dictionary=False
    )

    with pytest.raises(AssertionError):
        assert_nowhere(folder=here)


def test_a_run_that_ends_well(batcher):
    with Emulator(Settings(seed=7)).in_thread() as emulator:
        exit_code, said = batcher(emulator.url, *RUN, "--set", "output.raw=true")

    assert exit_code == Exit.DONE
    assert "endpoint.base_url" in said  # it did say a lot
    assert_nowhere(said)


def test_a_key_that_is_refused(batcher):
    with Emulator(Settings(seed=7, keys=("another",))).in_thread() as emulator:
        exit_code, said = batcher(emulator.url, *RUN)
        as_json = batcher(emulator.url, *RUN, "--json")

    assert exit_code == as_json[0] == Exit.REFUSED
    assert "key from GEMINI_API_KEY (…0b1d)" in said
    assert_nowhere(said + as_json[1])


LOGGED = """
import atexit, logging, os
logging.basicConfig(level=logging.DEBUG, filename="debug.log")
log = logging.getLogger("some.library")
atexit.register(lambda: log.debug("headers %s", {"x-goog-api-key": os.environ["GEMINI_API_KEY"]}))
from batcher.__main__ import main
main()
"""


def test_logs_of_every_library_at_their_loudest(here):
    with Emulator(Settings(seed=7)).in_thread() as emulator:
        done = in_a_process(here, emulator.url, LOGGED, *RUN, "--set", "output.raw=true")

    assert done.returncode == Exit.DONE
    assert "headers {'x-goog-api-key': '[secret]'}" in (here / "debug.log").read_text()
    assert_nowhere(done.stdout + done.stderr, folder=here)


@pytest.mark.parametrize("point", ["admitted", "after-commit", "part-built"])
def test_a_process_that_dies_in_the_middle(here, point):
    with Emulator(Settings(seed=7)).in_thread() as emulator:
        code = "from batcher.__main__ import main; main()"
        done = in_a_process(here, emulator.url, code, *RUN, "--set", "output.raw=true", BATCHER_FAILPOINT=point)

    assert done.returncode == -signal.SIGKILL
    assert_nowhere(done.stdout + done.stderr, folder=here)


CRASHES = {
    "in a task": """
import asyncio, threading
from batcher.engine.watch import Lookout
over = Lookout.over
async def broken(self, work):
    async def breaks():
        raise RuntimeError("in a task: " + os.environ["GEMINI_API_KEY"])
    asyncio.get_running_loop().create_task(breaks())
    await over(self, work)
    gc.collect()
Lookout.over = broken
""",
    "in the writer's thread": """
from batcher.store.journal import Journal
def broken(self):
    raise RuntimeError("in the writer's thread: " + os.environ["GEMINI_API_KEY"])
import threading
threading.Thread(target=broken, args=(None,), name="journal").start()
""",
    "at exit": """
import atexit
def broken():
    raise RuntimeError("at exit: " + os.environ["GEMINI_API_KEY"])
atexit.register(broken)
""",
    "by the kernel": """
import faulthandler, signal, threading
faulthandler.enable()
def killed():
    local = os.environ["GEMINI_API_KEY"]
    print("by the kernel", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
threading.Timer(0.0, killed).start()
""",
}
HOOKED = """
import gc, os, sys
from batcher.cli import app
call = app.call
def hooked(argv):
    exec(os.environ["CRASH"], globals())
    return call(argv)
app.call = hooked
app.main()
"""


@pytest.mark.parametrize("where", CRASHES)
def test_a_crash_of_any_kind_with_the_key_in_its_words(here, where):
    with Emulator(Settings(seed=7)).in_thread() as emulator:
        done = in_a_process(here, emulator.url, HOOKED, *RUN, CRASH=CRASHES[where])

    assert where in done.stderr
    assert "Traceback" in done.stderr or where == "by the kernel"
    assert_nowhere(done.stdout + done.stderr, folder=here)
    assert [path.name for path in here.rglob("core*")] == []


CRASH = """
import batcher.engine.crossing as crossing
from batcher.__main__ import main
from batcher.asking.transport import Door

class Broken(Door):
    async def post(self, request):
        key = self._secret.decode()
        raise RuntimeError("the door fell off")

opened = crossing.open_door
def broken(*given):
    door = opened(*given)
    door.__class__ = Broken
    return door
crossing.open_door = broken
main()
"""


@pytest.mark.parametrize("argv", [RUN, RUN[:-2]], ids=["debug", "plain"])
def test_a_crash_with_the_key_in_a_local(argv):
    done = subprocess.run(
        [sys.executable, "-c", CRASH, *argv],
        capture_output=True,
        text=True,
        check=False,
        env=environ_with("http://127.0.0.1:9"),
        timeout=60,
    )

    assert done.returncode == EXIT_BUG
    assert "the door fell off" in done.stderr
    assert ("Traceback" in done.stderr) == ("--debug" in argv)
    assert_nowhere(done.stdout + done.stderr)


def answer(text, **more):
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}
    return orjson.dumps({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 3}} | more)


def refusal(code, message):
    return orjson.dumps({"error": {"code": code, "message": message, "status": "INVALID_ARGUMENT"}})


ECHOES = {
    "in an answer": (200, answer(f"your key is {CANARY}"), {}),
    "in an answer, escaped": (200, answer(f"your key is {CANARY}").replace(b"/", b"\\/"), {}),
    "in an answer's facts": (200, answer("hi", modelVersion=CANARY, responseId=f"r-{CANARY}"), {}),
    "in a refusal of the row": (400, refusal(400, f"request with key {CANARY} is malformed"), {}),
    "in a refusal of the key": (403, refusal(403, f"key {CANARY} is not allowed"), {}),
    "in a page that is no JSON": (404, f"<html>no such page for {CANARY}</html>".encode(), {}),
    "in a header that is kept": (200, answer("hi"), {"x-gemini-service-tier": CANARY}),
    "in a redirect": (302, b"", {"Location": f"http://127.0.0.1:9/?key={CANARY}"}),
}


@contextmanager
def echoing(status, body, headers):
    """A server that always answers the same."""

    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("echo", ECHOES)
def test_a_server_that_says_the_key_back(batcher, echo):
    with echoing(*ECHOES[echo]) as url:
        exit_code, said = batcher(url, *RUN, "--set", "output.raw=true", "--set", "retry.attempts=1")
    _, shown = batcher(url, "show", "out/a")

    assert exit_code in {Exit.DONE, Exit.ROWS_FAILED, Exit.REFUSED}
    assert_nowhere(said + shown)


def test_files_are_the_owners_and_the_groups_and_the_state_is_the_owners_alone(batcher, here):
    was = os.umask(0o000)
    (here / "state").mkdir(mode=0o755)
    try:
        with Emulator(Settings(seed=7)).in_thread() as emulator:
            exit_code, _ = batcher(emulator.url, *RUN, "--set", f"output.state_dir={here}/state")
    finally:
        os.umask(was)

    assert exit_code == Exit.DONE
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (here / "out").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o640}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o750}
    state = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (here / "state").rglob("*") if path.is_file()}
    assert set(state.values()) == {0o600}
    assert {"journal.db", "index", "lock"} <= set(state)


needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are read from /proc")


def process_table() -> Iterator[tuple[int, str, str]]:
    """Every process that can be looked at: pid, arguments, environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield int(folder.name), (folder / "cmdline").read_text("latin-1"), (folder / "environ").read_text("latin-1")
        except OSError:
            continue


@needs_proc
def test_no_list_of_processes_shows_the_key_while_it_runs():
    with Emulator(Settings(seed=7, latency=Latency.fixed(30.0))).in_thread() as emulator:
        running = subprocess.Popen(
            [sys.executable, "-m", "batcher", *RUN],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ_with(emulator.url),
        )
        try:
            wait_until(lambda: emulator.totals().requests)
            table = list(process_table())
        finally:
            running.kill()
            out, err = running.communicate()

    assert [pid for pid, arguments, _ in table if CANARY in arguments] == []
    assert [pid for pid, _, environ in table if CANARY in environ] in ([running.pid], [])  # the first: we are root
    assert_nowhere((out + err).decode())


def wait_until(seen):
    for _ in range(400):
        if seen():
            return
        threading.Event().wait(0.05)
    pytest.fail("it never began to ask")


LOOK_AROUND = """
import os, pathlib, sys
with open("seen", "wb") as seen:
    for pid in (os.getpid(), os.getppid()):
        for what in ("cmdline", "environ"):
            seen.write(pathlib.Path(f"/proc/{pid}/{what}").read_bytes())
print(pathlib.Path("the-key").read_text())
"""


@needs_proc
def test_a_key_that_a_command_prints_is_in_nobodys_arguments_or_environment(batcher, here, monkeypatch):
    Path("the-key").write_text(CANARY)
    Path("look.py").write_text(LOOK_AROUND)
    Path("job.toml").write_text(
        f'model = "{MODEL}"\n[input]\nfiles = ["p.jsonl"]\n'
        f'[endpoint]\nkey_command = ["{sys.executable}", "{here}/look.py"]\n'
    )
    monkeypatch.delenv("GEMINI_API_KEY")
    with Emulator(Settings(seed=7, keys=(CANARY,))).in_thread() as emulator:
        exit_code, said = batcher(emulator.url, "run", "job.toml", "-o", "out/a", "-v", "--debug")

    assert exit_code == Exit.DONE
    assert Path("seen").read_bytes()
    assert CANARY.encode() not in Path("seen").read_bytes()
    assert_nowhere(said)


def test_a_key_file_that_others_can_read_is_refused_without_being_shown(batcher, here):
    Path("the-key").write_text(CANARY)
    Path("the-key").chmod(0o644)

    exit_code, said = batcher("http://127.0.0.1:9", *RUN, "--set", f"endpoint.key_file={here}/the-key")

    assert exit_code == Exit.USAGE
    assert f"key_file {here}/the-key: others can read it (mode 644), wanted 600" in said
    assert CANARY not in said
