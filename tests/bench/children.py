"""How are the measured processes started, pinned and weighed? Each runs alone; the kernel says what it used.

The client has core 0 and the server core 1, so that neither takes time from the other; a machine without the two, or
without affinity, measures unpinned and says so.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

CLIENT_CORE, SERVER_CORE = 0, 1
PINNED = hasattr(os, "sched_setaffinity") and {CLIENT_CORE, SERVER_CORE} <= os.sched_getaffinity(0)
ROOT = Path(__file__).parents[2]
KEY = "key.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A process that has ended.

    Attributes:
        wall_s: from start to exit.
        cpu_s: user and system, its children included.
        rss_mb: the most memory it ever held.
        stdout: what it printed.
    """

    wall_s: float
    cpu_s: float
    rss_mb: float
    code: int
    stdout: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Whom the measured programs ask.

    Attributes:
        certificate: what it shows of itself over TLS, nobody's signature but its own on it; None over plain HTTP.
    """

    base_url: str
    certificate: Path | None = None

    def read(self, path: str, data: bytes | None = None) -> bytes:
        """What it says of itself."""
        tls = None if self.certificate is None else ssl.create_default_context(cafile=self.certificate)
        with urllib.request.urlopen(f"{self.base_url}{path}", data=data, timeout=10, context=tls) as reply:
            found: bytes = reply.read()
        return found


def weigh(arguments: Sequence[str], *, log: Path, trust: Path | None = None) -> Weighed:
    """Run `python -m ARGUMENTS` on the client's core to its end; its stderr goes to `log`.

    Args:
        trust: the certificate that it takes for good, in the way OpenSSL itself offers: `SSL_CERT_FILE`.
    """
    started = time.perf_counter()
    child = begin(arguments, log=log, trust=trust)
    assert child.stdout is not None
    with child.stdout:
        stdout = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return Weighed(
        wall_s=time.perf_counter() - started,
        cpu_s=used.ru_utime + used.ru_stime,
        rss_mb=used.ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024),
        code=child.returncode,
        stdout=stdout,
    )


def begin(arguments: Sequence[str], *, log: Path, trust: Path | None = None) -> subprocess.Popen[bytes]:
    """Start `python -m ARGUMENTS` on the client's core; whoever starts it waits for it."""
    environment = {**os.environ, "GEMINI_API_KEY": "bench", "PYTHONHASHSEED": "0"}
    if trust is not None:
        environment["SSL_CERT_FILE"] = str(trust)
    with log.open("ab") as errors, _on(CLIENT_CORE):
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=ROOT
        )


@contextmanager
def serving(*, tls: bool = False, **options: float) -> Iterator[Endpoint]:
    """The fake endpoint on the server's core, over TLS with a certificate made for it and thrown away with it."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = certified(Path(folder)) if tls else None
        yield from _serving(certificate, options)


def certified(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1 that nobody has signed but itself; its key is beside it."""
    key, certificate = folder / KEY, folder / "certificate.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bench"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    subprocess.run([*made.split(), *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate


def _serving(certificate: Path | None, options: Mapping[str, float]) -> Iterator[Endpoint]:
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    if certificate is not None:
        flags += ["--certificate", str(certificate), "--certificate-key", str(certificate.with_name(KEY))]
    with _on(SERVER_CORE):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.fast_server", *flags], stdout=subprocess.PIPE, cwd=ROOT
        )
    try:
        assert child.stdout is not None
        scheme = "http" if certificate is None else "https"
        yield Endpoint(base_url=f"{scheme}://127.0.0.1:{int(child.stdout.readline())}", certificate=certificate)
    finally:
        child.terminate()
        child.communicate()


def seen(endpoint: Endpoint) -> dict[str, int]:
    """What the fake endpoint has counted since the last `forget`."""
    counts: dict[str, int] = orjson.loads(endpoint.read("/stats"))
    return counts


def forget(endpoint: Endpoint) -> None:
    """Make the fake endpoint count from zero."""
    endpoint.read("/reset", data=b"")


@contextmanager
def _on(core: int) -> Iterator[None]:
    """What is started inside inherits the core."""
    if not PINNED:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
