"""Whatever breaks in a process, and however Python says so, the keys that it holds are not in what is said."""

import json
import os
import subprocess
import sys

import pytest

from batcher.cli.app import call
from batcher.cli.discretion import EXIT_BUG
from batcher.errors import EndpointRefused
from tests.cli.engines import FakeEngine

CANARY = "canary/7f3a9c+do-not-print~0b1d"

BEGIN = """
import asyncio, atexit, gc, logging, os, sys, threading, warnings
from batcher.cli.discretion import be_discreet
KEY = os.environ["GEMINI_API_KEY"]
be_discreet(os.environ, in_full="--debug" in sys.argv)

class Broken:
    def __del__(self):
        raise RuntimeError("finalizer " + KEY)

async def nobody_waits():
    loop = asyncio.get_running_loop()
    loop.create_task(fails())
    await asyncio.sleep(0.01)
    gc.collect()

async def fails():
    raise RuntimeError("task " + KEY)

def raises():
    local = KEY
    try:
        raise ValueError("cause " + KEY)
    except ValueError as cause:
        raise RuntimeError("thrown " + KEY) from cause

def thread():
    one = threading.Thread(target=raises, name="writer")
    one.start()
    one.join()

def logged():
    logging.basicConfig(level=logging.DEBUG)
    logging.debug("a %s b", KEY)
    try:
        raises()
    except RuntimeError:
        logging.getLogger("some.library").exception("with %r", {"x-goog-api-key": KEY}, stack_info=True)
    logging.warning("does not fit %s %s", KEY)
"""

WAYS = {
    "an exception that nobody caught": ("raises()", "thrown"),
    "an exception in a thread": ("thread()", "thrown"),
    "an exception in a finalizer": ("x = Broken(); del x", "finalizer"),
    "an exception at exit": ("atexit.register(raises)", "thrown"),
    "a task that nobody waits for": ("asyncio.run(nobody_waits())", "task"),
    "a warning": ("warnings.simplefilter('always'); warnings.warn('a warning ' + KEY)", "a warning"),
    "what libraries log": ("logged()", "some.library"),
    "a log that nobody set up": ("logging.warning('to stderr ' + KEY)", "to stderr"),
}


def crash(code, *argv, **more):
    return subprocess.run(
        [sys.executable, "-c", BEGIN + code, *argv],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GEMINI_API_KEY": CANARY} | more,
    )


@pytest.mark.parametrize("argv", [[], ["--debug"]], ids=["plain", "debug"])
@pytest.mark.parametrize("way", WAYS)
def test_no_way_out_shows_the_key(way, argv):
    code, said = WAYS[way]

    done = crash(code, *argv, PYTHONASYNCIODEBUG="1", PYTHONFAULTHANDLER="1")

    assert said in done.stderr  # it did speak
    assert "[secret]" in done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert "local = " not in done.stderr.replace("local = KEY", "")  # values of variables are in no traceback
    assert done.returncode == (EXIT_BUG if code == "raises()" else 0)


def test_a_traceback_is_for_those_who_ask():
    assert "Traceback" not in crash("thread()").stderr
    assert "Traceback" in crash("thread()", "--debug").stderr
    assert "Traceback" not in crash("x = Broken(); del x").stderr
    assert "Traceback" in crash("x = Broken(); del x", "--debug").stderr


def test_what_a_bug_says_moves_no_cursor():
    done = crash("raise RuntimeError('a\\x1b[2Jb\\x9b31mc')")

    assert "a\ufffd[2Jb\ufffd31mc" in done.stderr


def test_a_closed_stderr_is_no_second_bug():
    code = "sys.stderr = None\nwarnings.warn('x')\nraises()"

    assert crash(code).returncode == EXIT_BUG


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is of Linux")
def test_nobody_else_reads_our_memory_and_a_child_is_as_it_would_be():
    code = (
        "import ctypes, subprocess\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
        "ask = 'import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))'\n"
        "sys.stdout.flush()\n"
        "subprocess.run([sys.executable, '-S', '-c', ask], check=True)\n"
    )

    assert crash(code).stdout.split() == ["0", "1"]  # PR_GET_DUMPABLE


@pytest.fixture
def a_long_key(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", CANARY)


@pytest.mark.parametrize("flags", [[], ["--json"], ["--debug"]])
@pytest.mark.usefixtures("a_long_key")
def test_an_error_that_quotes_the_key_does_not_show_it(flags, capsys):
    engine = FakeEngine(error=EndpointRefused(f"no such model {CANARY}", hint=f"type {CANARY} \x1b]0;title\x07 again"))

    assert call(["run", "-i", "a", "-m", "m", *flags], obj=engine) == 5

    said = capsys.readouterr()
    assert CANARY not in said.out + said.err
    assert "\x1b" not in said.out + said.err
    if "--json" in flags:
        assert json.loads(said.out)["error"]["hint"] == "type [secret] \x1b]0;title\x07 again"
    else:
        assert "error: no such model [secret]" in said.err
