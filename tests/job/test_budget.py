import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import JobError
from batcher.job.budget import deadline_us
from batcher.job.load import load_job, revised
from batcher.job.spec import Job

NOW_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
HOUR_US = 3_600_000_000
FLAGS = {"model": "m", "input.files": ("a.jsonl",)}


def loaded(*sets, **flags):
    return load_job(None, flags=FLAGS | flags, sets=sets, environ={}).job


def budget(*sets):
    return loaded(*sets).budget


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("90min", 5_400),
        ("90 m", 5_400),
        ("3h", 10_800),
        ("1h 30min", 5_400),
        ("1.5h", 5_400),
        ("2d", 172_800),
    ],
)
def test_a_span_counts_from_each_start(text, seconds):
    assert deadline_us(text, NOW_US) == NOW_US + seconds * 1_000_000


def test_an_instant_is_what_it_says():
    assert deadline_us("2026-01-01T06:00:00+01:00", NOW_US) == NOW_US + 5 * HOUR_US
    assert deadline_us("2025-12-31T23:00Z", NOW_US) == NOW_US - HOUR_US


def test_a_day_or_a_time_without_an_offset_is_this_machines():
    at = dt.datetime.fromtimestamp(deadline_us("2026-03-01", NOW_US) / 1e6, dt.UTC).astimezone()
    assert (at.month, at.day, at.hour, at.minute) == (3, 1, 0, 0)


@given(st.times().map(lambda time: time.replace(second=0, microsecond=0)), st.integers(0, 4 * 366 * 24 * 60))
def test_a_time_of_day_is_the_next_one(time, minutes):
    now_us = NOW_US + minutes * 60_000_000 + 1
    at_us = deadline_us(f"{time:%H:%M}+00:00", now_us)
    at = dt.datetime.fromtimestamp(at_us / 1e6, dt.UTC)
    assert (at.hour, at.minute) == (time.hour, time.minute)
    assert 0 < at_us - now_us <= 24 * HOUR_US


@pytest.mark.parametrize(
    "text", ["", "soon", "3", "3 weeks", "-3h", "0s", "06", "25:00", "2026-13-01", "9999-01-01", "3h!"]
)
def test_what_is_no_deadline_is_refused(text):
    with pytest.raises(JobError) as refused:
        loaded(f'budget.deadline="{text}"')
    assert str(refused.value) == (
        f'flag --set budget.deadline: [budget] deadline: found "{text}", wanted a time span such as "3h", a time of day'
        ' such as "06:00", or an instant such as "2026-12-01T06:00:00+01:00"'
    )


@pytest.mark.parametrize(("written", "read"), [("0.05", "0.05"), ("5", "5"), ("1e-7", "1E-7"), ('"0.1"', "0.1")])
def test_money_is_exactly_what_was_written(written, read):
    assert budget(f"budget.max_cost_usd={written}").max_cost_usd == Decimal(read)


@given(st.decimals(min_value=Decimal("1E-15"), max_value=10**9, places=15))
def test_money_survives_run_json(cap):
    job = loaded(f'budget.max_cost_usd="{cap}"')
    document = job.model_dump(mode="json", exclude_none=True)
    assert Job.model_validate(document).budget.max_cost_usd == cap
    assert revised(job, sets=("samples=2",), origin="run.json").budget == job.budget


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("max_cost_usd=0", "found 0, wanted more than 0"),
        ("max_cost_usd=-1", "found -1, wanted more than 0"),
        ("max_cost_usd=cheap", 'found "cheap", wanted an amount'),
        ("max_cost_usd=true", "found true, wanted an amount"),
        ("max_cost_usd=inf", "found inf, wanted a finite number"),
        ('max_cost_usd="0.0000000000000001"', 'found "0.0000000000000001", wanted at most 15 decimals'),
        ("max_tokens=1.5", "found 1.5, wanted a whole number"),
        ("max_cost=5", "unknown key; did you mean 'max_cost_usd'?"),
    ],
)
def test_what_is_no_amount_is_refused(said, wanted):
    with pytest.raises(JobError) as refused:
        loaded(f"budget.{said}")
    assert str(refused.value).splitlines()[0].endswith(f": {wanted}")


def test_only_money_and_tokens_are_caps():
    assert not budget().is_capped
    assert not budget("budget.deadline=3h").is_capped
    assert budget("budget.max_tokens=1").is_capped
    assert budget("budget.max_cost_usd=1").is_capped


def test_toml_has_times_of_its_own(tmp_path):
    for written in ("2026-12-01T06:00:00Z", "2026-12-01", "06:00:00"):
        (tmp_path / "job.toml").write_text(
            f'model = "m"\n[input]\nfiles = ["a"]\n[budget]\nmax_cost_usd = 0.1\ndeadline = {written}\n'
        )
        job = load_job(tmp_path / "job.toml", flags={}, sets=(), environ={}).job
        assert job.budget.max_cost_usd == Decimal("0.1")
        assert deadline_us(job.budget.deadline, NOW_US) > NOW_US
