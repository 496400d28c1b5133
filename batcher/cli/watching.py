"""Who is told how a run goes? A live block on a terminal; plain lines in a log, in CI and through a pipe."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from batcher.cli.engine import Watch
from batcher.cli.say import Voice, width
from batcher.reports.terminal import ProgressPrinter, progress_line
from batcher.reports.tty import Tty, may_draw


@contextlib.contextmanager
def watching(said: Voice) -> Iterator[Watch]:
    """Let a voice tell how a run goes, for as long as it does; what is said afterwards takes the place of the block."""
    if said.quiet or not may_draw(sys.stderr, os.environ):
        yield Watch(show=ProgressPrinter(said.narrate, width=width(sys.stderr)), log=said.narrate)
        said.narrate("")
        return
    # rich costs 50 ms, and a log has no use for it.
    from batcher.reports.screen import LiveBlock, styled  # noqa: PLC0415

    # What was typed may fill its row to the last column, which to a terminal that is resized then goes on in the next.
    said.narrate("")
    block = LiveBlock(Tty(sys.stderr), styled(sys.stderr))
    with block, _leaving_on_stop(block.away):
        yield Watch(show=block.show, log=block.log)
    if block.last is not None and not sys.stdout.isatty():  # the summary goes elsewhere: leave word here, too
        said.narrate(progress_line(block.last, width=width(sys.stderr)))


@contextlib.contextmanager
def _leaving_on_stop(away: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """On Ctrl-Z, take the block away before the shell comes back. Only the main thread may listen."""
    listens = threading.current_thread() is threading.main_thread()
    if not listens or signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:  # ignored where nobody could say `fg`
        yield
        return

    def stop(*_: object) -> None:
        with away():
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)  # here the process stands until somebody says `fg`
            signal.signal(signal.SIGTSTP, stop)

    signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
