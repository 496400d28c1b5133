import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.job.endpoint import PRESETS, is_loopback, normalised
from batcher.job.spec import Provider


@pytest.mark.parametrize(
    "pasted", ["", "/", "/v1", "/v1/", "/v1beta", "/v1beta/", "/v1beta/models", "/v1beta/models/", "/v1/models"]
)
@pytest.mark.parametrize("path", ["", "/gateway", "/a/v1x"])
def test_every_form_that_people_paste_is_one_endpoint(path, pasted):
    assert normalised(f"https://Example.com:443{path}{pasted}") == f"https://example.com{path}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://localhost:80/v1beta", "http://localhost"),
        ("http://[::1]:8080/v1beta", "http://[::1]:8080"),
        (" https://host:8443/x ", "https://host:8443/x"),
    ],
)
def test_origins(url, expected):
    assert normalised(url) == expected


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "http://example.com",
            "http would show the key to everyone on the way to example.com; use https (http is for localhost)",
        ),
        (
            "http://10.0.0.1:80",
            "http would show the key to everyone on the way to 10.0.0.1; use https (http is for localhost)",
        ),
        ("https://169.254.169.254/v1", "169.254.169.254 is a link-local address; a key is never sent there"),
        (
            "https://[::ffff:169.254.169.254]",
            "::ffff:169.254.169.254 is a link-local address; a key is never sent there",
        ),
        ("https://[fd00:ec2::254]", "fd00:ec2::254 is a cloud's metadata address; a key is never sent there"),
        ("https://100.100.100.200", "100.100.100.200 is a cloud's metadata address; a key is never sent there"),
        ("https://[64:ff9b::a9fe:a9fe]", "64:ff9b::a9fe:a9fe is a link-local address; a key is never sent there"),
        ("https://[2002:a9fe:a9fe::1]", "2002:a9fe:a9fe::1 is a link-local address; a key is never sent there"),
        ("https://[::169.254.169.254]", "::169.254.169.254 is a link-local address; a key is never sent there"),
        ("https://[fe80::1]", "fe80::1 is a link-local address; a key is never sent there"),
        ("example.com", "found 'example.com', wanted a URL such as https://generativelanguage.googleapis.com"),
        (
            "ftp://example.com",
            "found 'ftp://example.com', wanted a URL such as https://generativelanguage.googleapis.com",
        ),
        (
            "https://me:hunter2@example.com",
            "a base URL carries no user name or password; the key comes from the environment",
        ),
        ("https://example.com?key=abc", "a base URL has no `?` or `#` part; the key comes from the environment"),
    ],
)
def test_where_a_key_is_never_sent(url, said):
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        normalised(url)

    assert str(refused.value) == said


def test_a_port_that_is_none_is_refused():
    with pytest.raises(ValueError, match="out of range"):
        normalised("https://example.com:99999")


hosts = st.from_regex(r"[a-z]{1,8}\.(com|cn)", fullmatch=True)
paths = st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), max_size=3).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)


@given(hosts, st.none() | st.integers(1, 65535), paths, st.sampled_from(["", "/", "/v1", "/v1beta/models/"]))
def test_normalising_twice_changes_nothing(host, port, path, tail):
    once = normalised(f"https://{host}{f':{port}' if port else ''}{path}{tail}")

    assert normalised(once) == once


def test_presets_stand_for_themselves():
    assert all(normalised(PRESETS[provider].base_url) == PRESETS[provider].base_url for provider in Provider)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.8.8.8", True), ("::1", True), ("0.0.0.0", False), ("a.localhost.com", False)],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected
