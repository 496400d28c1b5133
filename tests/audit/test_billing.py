"""Two computations of one bill, written apart: whatever an endpoint counts, they come to the same femtodollar."""

import datetime as dt
import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from batcher.audit.billing import bills_of, tokens_of
from batcher.audit.rates import Rates
from batcher.money.cost import upper_bound_usd
from batcher.money.prices import BUNDLED, RateCard
from batcher.records import Billed, Kind
from batcher.store.bills import Terms, read_attempt
from batcher.store.columns import ledger_columns
from tests.builders import an_attempt
from tests.examples import a_few
from tests.store.builders import body, terms

CARD = RateCard.bundled()
RATES = Rates(json.loads(BUNDLED.read_bytes()))
NOW_US = int(dt.datetime(2026, 11, 22, tzinfo=dt.UTC).timestamp()) * 1_000_000
YEAR_US = 365 * 86_400 * 1_000_000
MODELS = (*CARD.models, "models/gemini-2.5-flash", "gemini-2.5-flash-latest", "gemini-0-nobody", "")
TIERS = ("standard", "batch", "flex", "priority", "unheard-of")
counts = st.none() | st.integers(-3, 400_000)
details = st.lists(
    st.fixed_dictionaries(
        {
            "modality": st.sampled_from(["TEXT", "AUDIO", "IMAGE", "VIDEO", "DOCUMENT"]),
            "tokenCount": st.integers(0, 300_000),
        }
    ),
    max_size=3,
    unique_by=lambda each: each["modality"],
)
usages = st.fixed_dictionaries(
    {},
    optional={
        "promptTokenCount": counts,
        "candidatesTokenCount": counts,
        "totalTokenCount": counts,
        "cachedContentTokenCount": counts,
        "toolUsePromptTokenCount": counts,
        "thoughtsTokenCount": counts,
        "promptTokensDetails": details,
        "candidatesTokensDetails": details,
        "cacheTokensDetails": details,
        "toolUsePromptTokensDetails": details,
    },
)


def whole_total(usage: dict[str, object]) -> dict[str, object]:
    """The total that gives away that thoughts are counted as candidates."""
    names = ("promptTokenCount", "candidatesTokenCount", "toolUsePromptTokenCount")
    return usage | {"totalTokenCount": sum(max(0, usage.get(name) or 0) for name in names)}


@st.composite
def attempts(draw):
    usage = draw(usages | usages.map(whole_total) | st.none())
    said = {"usageMetadata": usage} if usage is not None else {}
    version = draw(st.none() | st.sampled_from(MODELS[:-1]))
    billed = draw(st.sampled_from(Billed))
    return an_attempt(
        model=draw(st.sampled_from(MODELS)),
        started_at=draw(st.integers(NOW_US - YEAR_US, NOW_US + YEAR_US)),
        service_tier=draw(st.sampled_from((None, *TIERS))),
        verdict=Kind.OK if billed is Billed.YES else Kind.RETRY,
        billed=billed,
        reserve_input=draw(st.integers(0, 2_000_000)),
        reserve_output=draw(st.integers(0, 100_000)),
        body=body(tokens=None, **said, **({"modelVersion": version} if version else {})),
    )


@a_few
@given(tried=st.lists(attempts(), min_size=1, max_size=6), tier=st.sampled_from((None, "flex", "batch")))
def test_the_ledger_is_what_the_audit_computes(tried, tier):
    own: Terms = terms(tier=tier)
    reads = [read_attempt(attempt._replace(n=n), own) for n, attempt in enumerate(tried, 1)]
    ledger = pa.Table.from_batches([ledger_columns([reads], 1, own)])

    tokens = tokens_of(ledger)
    bills = bills_of(ledger, tokens, RATES, tier=tier)

    wide = bills.cost_usd.type
    assert bills.cost_usd.to_pylist() == ledger["cost_usd"].cast(wide).to_pylist()
    assert bills.price_id.to_pylist() == ledger["price_id"].to_pylist()
    assert bills.reserve_usd.to_pylist() == ledger["reserve_usd"].to_pylist()
    for number, read in enumerate(reads):
        if read.attempt.billed is Billed.YES:
            assert tokens.billed_input[number].as_py() == read.buckets.billed_input
            assert tokens.billed_output[number].as_py() == read.buckets.billed_output
            assert tokens.thinking[number].as_py() == read.buckets.thinking


def test_the_largest_counts_that_are_believed_are_priced_exactly():
    from_endpoint = {"promptTokenCount": 10**12, "candidatesTokenCount": 10**12 - 1}
    reads = [read_attempt(an_attempt(body=body(tokens=None, usageMetadata=from_endpoint)), terms())]
    ledger = pa.Table.from_batches([ledger_columns([reads], 1, terms())])
    bills = bills_of(ledger, tokens_of(ledger), RATES, tier=None)

    assert bills.cost_usd.to_pylist() == ledger["cost_usd"].to_pylist()
    assert bills.cost_usd[0].as_py() > 0


@given(
    model=st.sampled_from(MODELS),
    tier=st.sampled_from(TIERS),
    at_us=st.integers(NOW_US - YEAR_US, NOW_US + YEAR_US),
    tokens=st.integers(0, 2_000_000),
)
def test_one_price_list_read_twice_says_the_same(model, tier, at_us, tokens):
    mine, theirs = RATES.price(model, tier, at_us, tokens), CARD.rates(model, tier, at_us, tokens)

    assert (mine and mine.price_id) == (theirs and theirs.price_id)
    if mine is not None and theirs is not None:
        assert mine.most(tokens, 77) == upper_bound_usd(theirs, tokens, 77)
        assert dict(mine.femto) == {
            "input": theirs.fresh_input_fusd,
            "cached_input": theirs.cached_input_fusd,
            "audio_input": theirs.audio_fresh_input_fusd,
            "audio_cached_input": theirs.audio_cached_input_fusd,
            "output": theirs.output_fusd,
            "image_output": theirs.image_output_fusd,
            "video_output": theirs.video_output_fusd,
        }
