"""The doctor against the emulator: key, model, endpoint, disk."""

import contextlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.engine.checkup import State
from batcher.engine.doctor import Subject, examine, sync_ms
from tests.builders import a_job
from tests.whole.console import KEY, MODEL


@pytest.fixture(scope="module")
def endpoint():
    with Emulator(Settings(keys=(KEY,), models=(MODEL,))).in_thread() as emulator:
        yield emulator


@pytest.fixture
def checks(endpoint, tmp_path):
    """Examines; gives name -> (state, found, hint)."""

    def examined(*, environ=None, model=MODEL, offline=False, out=tmp_path, **settings):
        job = a_job(**{"endpoint.base_url": endpoint.url} | settings)
        environ = {"GEMINI_API_KEY": KEY} if environ is None else environ
        subject = Subject(job=job, out=out, model=model, environ=environ, offline=offline)
        return {check.name: (check.state, check.found, check.hint) for check in examine(subject)}

    return examined


def test_a_machine_that_is_ready(checks, endpoint):
    found = checks()

    assert list(found) == [
        "python", "platform", "packages", "key", "endpoint", "models", "dialect", "clock", "proxy", "disk", "ulimit -n"
    ]  # fmt: skip
    assert {state for state, _, _ in found.values()} <= {State.OK, State.WARN}
    assert found["key"] == (State.OK, "from GEMINI_API_KEY", "")
    assert found["models"] == (State.OK, f"GET /v1beta/models/{MODEL}: answered, and the key is accepted", "")
    assert found["dialect"] == (State.OK, "google; it answers as Gemini does", "")
    assert found["clock"] == (State.OK, "in step with the endpoint's", "")
    assert found["endpoint"][1].startswith(f"{endpoint.url}: reached in ")
    assert "sqlite 3." in found["packages"][1]


def test_every_endpoint_of_a_job_is_looked_at(endpoint, tmp_path):
    job = a_job(**{"endpoint.base_url": endpoint.url, "endpoint.key_env": "ONE"})
    other = job.endpoint.model_copy(update={"base_url": "http://127.0.0.1:9", "key_env": "TWO", "project": "b"})
    job = job.model_copy(update={"endpoints": (job.endpoint, other)})
    subject = Subject(job=job, out=tmp_path, model=MODEL, environ={"ONE": KEY}, offline=False)
    found = [(check.name, check.state) for check in examine(subject)]

    assert [state for name, state in found if name == "endpoint"] == [State.OK, State.FAIL]
    assert [state for name, state in found if name == "key"] == [State.OK, State.FAIL]
    assert ("keys", State.FAIL) in found


def test_the_list_of_models_when_no_model_is_named(checks):
    found = checks(model=None)

    assert found["models"] == (State.OK, "GET /v1beta/models?pageSize=1: answered, and the key is accepted", "")
    assert found["dialect"][0] is State.OK


@contextlib.contextmanager
def a_server(status, body):
    """An endpoint that answers all GETs alike; gives its URL and the request lines that it saw, connections included.

    Args:
        body: from the headers of a request.
    """
    seen = []

    class Server(ThreadingHTTPServer):
        def process_request(self, request, client_address):
            seen.append("a connection")
            super().process_request(request, client_address)

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.requestline)
            said = orjson.dumps(body(self.headers))
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_):
            pass

    with Server(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


def test_one_look_is_all_that_is_sent(checks):
    with a_server(200, lambda _: {"name": MODEL}) as (url, seen):
        found = checks(**{"endpoint.base_url": url})

    assert found["dialect"][0] is State.OK
    assert seen == ["a connection", "a connection", f"GET /v1beta/models/{MODEL} HTTP/1.1"]


def test_without_a_key_nothing_is_sent(checks):
    with a_server(200, lambda _: {}) as (url, seen):
        checks(environ={}, **{"endpoint.base_url": url})

    assert seen == ["a connection"]


def test_an_endpoint_that_is_no_gemini(checks):
    with a_server(200, lambda _: {"object": "list", "data": []}) as (url, _):
        found = checks(model=None, **{"endpoint.base_url": url})

    assert (found["models"][0], found["dialect"][0]) == (State.OK, State.WARN)


def test_no_key(checks):
    found = checks(environ={})

    assert found["key"] == (
        State.FAIL,
        "no key: GOOGLE_API_KEY and GEMINI_API_KEY are not set",
        "export GEMINI_API_KEY=…, or set key_file in [endpoint]",
    )
    assert found["endpoint"][0] is State.OK
    assert "models" not in found


def test_a_key_that_is_refused_is_named_by_its_source(checks):
    state, found, hint = checks(environ={"GOOGLE_API_KEY": "another-key-9876543210"})["models"]

    assert state is State.FAIL
    assert found.startswith(f"GET /v1beta/models/{MODEL}: bad_key (HTTP 400): API key not valid.")
    assert hint == "put another key into GOOGLE_API_KEY, or mend what the answer says"


def test_a_key_that_is_sent_back_is_not_shown(checks):
    """However short it is: here nothing is kept, so hiding it does no damage."""
    key = "s3cret"

    def echo(headers):
        return {"error": {"code": 401, "message": f"no such key: {headers['x-goog-api-key']}"}}

    with a_server(401, echo) as (url, _):
        found = checks(environ={"GEMINI_API_KEY": key}, **{"endpoint.base_url": url})
    said = {name: f"{there} {hint}" for name, (_, there, hint) in found.items()}

    assert said["models"] == (
        f"GET /v1beta/models/{MODEL}: unauthenticated (HTTP 401): no such key: [secret] "
        "put another key into GEMINI_API_KEY, or mend what the answer says"
    )
    assert key not in "".join(said.values())


def test_a_model_that_nobody_has(checks):
    state, found, hint = checks(model="gemini-9")["models"]

    assert state is State.FAIL
    assert found.startswith("GET /v1beta/models/gemini-9: not_found (HTTP 404): models/gemini-9 is not found")
    assert hint == "another model with -m, or another endpoint with --base-url"


def test_an_endpoint_that_may_have_no_list_of_models(checks):
    state, _, hint = checks(model="gemini-9", endpoint__dialect="flat")["models"]

    assert (state, hint) == (
        State.WARN,
        "this endpoint may have no list of models: batcher run … --limit 1 tries one row",
    )


def test_an_endpoint_that_is_not_there(checks):
    found = checks(**{"endpoint.base_url": "http://127.0.0.1:1"})

    assert found["endpoint"][0] is State.FAIL
    assert found["endpoint"][1].startswith("http://127.0.0.1:1: ")
    assert found["endpoint"][2] == (
        "check the network and --base-url; a proxy needs trust_env, an authority of your own SSL_CERT_FILE"
    )
    assert "models" not in found


def test_offline_leaves_the_endpoint_alone(checks):
    with a_server(200, lambda _: {}) as (url, seen):
        found = checks(offline=True, **{"endpoint.base_url": url})

    assert found["endpoint"] == (State.OK, f"{url}: not looked at (--offline)", "")
    assert "models" not in found
    assert seen == []


def test_a_proxy_is_named_by_its_variable_and_never_by_its_value(checks):
    environ = {"GEMINI_API_KEY": KEY, "HTTPS_PROXY": "http://user:secret@proxy:3128", "http_proxy": " "}

    state, found, _ = checks(environ=environ, offline=True)["proxy"]

    assert (state, found) == (State.WARN, "HTTPS_PROXY is set and not used")


def test_the_disk_under_a_folder_that_is_not_there_yet(checks, tmp_path):
    state, found, _ = checks(out=tmp_path / "not/yet", offline=True)["disk"]

    assert found.startswith(f"{tmp_path}: can be written; ")
    assert state in {State.OK, State.WARN}
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_would_be(checks, tmp_path):
    (tmp_path / "out").touch()

    assert checks(out=tmp_path / "out", offline=True)["disk"] == (
        State.FAIL,
        f"{tmp_path}/out: is a file, wanted a folder",
        "name another folder with -o",
    )


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that not even root may write in")
def test_a_folder_that_nobody_may_write(checks):
    state, found, hint = checks(offline=True, out=Path("/proc/out"))["disk"]

    assert (state, hint) == (State.FAIL, "name another folder with -o")
    assert found.startswith("/proc: cannot be written: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(checks, tmp_path):
    tmp_path.chmod(0o500)

    assert checks(offline=True)["disk"][0] is State.FAIL


def test_the_journal_may_be_on_another_disk(checks, tmp_path):
    found = checks(offline=True, output__state_dir=str(tmp_path / "state"), out=tmp_path)

    assert found["disk"][1].startswith(f"{tmp_path}: ")


def test_more_at_once_than_the_process_may_open(checks):
    assert checks(offline=True, limits__concurrency=1)["ulimit -n"][0] is State.OK


def test_a_sync_takes_time_and_leaves_nothing(tmp_path):
    assert sync_ms(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []
