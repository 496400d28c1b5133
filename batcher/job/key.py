"""Which key opens the endpoint, and where did it come from? The key itself shows in no repr, message or traceback."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from batcher.errors import JobError
from batcher.job.endpoint import PRESETS, is_loopback
from batcher.job.held import LEAST_LETTERS, hold
from batcher.job.spec import Endpoint, Job, Provider

VARIABLES: Mapping[Provider, tuple[str, ...]] = {
    # google-genai's own order: GOOGLE_API_KEY wins
    Provider.GOOGLE: ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    Provider.VISIONCODER: ("VISIONCODER_API_KEY",),
}

_COMMAND_TIMEOUT_S = 30.0
_KEY_MOST_BYTES = 16_384
_KEY = re.compile(r"[\x21-\x7e]+")
_SHOW_END_FROM = 12  # of a shorter key, four characters would be too much of it


class Secret:
    """A key that shows itself only to `reveal`.

    Args:
        value: the key.
        source: where it came from, for messages: `GEMINI_API_KEY`, `key_file ~/.key`.
        note: one line that the user should read once; empty when there is none.

    Attributes:
        others: the keys of a job's other endpoints, in their order; this is the first one's.
    """

    __slots__ = ("_value", "note", "others", "source")

    def __init__(self, value: str, *, source: str, note: str = "") -> None:
        self._value = value
        hold(value)
        self.source = source
        self.note = note
        self.others: tuple[Secret, ...] = ()

    def reveal(self) -> str:
        """Give the key, for the one header that carries it."""
        return self._value

    @property
    def all(self) -> tuple[Secret, ...]:
        """Give it and the others."""
        return (self, *self.others)

    @property
    def origin(self) -> str:
        """Say where it came from, for messages: `key from GEMINI_API_KEY (…a91f)`."""
        end = self._value[-4:] if len(self._value) >= _SHOW_END_FROM else ""
        return f"key from {self.source} (…{end})"

    def __repr__(self) -> str:
        return f"<{self.origin}>"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled: it would lie in a file")


def read_keys(job: Job, environ: Mapping[str, str], *, first: Secret | None = None) -> Secret:
    """Find the keys of all endpoints of a job; the others stand behind the first.

    Args:
        job: loaded.
        environ: as of `read_key`.
        first: the first endpoint's, where a caller holds it.

    Raises:
        JobError: as `read_key`, or two endpoints of one address have the same key.
    """
    keys: list[Secret] = []
    for no, endpoint in enumerate(job.asked, start=1):
        key = first if first is not None and no == 1 else _key_of(no, endpoint, environ, several=len(job.asked) > 1)
        for before, (asked, other) in enumerate(zip(job.asked, keys, strict=False), start=1):
            if other.reveal() == key.reveal() and asked.base_url == endpoint.base_url:
                raise JobError(
                    f"endpoint {no} has the key of endpoint {before}, both from {other.source} and {key.source}:"
                    " they would be one quota counted twice",
                    hint='give each [[endpoint]] a key of its own: key_env = "…", key_file or key_command',
                )
        keys.append(key)
    keys[0].others = tuple(keys[1:])
    return keys[0]


def _key_of(no: int, endpoint: Endpoint, environ: Mapping[str, str], *, several: bool) -> Secret:
    try:
        return read_key(endpoint, environ)
    except JobError as error:
        if not several:
            raise
        raise JobError(f"endpoint {no} ({endpoint.base_url}): {error.message}", hint=error.hint) from None


def read_key(endpoint: Endpoint, environ: Mapping[str, str]) -> Secret:
    """Find the key: `key_file`, else `key_command`, else `key_env`, else the provider's environment variables.

    Args:
        endpoint: of a loaded job; `key_file` is absolute.
        environ: the environment; an empty variable counts as unset. `key_command` runs in it.

    Raises:
        JobError: there is no key, others could read its file, or it holds characters that no header takes.
    """
    key = _found(endpoint, environ)
    host = urlsplit(endpoint.base_url or PRESETS[endpoint.provider].base_url).hostname or ""
    length = len(key.reveal())
    if length < LEAST_LETTERS and not is_loopback(host) and not key.note:
        key.note = (
            f"{key.source}: a key of {length} characters may be a word of an answer, so that it is not taken out of"
            " answers; an endpoint that says it back has it stored"
        )
    return key


def _found(endpoint: Endpoint, environ: Mapping[str, str]) -> Secret:
    if endpoint.key_file is not None:
        return _from_file(Path(endpoint.key_file))
    if endpoint.key_command is not None:
        return _from_command(endpoint.key_command, environ)
    if endpoint.key_env is not None:
        return _from_variable(endpoint.key_env, environ)
    return _from_environment(endpoint.provider, environ)


def given_key(text: str, *, source: str) -> Secret:
    """Take a key that a caller holds in memory.

    Args:
        text: the key; space around it is not part of it.
        source: what messages call it.

    Raises:
        JobError: it is empty or holds characters that no header takes.
    """
    return _checked(text, source=source)


def _from_file(path: Path) -> Secret:
    try:
        with path.open("rb") as file:  # what is looked at is what is read, whoever moves things meanwhile
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(_KEY_MOST_BYTES)
    except OSError as error:
        raise JobError(f"key_file {path}: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise JobError(
            f"key_file {path}: others can read it (mode {stat.S_IMODE(mode):03o}), wanted 600",
            hint=f"chmod 600 {path}",
        )
    return _checked(raw.decode("latin-1"), source=f"key_file {path}")


def _from_command(command: Sequence[str], environ: Mapping[str, str]) -> Secret:
    source = f"key_command {command[0] if command else '(empty)'}"
    try:
        done = subprocess.run(  # noqa: S603  the job's own command, as a list: no shell reads it
            list(command), env=dict(environ), capture_output=True, timeout=_COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, ValueError, IndexError) as error:
        raise JobError(f"{source}: cannot be run: {error}") from None
    except subprocess.TimeoutExpired:
        raise JobError(f"{source}: printed no key within {_COMMAND_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        # Its output stays unsaid: half a key may be in it.
        raise JobError(f"{source}: ended with exit code {done.returncode}, wanted 0 and the key on stdout")
    return _checked(done.stdout.decode("latin-1"), source=source)


def _from_variable(name: str, environ: Mapping[str, str]) -> Secret:
    value = environ.get(name, "").strip()
    if not value:
        raise JobError(f"key_env: {name} is not set", hint=f"export {name}=…")
    return _checked(value, source=name)


def _from_environment(provider: Provider, environ: Mapping[str, str]) -> Secret:
    names = VARIABLES[provider]
    found = {name: value for name in names if (value := environ.get(name, "").strip())}
    if not found:
        raise JobError(
            f"no key: {' and '.join(names)} {'are' if len(names) > 1 else 'is'} not set",
            hint=f"export {names[-1]}=…, or set key_file in [endpoint]",
        )
    name, value = next(iter(found.items()))
    note = ""
    if len(set(found.values())) > 1:
        note = f"{' and '.join(found)} differ; {name} is used"
    return _checked(value, source=name, note=note)


def _checked(raw: str, *, source: str, note: str = "") -> Secret:
    key = raw.strip()
    if not key:
        raise JobError(f"{source}: holds no key")
    if not _KEY.fullmatch(key):
        raise JobError(f"{source}: holds a space, a line break or a character outside ASCII; wanted the key alone")
    return Secret(key, source=source, note=note)
