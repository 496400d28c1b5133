"""Is it good enough? What was found on this machine, judged: ok, warn or fail, with what to type. Arithmetic only."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batcher.errors import Exit
from batcher.job.spec import Dialect

_LEAST_PYTHON = (3, 11)
_SYSTEMS = ("Linux", "Darwin")
_SPARE_FILES = 64  # the journal, parts, inputs, a terminal, and what the libraries keep open
_LITTLE_DISK = 1 << 30
_NO_DISK = 64 << 20
_SLOW_SYNC_MS = 25.0  # a commit waits for one; 32 rows a commit is then about 1,000 rows/s
_NARROW_COLUMNS = 80
_MOST_AHEAD_S = 5.0
_SET_CLOCK = "stamps, prices and day quotas go by it: timedatectl set-ntp true, or as your system has it"
_METHOD = "generateContent"
_NO_GEMINI = "look at --base-url; or is something in between? batcher run … --limit 1 tries one row"
_REMOTE = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "lustre")


class State(enum.StrEnum):
    """How one thing is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        found: what is there.
        hint: what to type or change; empty when there is nothing to do.
    """

    name: str
    state: State
    found: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """Everything that was looked at, in order."""

    checks: tuple[Check, ...]

    @property
    def failed(self) -> int:
        """How many keep a run from working."""
        return sum(check.state is State.FAIL for check in self.checks)

    @property
    def warned(self) -> int:
        """How many may surprise."""
        return sum(check.state is State.WARN for check in self.checks)

    @property
    def verdict(self) -> str:
        """One line."""
        if self.failed:
            return f"not ready: {_things(self.failed)} to mend"
        return f"ready, with {_things(self.warned)} to know" if self.warned else "ready"

    @property
    def exit_code(self) -> Exit:
        """0 when a run can begin, else 2."""
        return Exit.USAGE if self.failed else Exit.DONE


def python(version: tuple[int, int, int], where: str) -> Check:
    """The interpreter."""
    said = f"{'.'.join(map(str, version))} ({where})"
    if version[:2] < _LEAST_PYTHON:
        return fail("python", said, "Python 3.11 or later is needed")
    return ok("python", said)


def system(name: str, machine: str) -> Check:
    """The operating system."""
    if name not in _SYSTEMS:
        return fail("platform", f"{name} {machine}", "batcher runs on Linux and macOS")
    return ok("platform", f"{name} {machine}")


def packages(versions: Mapping[str, str | None]) -> Check:
    """What matters of what is installed; None for what is not there."""
    said = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        return fail("packages", said, f"python -m pip install {' '.join(missing)}")
    return ok("packages", said)


def open_files(soft: int, hard: int, concurrency: int) -> Check:
    """How many files and sockets this process may hold; -1 for any number."""
    need = concurrency + _SPARE_FILES
    said = f"{'unlimited' if soft < 0 else f'{soft:,}'} open files; {concurrency:,} at once need about {need:,}"
    if 0 <= soft < need:
        can = f"ulimit -n {need}" if hard < 0 or hard >= need else f"--concurrency {max(hard - _SPARE_FILES, 1)}"
        return fail("ulimit -n", said, can)
    return ok("ulimit -n", said)


def disk(folder: str, free: int, sync_ms: float) -> Check:
    """Room at the output folder, and what it takes to write something there for good."""
    said = f"{folder}: can be written; {free / 1e9:,.1f} GB free; {sync_ms:.1f} ms to write for good"
    if free < _NO_DISK:
        return fail("disk", said, "free some disk, or name another folder with -o")
    if free < _LITTLE_DISK:
        return warn("disk", said, "little room: answers take about 1 to 5 kB a row")
    if sync_ms > _SLOW_SYNC_MS:
        return warn("disk", said, "slow to sync: put output.state_dir on a local SSD")
    return ok("disk", said)


def file_system(folder: str, kind: str) -> Check | None:
    """The journal's file system: locks and syncs are only as good as that; None where nobody knows or it is local."""
    if not kind.startswith(_REMOTE):
        return None
    return warn(
        "journal", f"{folder} is on {kind}", "--set output.state_dir=FOLDER on a local disk, for the journal and lock"
    )


def proxies(names: Sequence[str], *, used: bool) -> Check:
    """The proxies in the environment, by the names of their variables: their values may hold passwords."""
    if not names:
        return ok("proxy", "none in the environment")
    said = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} set and {'used' if used else 'not used'}"
    return ok("proxy", said) if used else warn("proxy", said, "to use it: --set endpoint.trust_env=true")


def clock(ahead_s: float | None) -> Check:
    """This machine's clock against the server's."""
    if ahead_s is None:
        return ok("clock", "the endpoint did not say what time it is")
    off = abs(ahead_s)
    said = "in step with the endpoint's" if off < 1.5 else f"{off:,.0f} s {'ahead' if ahead_s > 0 else 'behind'}"
    if off > _MOST_AHEAD_S:
        return warn("clock", said, _SET_CLOCK)
    return ok("clock", said)


def terminal(*, stdout: bool, stderr: bool, colour: bool, columns: int, lines: int) -> Check:
    """Where the output goes."""
    if not (stdout or stderr):
        return ok("terminal", "none: plain lines, no colours")
    said = f"{columns} x {lines}, {'colours' if colour else 'no colours'}"
    if columns < _NARROW_COLUMNS:
        return warn("terminal", said, f"tables want {_NARROW_COLUMNS} columns; they break their lines here")
    return ok("terminal", said)


def key(source: str, note: str) -> Check:
    """The key, by where it comes from; nothing of the key itself."""
    said = f"from {source}"
    return warn("key", said, f"{note}: unset the one that is not meant") if note else ok("key", said)


def dialect(wanted: Dialect, card: Mapping[str, object] | None, model: str | None) -> Check:
    """Whether the endpoint answers as Gemini does.

    Args:
        wanted: the dialect of the job.
        card: what it said of a model, or of all of them; None when that was no JSON object.
        model: the one asked for; None when it was the list.
    """
    if card is None or not isinstance(card.get("name" if model else "models"), str if model else list):
        return warn("dialect", f"{wanted}; but that was no answer of a Gemini", _NO_GEMINI)
    methods = card.get("supportedGenerationMethods")
    if isinstance(methods, list) and methods and _METHOD not in methods:
        can = ", ".join(map(str, methods))
        return fail("dialect", f"{model} does not take {_METHOD}; it takes {can}", "another model with -m")
    return ok("dialect", f"{wanted}; it answers as Gemini does")


def ok(name: str, found: str) -> Check:
    """Something that is as it should be."""
    return Check(name=name, state=State.OK, found=found)


def warn(name: str, found: str, hint: str) -> Check:
    """Something that may surprise."""
    return Check(name=name, state=State.WARN, found=found, hint=hint)


def fail(name: str, found: str, hint: str) -> Check:
    """Something that keeps a run from working."""
    return Check(name=name, state=State.FAIL, found=found, hint=hint)


def _things(number: int) -> str:
    return f"{number} thing{'' if number == 1 else 's'}"
