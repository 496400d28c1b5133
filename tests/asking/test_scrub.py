from __future__ import annotations

import html
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.asking.scrub import HIDDEN, LONGEST, hidden, scrub, scrub_bytes

KEY = "AIza" + "x" * 35
# Any key but one with a bracket: such a one could come about anew around the word that takes its place.
keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="[]"), min_size=12, max_size=60)


@given(before=st.text(max_size=700), after=st.text(max_size=50), key=keys)
def test_the_key_is_never_in_what_is_kept(before: str, after: str, key: str) -> None:
    assert key not in scrub(before + key + after, key)


@given(text=st.text(st.characters(exclude_categories=()), max_size=1200), key=keys)
def test_what_is_kept_is_one_short_line_that_can_be_written(text: str, key: str) -> None:
    kept = scrub(text, key)

    assert len(kept) <= LONGEST
    assert orjson.loads(orjson.dumps(kept)) == kept
    assert not any(ord(sign) < 32 and sign not in "\t\n" for sign in kept)


@given(before=st.binary(max_size=50), after=st.binary(max_size=50), key=keys)
def test_the_key_is_never_in_a_body_that_is_kept(before: bytes, after: bytes, key: str) -> None:
    secret = key.encode()

    assert secret not in scrub_bytes(before + secret + after, secret)


@settings(max_examples=120)
@given(key=keys, data=st.data())
def test_however_json_spells_the_key_it_is_not_kept(key: str, data: st.DataObject) -> None:
    spelt = "".join(
        data.draw(st.sampled_from([f"\\u{ord(sign):04x}", f"\\u{ord(sign):04X}", orjson.dumps(sign).decode()[1:-1]]))
        for sign in key
    )

    kept = scrub_bytes(f'{{"text": "a {spelt} b"}}'.encode(), key.encode())

    assert orjson.loads(kept) == {"text": f"a {HIDDEN} b"}


SPELT = {
    "in a URL": lambda key: quote(key, safe=""),
    "in a URL's path": quote,
    "in a URL, lower case": lambda key: quote(key, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "in a page": html.escape,
    "in a repr": lambda key: repr(key)[1:-1],
    "in JSON": lambda key: orjson.dumps(key).decode()[1:-1],
    "in JSON, slashes escaped": lambda key: orjson.dumps(key).decode()[1:-1].replace("/", "\\/"),
}


@pytest.mark.parametrize("how", SPELT)
@pytest.mark.parametrize("key", ["canary/7f3a9c+do&not<print>", "AIza" + "y" * 35, 'quoted"back\\slash/012'])
def test_the_key_is_found_however_it_is_spelt(key: str, how: str) -> None:
    text = f"at https://host/?key={SPELT[how](key)}&x=1"

    assert hidden(text, (key,)) == f"at https://host/?key={HIDDEN}&x=1"
    assert scrub_bytes(text.encode(), key.encode()) == f"at https://host/?key={HIDDEN}&x=1".encode()


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        ("a", "a test of the latest test: testing a"),
        ("te", "a test of the latest test: testing a"),
        ("test", f"a {HIDDEN} of the latest {HIDDEN}: testing a"),
    ],
)
def test_a_key_that_may_be_a_word_is_hidden_where_it_stands_alone_or_not_at_all(key: str, kept: str) -> None:
    assert scrub("a test of the latest test: testing a", key) == kept


def test_a_short_key_stays_in_a_body_where_it_may_be_a_word_of_the_answer():
    assert scrub_bytes(b"a test", b"test") == b"a test"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("API key not valid", "API key not valid"),
        (f"key {KEY} refused", "key [secret] refused"),
        ("token ya29.a0-b_c9 refused", "token [secret] refused"),
        ("sent 'Authorization: Bearer abc.def' by", "sent 'Authorization: [secret]' by"),
        ("bearer abc", "[secret]"),
        ("a\x1b[31mred\x00\x85\u2028b", "a [31mred   b"),
        ("half a \ud800 pair", "half a   pair"),
    ],
)
def test_what_looks_like_a_secret_goes_whose_ever_it_is(text, kept):
    assert scrub(text, "another-key") == kept


def test_a_long_message_is_cut_with_a_mark():
    assert scrub("x" * LONGEST, "key") == "x" * LONGEST
    assert scrub("x" * (LONGEST + 1), "key") == "x" * (LONGEST - 1) + "…"


def test_without_a_key_nothing_is_taken_for_it():
    assert scrub("text", "") == "text"
    assert scrub_bytes(b"text", b"") == b"text"


def test_a_body_without_the_key_is_the_same_object():
    body = b'{"candidates": []}'

    assert scrub_bytes(body, b"secret") is body
