"""What can end a run, whose fault it was, and the exit code that says so.

    BatcherError
    ├── UserError           exit 2   something we were given; nothing was sent
    │   ├── JobError                 the job file, a flag, the environment
    │   ├── InputError               the user's prompt files
    │   └── PlanChanged              a run directory that was made for another job or another input
    ├── RunStopped          exit 4   on purpose and resumable: budget, deadline, day quota, outage
    ├── EndpointRefused     exit 5   the endpoint will not serve us: key, billing, model, TLS, redirect
    ├── StorageError        exit 6   disk full, unwritable, damaged
    ├── RunLocked           exit 7   another process owns the run directory
    └── Interrupted         exit 129/130/143, after a clean checkpoint

A prompt that fails is a row of the output, never an exception; only a run that fails is one.
"""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """The exit codes of the command (design, section 10)."""

    DONE = 0
    ROWS_FAILED = 1
    USAGE = 2
    GATE_FAILED = 3
    STOPPED = 4
    REFUSED = 5
    STORAGE = 6
    LOCKED = 7
    HANGUP = 129
    INTERRUPT = 130
    TERMINATED = 143


class BatcherError(Exception):
    """Whatever ends a run before its time.

    Args:
        message: one line: where, what was found, what was wanted.
        hint: what to type or change next; printed on a line of its own, empty when there is nothing to say.
    """

    exit_code = Exit.USAGE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UserError(BatcherError):
    """Something we were given is wrong; nothing was sent."""


class JobError(UserError):
    """The job file, a flag or the environment is wrong."""


class InputError(UserError):
    """The user's prompt files are missing, unreadable or not what the job says."""


class PlanChanged(UserError):
    """The run directory belongs to another job or to another version of the input.

    Args:
        message: which run directory, and that it was made for something else.
        differences: one line for each setting or file that differs, `name: was → is`.
        hint: the commands that go on.
    """

    def __init__(self, message: str, *, differences: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.differences = differences


class RunStopped(BatcherError):
    """The run stopped on purpose and can be continued by the same command."""

    exit_code = Exit.STOPPED


class EndpointRefused(BatcherError):
    """The endpoint will serve none of our requests; going on would only repeat the refusal."""

    exit_code = Exit.REFUSED


class StorageError(BatcherError):
    """The disk cannot take or give what a run needs; nothing paid was dropped."""

    exit_code = Exit.STORAGE


class RunLocked(BatcherError):
    """Another process owns the run directory.

    Args:
        message: which directory.
        pid: the owner's process id, null when its lock file does not say.
        since: when it took the lock, ISO 8601 UTC.
    """

    exit_code = Exit.LOCKED

    def __init__(self, message: str, *, pid: int | None = None, since: str | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.pid = pid
        self.since = since


class Interrupted(BatcherError):
    """A signal ended the run after a clean checkpoint.

    Args:
        message: what is safe on disk.
        signal_number: the signal; the exit code is 128 plus it.
    """

    def __init__(self, message: str, *, signal_number: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = Exit(128 + signal_number)
