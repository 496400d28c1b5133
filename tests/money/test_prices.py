"""A rate card says what it knows, dated and hashed, and nothing else."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import StorageError
from batcher.money.prices import BUNDLED, RateCard, canonical_bytes, content_sha256

CARD = RateCard.bundled()
TIERS = ("standard", "batch", "flex", "priority")


def at(day: str) -> int:
    """Midnight UTC of a day, in microseconds since the epoch."""
    return int(dt.datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) * 1_000_000


NOW = at("2026-11-22")


@pytest.mark.parametrize(
    ("model", "tier", "day", "billed_input", "price_id"),
    [
        ("gemini-2.5-flash", "standard", "2026-11-22", 10, "gemini-2.5-flash/standard@launch"),
        ("models/gemini-2.5-flash", "standard", "2026-11-22", 10, "gemini-2.5-flash/standard@launch"),
        ("gemini-2.5-flash-preview-09-2025", "standard", "2026-11-22", 10, "gemini-2.5-flash/standard@launch"),
        ("gemini-2.5-pro-preview-06-05", "standard", "2026-11-22", 10, "gemini-2.5-pro/standard@launch"),
        ("gemini-2.5-pro", "standard", "2026-11-22", 200_000, "gemini-2.5-pro/standard@launch"),
        ("gemini-2.5-pro", "standard", "2026-11-22", 200_001, "gemini-2.5-pro/standard@launch/over-200k"),
        ("gemini-2.5-pro", "batch", "2026-11-22", 200_001, "gemini-2.5-pro/batch@2026-10-14/over-200k"),
        ("gemini-2.5-pro", "flex", "2026-11-22", 10, "gemini-2.5-pro/flex@2026-10-21"),
        ("gemini-3.6-flash", "standard", "2026-12-31", 10, "gemini-3.6-flash/standard@launch"),
        ("gemini-3.6-flash", "standard", "2027-01-01", 10, "gemini-3.6-flash/standard@2027-01-01"),
        ("gemini-flash-latest", "priority", "2026-11-22", 10, "gemini-3.8-flash/priority@2026-10-21"),
        ("gemini-3.1-pro-preview-customtools", "batch", "2026-11-22", 10, "gemini-3.1-pro-preview/batch@2026-10-14"),
    ],
)
def test_a_price_has_a_name_for_ever(model, tier, day, billed_input, price_id):
    rates = CARD.rates(model, tier, at(day), billed_input)

    assert rates is not None
    assert rates.price_id == price_id


@pytest.mark.parametrize(
    ("model", "tier", "day"),
    [
        pytest.param("gemini-9-ultra", "standard", "2026-11-22", id="unknown model"),
        pytest.param("", "standard", "2026-11-22", id="no model"),
        pytest.param("gemini-2.5-flash-001", "standard", "2026-11-22", id="a version the card does not list"),
        pytest.param("gemini-3.6-flash-image", "standard", "2026-11-22", id="a new relative of a known model"),
        pytest.param("my-gemini-2.5-pro", "standard", "2026-11-22", id="a name that only contains a known one"),
        pytest.param("gemini-2.5-pro-preview-tts", "flex", "2026-11-22", id="a tier nobody published"),
        pytest.param("gemini-2.5-flash", "express", "2026-11-22", id="unknown tier"),
        pytest.param("gemini-2.5-flash", "batch", "2026-10-13", id="before the first known price"),
    ],
)
def test_what_the_card_does_not_know_is_none_and_never_another_price(model, tier, day):
    assert CARD.rates(model, tier, at(day), 10) is None


def test_a_price_starts_at_midnight_utc():
    start = at("2027-01-01")

    before, after = (CARD.rates("gemini-3.6-flash", "standard", t, 1) for t in (start - 1, start))

    assert before is not None
    assert after is not None
    assert (before.fresh_input_fusd * 2, before.output_fusd * 2) == (after.fresh_input_fusd, after.output_fusd)


def test_rates_read_like_the_price_page():
    rates = CARD.rates("gemini-2.5-flash", "standard", NOW, 1)

    assert rates is not None
    assert rates.usd_per_million() == {
        "fresh_input": Decimal("0.3"),
        "cached_input": Decimal("0.03"),
        "audio_fresh_input": Decimal(1),
        "audio_cached_input": Decimal("0.1"),
        "output": Decimal("2.5"),
        "image_output": Decimal("2.5"),
        "video_output": Decimal("2.5"),
    }


@pytest.mark.parametrize(("model", "tier"), list(product(CARD.models, TIERS)))
def test_the_card_is_sane(model, tier):
    """Cached is never dearer than fresh, a long prompt never cheaper, and only priority costs more than standard."""
    rates = CARD.rates(model, tier, NOW, 1)
    if rates is None:
        assert tier != "standard"
        return
    long, standard = CARD.rates(model, tier, NOW, 900_000), CARD.rates(model, "standard", NOW, 1)

    assert long is not None
    assert standard is not None
    assert 0 < rates.cached_input_fusd <= rates.fresh_input_fusd <= long.fresh_input_fusd
    assert 0 < rates.output_fusd <= long.output_fusd
    assert (rates.output_fusd > standard.output_fusd) == (tier == "priority")
    assert len(json.dumps(rates.price_id)) < 80


@given(st.text(max_size=40), st.sampled_from(TIERS), st.integers(0, 2**62), st.integers(0, 10**9))
def test_any_name_gets_an_answer(model, tier, at_us, billed_input):
    rates = CARD.rates(model, tier, at_us, billed_input)

    assert rates is None or rates.price_id.startswith("gemini-")


def test_a_server_that_invents_names_costs_no_memory():
    card = RateCard.bundled()

    for n in range(2_000):
        assert card.rates(f"gemini-invented-{n}", "standard", NOW, 1) is None

    assert len(card._found) <= 256
    assert card.rates("gemini-2.5-flash", "standard", NOW, 1) is not None


def test_a_copy_is_the_same_card(tmp_path):
    CARD.write(tmp_path / "prices.json")
    copy = RateCard.read(tmp_path / "prices.json")

    assert copy == CARD
    assert (copy.source, copy.version, copy.exported_at) == (CARD.source, CARD.version, CARD.exported_at)
    assert (tmp_path / "prices.json").read_bytes() == BUNDLED.read_bytes()
    assert copy.rates("gemini-2.5-pro", "batch", NOW, 5) == CARD.rates("gemini-2.5-pro", "batch", NOW, 5)


def test_the_hash_covers_every_price_but_not_the_moment_of_export():
    document = json.loads(BUNDLED.read_bytes())
    later = {**document, "exported_at": "2030-01-01T00:00:00Z"}
    dearer = json.loads(BUNDLED.read_bytes())
    dearer["models"][0]["prices"][0]["rates"]["output"] = "99"

    assert RateCard.from_document(later, where="x").sha256 == CARD.sha256
    assert content_sha256(dearer) != CARD.sha256


def test_an_edited_card_is_refused(tmp_path):
    path = tmp_path / "prices.json"
    path.write_bytes(BUNDLED.read_bytes().replace(b'"0.3"', b'"0.2"', 1))

    with pytest.raises(StorageError, match=r"prices.json: sha256 says [0-9a-f]{64}, the content has [0-9a-f]{64}"):
        RateCard.read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "prices.json: cannot read the rate card: "),
        (b"[]", "prices.json: not a rate card of format 1"),
        (b'{"format": 2}', "prices.json: not a rate card of format 1"),
    ],
)
def test_what_is_no_card_says_so(tmp_path, content, message):
    (tmp_path / "prices.json").write_bytes(content)

    with pytest.raises(StorageError, match=message):
        RateCard.read(tmp_path / "prices.json")


def test_a_missing_card_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(StorageError, match=r"none\.json: cannot read the rate card: .*No such file"):
        RateCard.read(tmp_path / "none.json")


def test_canonical_bytes_do_not_depend_on_the_order_of_keys():
    assert (
        canonical_bytes({"b": 1, "a": [2]})
        == canonical_bytes({"a": [2], "b": 1})
        == b'{\n "a": [\n  2\n ],\n "b": 1\n}\n'
    )


def test_it_says_what_no_price_covers():
    assert any("Searches" in line for line in CARD.not_included)


def test_changes_to_come_are_told_with_what_was_before():
    (change,) = CARD.changes("gemini-3.6-flash", "standard", after_us=NOW, until_us=at("2027-01-01"))

    assert change.at_us == at("2027-01-01")
    assert change.before == CARD.rates("gemini-3.6-flash", "standard", at("2026-12-31"), 10)
    assert change.after == CARD.rates("gemini-3.6-flash", "standard", at("2027-01-01"), 10)


@pytest.mark.parametrize(
    ("model", "after", "until"),
    [
        ("gemini-3.6-flash", "2026-11-22", "2026-12-31"),  # not yet
        ("gemini-3.6-flash", "2027-01-01", "2027-03-01"),  # no longer to come
        ("gemini-9-ultra", "2026-11-22", "2030-01-01"),
        ("gemini-2.5-flash", "2020-01-01", "2030-01-01"),  # one price for ever
    ],
)
def test_no_change_is_told_that_is_none(model, after, until):
    assert CARD.changes(model, "standard", after_us=at(after), until_us=at(until)) == ()


@given(st.sampled_from(CARD.models), st.sampled_from(TIERS), st.integers(0, 400), st.integers(0, 400))
def test_changes_are_where_the_rates_change(model, tier, start, days):
    after = at("2026-01-01") + start * 86_400_000_000
    until = after + days * 86_400_000_000
    told = CARD.changes(model, tier, after_us=after, until_us=until)

    assert [change.at_us for change in told] == sorted({change.at_us for change in told})
    for change in told:
        assert after < change.at_us <= until
        assert CARD.rates(model, tier, change.at_us - 1, 1) == change.before != change.after
        assert CARD.rates(model, tier, change.at_us, 1) == change.after
