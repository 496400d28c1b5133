"""What may a process let slip when something breaks? Every way out for messages of Python's own takes keys out first.

Exceptions, what threads and finalizers could not raise, warnings and log records of every library: one filter for them
all, and never a traceback with the values of variables. What is left for a crash to write, its memory, is not written.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TextIO

from batcher.asking.scrub import hidden
from batcher.job.held import held, hold
from batcher.reports.plain import plain

EXIT_BUG = 70  # EX_SOFTWARE of sysexits.h: our fault, and none of the codes that say something about the run
_PR_SET_DUMPABLE = 4  # of Linux' prctl(2)


def discreet(text: str) -> str:
    """A text without the keys that this process holds, and without anything key-like."""
    return hidden(text, held())


def be_discreet(environ: Mapping[str, str], *, in_full: bool) -> None:
    """Take every way out of this process; whoever calls this owns the process.

    Args:
        environ: a variable whose name ends in `_KEY` holds a key, whether or not a job uses it.
        in_full: with tracebacks.
    """
    for name, value in environ.items():
        if name.endswith("_KEY"):
            hold(value.strip())
    no_core()

    def say(what: str, error: BaseException | None, where: TracebackType | None) -> None:
        if in_full and error is not None:
            _write("".join(traceback.format_exception(type(error), error, where)))
        _write(f"error: {what}: {_in_short(error, where)}\n")

    def unraised(hook: Any) -> None:
        say("a bug in batcher, where nothing could be raised", hook.exc_value or hook.exc_type(), hook.exc_traceback)

    def in_thread(hook: threading.ExceptHookArgs) -> None:
        if not isinstance(hook.exc_value, SystemExit):
            name = hook.thread.name if hook.thread is not None else "?"
            say(f"a bug in batcher, in its thread {name!r}", hook.exc_value, hook.exc_traceback)

    sys.excepthook = _in_full if in_full else _one_line
    sys.unraisablehook = unraised
    threading.excepthook = in_thread
    warnings.showwarning = _warn
    logging.setLogRecordFactory(_record)


def no_core() -> None:
    """Let no crash of this process, or of one it starts, write its memory to a file: the key is in it."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    if sys.platform == "linux":
        # A limit of 0 does not hold where the kernel pipes cores to a program (core(5)); this does, and keeps other
        # processes of the same user from reading our memory. A child gets it back when it becomes another program.
        import ctypes  # noqa: PLC0415  nothing else needs it

        with contextlib.suppress(OSError, AttributeError):  # a libc without it
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _record(*args: Any, **more: Any) -> logging.LogRecord:
    """Make a log record whose text is final: handlers and formatters, whoever brings them, find nothing to hide."""
    record = logging.LogRecord(*args, **more)
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001  a message that does not fit its values is logged as it is, not raised
        text = str(record.msg)
    record.msg, record.args = discreet(text), ()
    if record.exc_info and record.exc_info[0] is not None:
        record.exc_text = discreet("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
    if record.stack_info:
        record.stack_info = discreet(record.stack_info)
    return record


def _warn(  # noqa: PLR0913, PLR0917  the signature is Python's
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _write(warnings.formatwarning(message, category, filename, lineno, line), file)


def _in_full(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> NoReturn:
    """Say a bug with its traceback; Python's own exit code for it, 1, says that rows have failed."""
    _write("".join(traceback.format_exception(kind, error, where)))
    raise SystemExit(EXIT_BUG)


def _one_line(_: type[BaseException], error: BaseException, where: TracebackType | None) -> NoReturn:
    """Say a bug in one line: a traceback helps nobody who did not ask for it."""
    _write(f"error: a bug in batcher: {_in_short(error, where)}\n")
    _write("  the same command with --debug shows where; what is on disk stays valid\n")
    raise SystemExit(EXIT_BUG)


def _in_short(error: BaseException | None, where: TracebackType | None) -> str:
    frames = traceback.extract_tb(where)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def _write(text: str, file: TextIO | None = None) -> None:
    out = file or sys.stderr
    if out is None:  # closed at the start (`2>&-`)
        return
    with contextlib.suppress(OSError, ValueError):
        out.write(plain(discreet(text)))
        out.flush()
