"""The committed rate card is what the reviewed script makes, and leaves no model out unexplained."""

from __future__ import annotations

import json
import re

import pytest

from batcher.money.prices import BUNDLED, RateCard, canonical_bytes
from tests.tools.make_rates import FLEX_IS_BATCH, LEFT_OUT, known_models, make_card, why_left_out

CARD = RateCard.bundled()


def test_the_committed_card_is_what_the_script_makes():
    made = make_card()

    assert json.loads(BUNDLED.read_bytes()) == made, "run python -m tests.tools.make_rates and review the diff"
    assert BUNDLED.read_bytes() == canonical_bytes(made)


def test_every_model_of_the_source_is_priced_or_left_out_for_a_reason():
    listed = {model.id for model in known_models()}

    assert {m for m in listed if why_left_out(m) is None} == set(CARD.models)
    assert all(any(m.startswith(prefix) for m in listed) for prefix in LEFT_OUT)


@pytest.mark.parametrize("entry", make_card()["models"], ids=lambda entry: entry["id"])
def test_an_entry_takes_its_own_name_and_no_other_models(entry):
    def takes(name: str) -> bool:
        return any(re.fullmatch(pattern, name) for pattern in entry["match"])

    assert takes(entry["id"])
    assert [m for m in CARD.models if takes(m)] == [entry["id"]]
    assert not takes(f"{entry['id']}-image")
    assert not takes(f"x{entry['id']}")


@pytest.mark.parametrize("model", FLEX_IS_BATCH)
def test_flex_is_half_of_standard_but_for_the_cache(model):
    at_us = 1_795_000_000_000_000
    standard, flex = (CARD.rates(model, tier, at_us, 300_000) for tier in ("standard", "flex"))

    assert standard is not None
    assert flex is not None
    assert flex.fresh_input_fusd * 2 == standard.fresh_input_fusd
    assert flex.output_fusd * 2 == standard.output_fusd
    assert flex.cached_input_fusd <= standard.cached_input_fusd


def test_the_card_names_its_source_and_day():
    assert re.fullmatch(r"genai-prices \d+\.\d+\.\d+; .*", CARD.source)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", CARD.version)
    assert CARD.exported_at == f"{CARD.version}T00:00:00Z"
