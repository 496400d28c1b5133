"""The cheap look: what it sends, what it makes of what comes back, and that it costs nothing."""

import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.asking.probe import ahead_s, knock, look
from batcher.asking.transport import Target
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.job.spec import Auth
from tests.asking.servers import raw_server, reply, silence

KEY = "canary-key-123456"


def target(url, **fields):
    return Target(
        **{"base_url": url, "api_version": "v1beta", "verbless": False, "auth": Auth.X_GOOG_API_KEY, "key": KEY}
        | fields
    )


async def test_a_knock_opens_a_connection_and_says_nothing():
    async with raw_server(reply()) as heard:
        found = await knock(heard.url)

    assert (found.problem, found.tls, found.took_ms > 0) == ("", "", True)
    assert heard.requests == []


async def test_nobody_there():
    async with raw_server(reply()) as heard:
        url = heard.url

    assert (await knock(url)).problem
    assert (await look(target(url), None)).problem


async def test_plain_http_where_tls_was_expected():
    async with raw_server(reply()) as heard:  # waits for the end of a request line, which a TLS hello has not
        found = await knock(heard.url.replace("http:", "https:"), timeout_s=0.05)

    assert found.problem
    assert KEY not in found.problem


async def test_an_endpoint_that_never_answers():
    async with raw_server(silence()) as heard:
        assert (await look(target(heard.url), None, timeout_s=0.05)).problem == "no answer within 0.05 s"


async def test_the_list_of_models_is_asked_for_with_the_key_in_its_header():
    async with raw_server(reply(b'{"models": []}', "Date: Wed, 25 Nov 2026 12:00:00 GMT")) as heard:
        found = await look(target(f"{heard.url}/gateway"), None)

    assert found.reply.status == 200
    assert found.sent == "GET /v1beta/models?pageSize=1"
    assert heard.requests[0].startswith(b"GET /gateway/v1beta/models?pageSize=1 HTTP/1.1\r\n")
    assert heard.header("x-goog-api-key") == [KEY]
    assert found.ahead_s is not None


async def test_one_model_is_asked_for_by_its_name_and_bearer_is_spelt_so():
    async with raw_server(reply()) as heard:
        found = await look(target(heard.url, auth=Auth.BEARER), "gemini-x")

    assert found.sent == "GET /v1beta/models/gemini-x"
    assert heard.requests[0].startswith(b"GET /v1beta/models/gemini-x HTTP/1.1\r\n")
    assert heard.header("authorization") == [f"Bearer {KEY}"]


async def test_a_redirect_is_not_followed():
    async with raw_server(reply(b"", "Location: http://127.0.0.1:1/", status="302 Found")) as heard:
        found = await look(target(heard.url), None)

    assert found.reply.status == 302
    assert len(heard.requests) == 1


async def test_a_key_that_is_sent_back_is_hidden():
    async with raw_server(reply(f'{{"error": {{"message": "{KEY} is bad"}}}}'.encode(), status="400 Bad")) as heard:
        found = await look(target(heard.url), None)

    assert KEY.encode() not in found.reply.body


async def test_the_emulator_knows_its_models_and_bills_nothing():
    async with Emulator(Settings(models=("gemini-x",), keys=(KEY,))) as emulator:
        there = await look(target(emulator.url), "gemini-x")
        gone = await look(target(emulator.url), "gemini-y")
        refused = await look(target(emulator.url, key="another"), "gemini-x")

        assert (there.reply.status, gone.reply.status, refused.reply.status) == (200, 404, 400)
        assert emulator.totals().answered == 0
    assert abs(there.ahead_s) < 60


@given(st.integers(10**9, 4 * 10**9), st.floats(-1e6, 1e6))
def test_a_clock_is_as_far_ahead_as_the_header_shows(there, ahead):
    assert abs(ahead_s(email.utils.formatdate(there, usegmt=True), there + ahead) - ahead) <= 0.501


@pytest.mark.parametrize("date", [None, "", "yesterday", "Wed, 99 Nov 2026"])
def test_a_server_that_does_not_say_the_time(date):
    assert ahead_s(date, 0.0) is None
