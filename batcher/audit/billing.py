"""What must the ledger's rows have cost? Their tokens in classes that never overlap, times the price list.

Whole columns at a time, and in `decimal256`: exact, and wide enough for any count that an endpoint may send.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batcher.audit.rates import Price, Rates
from batcher.audit.wholefile import column

_WIDE = pa.decimal256(20, 0)
_COST = pa.decimal256(76, 15)
_FEMTO = pa.scalar(Decimal("1E-15"), pa.decimal256(16, 15))
_MONEY = pa.decimal128(38, 15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Billed tokens of every row by class, int64; `billed_input` and `billed_output` are the sums of their sides."""

    by_class: dict[str, Any]
    thinking: Any
    billed_input: Any
    billed_output: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Bills:
    """What every row must say: null where a price is unknown."""

    cost_usd: Any
    price_id: Any
    reserve_usd: Any


def tokens_of(rows: pa.Table) -> Tokens:
    """Sort the counts of ledger rows into classes.

    Cached tokens are a part of the prompt, tool-use tokens stand beside it; thoughts stand beside the candidates, but
    where prompt, candidates and tools make up the total they are inside.
    """
    prompt, tool = _count(rows, "prompt_token_count"), _count(rows, "tool_use_prompt_token_count")
    cached = pc.min_element_wise(_count(rows, "cached_content_token_count"), prompt)
    visible, thinking = _count(rows, "candidates_token_count"), _count(rows, "thoughts_token_count")
    total = pc.add(pc.add(prompt, visible), tool)
    inside = pc.fill_null(pc.equal(total, column(rows, "total_token_count")), fill_value=False)
    thinking = pc.if_else(inside, pc.min_element_wise(thinking, visible), thinking)
    visible = pc.if_else(inside, pc.subtract(visible, thinking), visible)
    fresh = pc.add(pc.subtract(prompt, cached), tool)
    audio_fresh, audio_cached = _audio(rows, prompt=prompt, cached=cached, fresh=fresh)
    image = pc.min_element_wise(_detail(rows, "candidates_tokens_details", "IMAGE"), visible)
    video = pc.min_element_wise(_detail(rows, "candidates_tokens_details", "VIDEO"), pc.subtract(visible, image))
    plain = pc.subtract(pc.subtract(visible, image), video)
    return Tokens(
        by_class={
            "input": pc.subtract(fresh, audio_fresh),
            "cached_input": pc.subtract(cached, audio_cached),
            "audio_input": audio_fresh,
            "audio_cached_input": audio_cached,
            "output": pc.add(plain, thinking),
            "image_output": image,
            "video_output": video,
        },
        thinking=thinking,
        billed_input=pc.add(fresh, cached),
        billed_output=pc.add(visible, thinking),
    )


def bills_of(rows: pa.Table, tokens: Tokens, rates: Rates, *, tier: str | None) -> Bills:
    """Price every ledger row by the list; a reserve was held at the rates of `tier`, which the job asks for."""
    found, held = _prices(rows, tokens, rates, tier)
    femto = None
    for name, counts in tokens.by_class.items():
        if not pc.any(pc.not_equal(counts, 0)).as_py():
            continue
        each = pa.array([price and price.femto[name] for price in found], pa.int64())
        part = pc.multiply(counts.cast(_WIDE), each.cast(_WIDE))
        femto = part.cast(pa.decimal256(60, 0)) if femto is None else pc.add(femto, part).cast(pa.decimal256(60, 0))
    known = pa.array([price is not None for price in found], pa.bool_())
    if femto is None:
        femto = pa.array([0] * len(known), pa.int64()).cast(pa.decimal256(60, 0))
    exact = pc.multiply(femto.cast(pa.decimal256(58, 0)), _FEMTO).cast(_COST)
    yes, no, maybe = (pc.equal(column(rows, "billed"), word) for word in ("yes", "no", "maybe"))
    nothing = pa.scalar(Decimal(0), _COST)
    null = pa.scalar(None, _COST)
    return Bills(
        cost_usd=pc.case_when(pc.make_struct(pc.and_(yes, known), no), exact, nothing, null),
        price_id=pa.array([price and price.price_id for price in found], pa.string()),
        reserve_usd=pc.if_else(maybe, held, pa.scalar(None, _MONEY)),
    )


def _prices(rows: pa.Table, tokens: Tokens, rates: Rates, tier: str | None) -> tuple[list[Price | None], pa.Array]:
    """Each billed row's price, and each doubtful row's reserve."""
    found: list[Price | None] = []
    held: list[Decimal | None] = []
    names = ("billed", "model", "model_version", "service_tier", "reserve_input_tokens", "reserve_output_tokens")
    values = [column(rows, name).to_pylist() for name in names]
    at = column(rows, "started_at").cast(pa.int64()).to_pylist()
    says = pc.or_(_says_something(rows), pa.scalar(value=False)).to_pylist()
    for billed, model, version, served, most_in, most_out, at_us, speaks, count in zip(
        *values, at, says, tokens.billed_input.to_pylist(), strict=True
    ):
        lookup = _looked_up(rates, model or "", version, served or "", at_us)
        found.append(lookup(count) if billed == "yes" and speaks else None)
        price = rates.price(model or "", tier or "standard", at_us, most_in) if billed == "maybe" else None
        held.append(None if price is None else price.most(most_in, most_out))
    return found, pa.array(held, _MONEY)


def _looked_up(rates: Rates, model: str, version: str | None, tier: str, at_us: int) -> Callable[[int], Price | None]:
    """By what served, else by what was asked: unless that name moves on, and only what served says what was paid."""

    def look(input_tokens: int) -> Price | None:
        price = rates.price(version, tier, at_us, input_tokens) if version else None
        if price is None and not (version and model.endswith("-latest")):
            price = rates.price(model, tier, at_us, input_tokens)
        return price

    return look


def _says_something(rows: pa.Table) -> Any:
    given = [
        pc.is_valid(column(rows, f"{name}_token_count"))
        for name in ("prompt", "candidates", "thoughts", "tool_use_prompt")
    ]
    return pc.or_(pc.or_(given[0], given[1]), pc.or_(given[2], given[3]))


def _count(rows: pa.Table, name: str) -> Any:
    return pc.max_element_wise(pc.fill_null(column(rows, name), 0), 0)


def _audio(rows: pa.Table, *, prompt: Any, cached: Any, fresh: Any) -> tuple[Any, Any]:
    """Audio among the fresh and the cached tokens: cached ones that do not fit the rest of the prompt are audio."""
    in_cache = _detail(rows, "cache_tokens_details", "AUDIO")
    in_prompt = _detail(rows, "prompt_tokens_details", "AUDIO")
    in_tools = _detail(rows, "tool_use_prompt_tokens_details", "AUDIO")
    said = pc.min_element_wise(in_cache, cached)
    heard = pc.max_element_wise(said, pc.min_element_wise(in_prompt, prompt))
    audio_cached = pc.max_element_wise(said, pc.subtract(cached, pc.subtract(prompt, heard)))
    audio_fresh = pc.min_element_wise(fresh, pc.add(pc.subtract(heard, audio_cached), in_tools))
    there = pc.or_(pc.or_(_has(rows, "cache"), _has(rows, "prompt")), _has(rows, "tool_use_prompt"))
    return pc.if_else(there, audio_fresh, 0), pc.if_else(there, audio_cached, 0)


def _has(rows: pa.Table, whose: str) -> Any:
    return pc.is_valid(_said(rows, f"{whose}_tokens_details", "AUDIO"))


def _detail(rows: pa.Table, name: str, modality: str) -> Any:
    return pc.max_element_wise(pc.fill_null(_said(rows, name, modality), 0), 0)


def _said(rows: pa.Table, name: str, modality: str) -> Any:
    """Tokens of one modality in each row, null where it is not listed."""
    lists = column(rows, name)
    flat = lists.flatten()
    wanted = pc.equal(flat.field("modality"), modality)
    parents = pc.list_parent_indices(lists).filter(wanted)
    if not len(parents):
        return pa.nulls(len(lists), pa.int64())
    counts = flat.field("token_count").filter(wanted)
    place = pc.index_in(pa.array(range(len(lists)), pa.int64()), value_set=parents.cast(pa.int64()))
    return counts.take(place)
