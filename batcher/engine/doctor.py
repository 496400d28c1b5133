"""Is this machine ready for this job? Looks at interpreter, disk, limits, key and endpoint; asks nothing that costs."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import platform
import resource
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from batcher.asking.probe import Knock, Look, knock, look
from batcher.asking.scrub import scrub
from batcher.asking.transport import Target
from batcher.engine import checkup
from batcher.engine.checkup import Check
from batcher.errors import JobError
from batcher.gemini.refusal import judge
from batcher.gemini.reply import Unreadable, read
from batcher.job.endpoint import API_VERSION
from batcher.job.key import Secret, read_key, read_keys
from batcher.job.pool import pooled
from batcher.job.spec import Auth, Dialect, Endpoint, Job
from batcher.records import Answer, Kind, Reply

_PACKAGES = (
    "aiohttp",
    "uvloop",
    "pyarrow",
    "orjson",
    "pydantic",
    "aiolimiter",
    "tenacity",
    "jinja2",
    "jsonschema-rs",
    "rich",
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_NETWORK = "check the network and --base-url; a proxy needs trust_env, an authority of your own SSL_CERT_FILE"
_TRY_ONE = "this endpoint may have no list of models: batcher run … --limit 1 tries one row"
_SYNCS = 5
_SYNC_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to be looked at.

    Attributes:
        job: complete; of a job that nobody named, only the endpoint and the limits mean anything.
        out: where it would write.
        model: to be looked for at the endpoint; None looks at the list of models.
        environ: the environment.
        offline: leave the endpoint alone.
    """

    job: Job
    out: Path
    model: str | None
    environ: Mapping[str, str]
    offline: bool


def examine(subject: Subject) -> Iterator[Check]:
    """Look at everything, in the order in which people should read it."""
    job, endpoint = subject.job, subject.job.endpoint
    version = sys.version_info
    yield checkup.python((version.major, version.minor, version.micro), sys.executable)
    yield checkup.system(platform.system(), platform.machine())
    yield checkup.packages({name: _version(name) for name in _PACKAGES} | {"sqlite": sqlite3.sqlite_version})
    for each in job.asked:
        yield from _key_and_endpoint(subject, each)
    if len(job.asked) > 1:
        yield from _keys_together(subject)
    yield checkup.proxies(sorted(_set_proxies(subject.environ)), used=endpoint.trust_env)
    yield from _storage(subject)
    soft, hard = (-1 if one == resource.RLIM_INFINITY else one for one in resource.getrlimit(resource.RLIMIT_NOFILE))
    yield checkup.open_files(soft, hard, pooled(job).concurrency)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _set_proxies(environ: Mapping[str, str]) -> Iterator[str]:
    return (name for name, value in environ.items() if name.lower() in _PROXIES and value.strip())


def _keys_together(subject: Subject) -> Iterator[Check]:
    """What is wrong with keys that are each in order."""
    try:
        read_keys(subject.job, subject.environ)
    except JobError as error:
        yield checkup.fail("keys", error.message, error.hint)


def _key_and_endpoint(subject: Subject, endpoint: Endpoint) -> Iterator[Check]:
    secret = None
    try:
        secret = read_key(endpoint, subject.environ)
        yield checkup.key(secret.source, secret.note)
    except JobError as error:
        yield checkup.fail("key", error.message, error.hint)
    if subject.offline:
        yield checkup.ok("endpoint", f"{endpoint.base_url}: not looked at (--offline)")
        return
    if not endpoint.trust_env:  # else the way leads through a proxy, and a request has to find it
        knocked = asyncio.run(knock(endpoint.base_url or ""))
        yield _reached(endpoint.base_url or "", knocked)
        if knocked.problem:
            return
    if secret is not None:
        yield from _served(subject, asyncio.run(look(_target(endpoint, secret), subject.model)), secret)


def _target(endpoint: Endpoint, secret: Secret) -> Target:
    return Target(
        base_url=endpoint.base_url or "",
        api_version=endpoint.api_version or API_VERSION,
        verbless=endpoint.verbless,
        auth=endpoint.auth or Auth.X_GOOG_API_KEY,
        key=secret.reveal(),
        trust_env=endpoint.trust_env,
    )


def _reached(url: str, knocked: Knock) -> Check:
    if knocked.problem:
        return checkup.fail("endpoint", f"{url}: {knocked.problem}", _NETWORK)
    return checkup.ok("endpoint", f"{url}: reached in {knocked.took_ms:,.0f} ms, {knocked.tls or 'plain http'}")


def _served(subject: Subject, looked: Look, secret: Secret) -> Iterator[Check]:
    """What the endpoint said when it was asked for its models."""
    reply = looked.reply
    if reply is None:
        yield checkup.fail("models", f"{looked.sent}: {looked.problem}", _NETWORK)
        return
    if reply.status == 200:
        yield checkup.ok("models", f"{looked.sent}: answered, and the key is accepted")
        yield checkup.dialect(subject.job.endpoint.dialect or Dialect.GOOGLE, _card(reply.body), subject.model)
    else:
        yield _refused(subject, looked.sent, reply, secret)
    yield checkup.clock(looked.ahead_s)


def _card(body: bytes) -> Mapping[str, object] | None:
    """What a model, or the list of them, says of itself; None when that is no JSON object."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _refused(subject: Subject, sent: str, reply: Reply, secret: Secret) -> Check:
    verdict = judge(reply, _answer(reply))
    why = f"{verdict.reason} (HTTP {reply.status}){f': {verdict.message}' if verdict.message else ''}"
    said = f"{sent}: {scrub(why, secret.reveal())}"
    if verdict.reason in {"not_found", "not_served"}:
        if subject.model is None or subject.job.endpoint.dialect is Dialect.FLAT:
            return checkup.warn("models", said, _TRY_ONE)
        return checkup.fail("models", said, "another model with -m, or another endpoint with --base-url")
    if verdict.reason == "redirect":
        return checkup.fail("models", said, "--base-url of the place it leads to: a key is sent to no other by itself")
    if verdict.kind is Kind.FATAL:
        return checkup.fail("models", said, f"put another key into {secret.source}, or mend what the answer says")
    return checkup.warn("models", said, "try again later; a run waits and asks again")


def _answer(reply: Reply) -> Answer | Unreadable:
    try:
        return read(reply.body)
    except Unreadable as error:
        return error


def _storage(subject: Subject) -> Iterator[Check]:
    """The disk under the run directory and under its journal, which may be another one."""
    if subject.out.exists() and not subject.out.is_dir():
        yield checkup.fail("disk", f"{subject.out}: is a file, wanted a folder", "name another folder with -o")
        return
    state_dir = subject.job.output.state_dir
    folders = {_nearest(subject.out): None, _nearest(Path(state_dir)) if state_dir else _nearest(subject.out): None}
    for folder in folders:
        try:
            yield checkup.disk(str(folder), shutil.disk_usage(folder).free, sync_ms(folder))
        except OSError as error:
            hint = "name another folder with -o"
            yield checkup.fail("disk", f"{folder}: cannot be written: {error.strerror or error}", hint)
    journal = list(folders)[-1]
    found = checkup.file_system(str(journal), _file_system(journal))
    if found is not None:
        yield found


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there: it would be made in that."""
    here = folder.absolute()
    return next(place for place in (here, *here.parents) if place.is_dir())


def sync_ms(folder: Path) -> float:
    """How long it takes to write a page for good in a folder, milliseconds; nothing stays behind.

    Raises:
        OSError: nothing can be written there.
    """
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            file.write(b"\0" * _SYNC_BYTES)
            file.flush()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def _file_system(folder: Path) -> str:
    """The kind of file system that a folder is on, as Linux names it; empty elsewhere."""
    with contextlib.suppress(OSError):
        device = os.stat(folder).st_dev  # noqa: PTH116
        wanted = f"{os.major(device)}:{os.minor(device)}"
        for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
            fields = line.split()
            if fields[2] == wanted:
                return fields[fields.index("-") + 1]
    return ""
