from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.progress import Phase, Tokens
from batcher.records import Status
from batcher.reports.live import WIDTH, block_lines, compact
from tests.reports.builders import a_snapshot, a_spending, an_outage, some_parked, some_totals

BUSY = {
    "tasks": 2_000,
    "totals": some_totals(
        by_status={Status.OK: 1_230, Status.BLOCKED: 3, Status.FAILED: 7},
        throttled=41,
        tokens=Tokens(input=1_048_211, cached=500_000, output=120_040, thinking=90_000),
        cost_usd=Decimal("12.345678"),
        wasted_usd=Decimal("0.01"),
    ),
    "in_flight": 64,
    "waiting": 12,
    "limited_by": "input tokens/min",
    "elapsed_s": 130.0,
    "rate_per_s": 512.2,
    "eta_s": 91.0,
    "p50_ms": 312.0,
    "p95_ms": 1_190.0,
    "projected_usd": Decimal("19.912"),
}


def drawn(columns=80, rows=24, **given):
    return [line.plain for line in block_lines(a_snapshot(**given), columns=columns, rows=rows)]


def test_a_run_in_full():
    assert drawn(**BUSY) == [
        " 62 %  ━━━━━━━━━───────  1,240 of 2,000",
        "rows     1,230 ok       10 not ok",
        "tokens   1.05M in       120k out",
        "         500k cached    90.0k thinking",
        "cost     $12.35         → ~$19.90",
        "         $0.01 wasted",
        "requests 64 in flight   12 waiting",
        "latency  p50 310 ms     p95 1.2 s",
        "limit    tokens/min     41 got 429",
        "pace     512 rows/s     1 min 31 s left",
    ]


def test_a_run_that_has_just_begun():
    assert drawn(tasks=100, rate_per_s=0.0, totals=some_totals(by_status={}, cost_usd=Decimal(0))) == [
        "  0 %  ────────────────────    0 of 100",
        "rows     0 ok",
        "tokens   48.2k in       12.0k out",
        "cost     $0.00",
        "requests 8 in flight",
        "latency",
        "limit",
        "pace     no answer yet",
    ]


def test_a_run_that_pauses_has_a_pace_of_nothing():
    assert drawn(done=5, rate_per_s=0.0, eta_s=None)[-1] == "pace     0 rows/s"


@pytest.mark.parametrize(
    ("phase", "in_flight", "last"),
    [
        (Phase.DRAINING, 3, "stopping Ctrl-C again leaves at once"),
        (Phase.DRAINING, 0, "stopping"),
        (Phase.SEALING, 0, "pace     writing the last parts"),
    ],
)
def test_the_end_of_a_run_says_what_it_waits_for(phase, in_flight, last):
    assert drawn(done=5, phase=phase, in_flight=in_flight)[-1] == last


def test_while_the_input_is_read_there_is_one_line():
    assert drawn(phase=Phase.PLANNING, tasks=1_200_000) == ["reading the input  1,200,000 rows"]


@pytest.mark.parametrize(
    ("by_status", "line"),
    [
        ({Status.OK: 3}, "rows     3 ok"),
        ({Status.OK: 3, Status.TRUNCATED: 2}, "rows     3 ok           2 truncated"),
        ({Status.BLOCKED: 1, Status.TRUNCATED: 2}, "rows     0 ok           3 not ok"),
    ],
)
def test_what_did_not_end_well_has_its_name_or_a_sum(by_status, line):
    assert drawn(totals=some_totals(by_status=by_status))[1] == line


def test_a_price_that_is_not_known_is_never_a_zero():
    line = next(line for line in drawn(totals=some_totals(cost_usd=Decimal(0), unpriced=3)) if "cost" in line)
    assert line == "cost     price unknown"
    least = drawn(totals=some_totals(cost_usd=Decimal("1.5"), unpriced=3))
    assert "cost     >$1.50" in least


def test_what_a_run_will_cost_is_not_said_when_it_is_known():
    assert not any("→" in line for line in drawn(done=100, tasks=100, projected_usd=Decimal(2)))


def test_retries_have_a_word_that_fits():
    assert "limit    retries" in drawn(limited_by="open tasks")


def test_who_waits_for_a_day_quota_has_a_line():
    assert "parked   until Fri 09:00 20 wait" in drawn(limited_by="parked", parked=some_parked())
    assert "limit    a day quota" in drawn(limited_by="parked", parked=some_parked())


def test_an_outage_has_the_line_of_the_limits():
    assert "outage   since 03:12    probe in 7 s" in drawn(limited_by="outage", outage=an_outage())
    assert "outage   since 03:12    probing" in drawn(limited_by="outage", outage=an_outage(None))
    assert not any(line.startswith("limit") for line in drawn(limited_by="outage", outage=an_outage()))


def test_a_low_terminal_shows_what_matters_most():
    assert [line.split()[0] for line in drawn(rows=6, **BUSY)] == ["62", "cost", "requests", "limit", "pace"]
    assert [line.split()[0] for line in drawn(rows=3, **BUSY)] == ["62", "pace"]


counts = st.integers(0, 10**9)
snapshots = st.builds(
    lambda done, more, **known: a_snapshot(
        tasks=sum(done.values()) + more,
        totals=some_totals(
            by_status=done,
            tokens=known.pop("tokens"),
            throttled=known.pop("throttled"),
            cost_usd=known.pop("cost"),
            wasted_usd=known.pop("wasted"),
        ),
        **known,
    ),
    done=st.dictionaries(st.sampled_from(list(Status)), counts),
    more=counts,
    phase=st.sampled_from(list(Phase)),
    tokens=st.builds(Tokens, input=counts, output=counts, cached=counts, thinking=counts),
    throttled=counts,
    cost=st.decimals(0, 10**6, places=9),
    wasted=st.decimals(0, 10**3, places=9),
    in_flight=st.integers(0, 10_000),
    waiting=st.integers(0, 40_000),
    limited_by=st.sampled_from(["", "concurrency", "requests/min", "input tokens/min", "open tasks", "journal"]),
    rate_per_s=st.floats(0, 10_000),
    eta_s=st.none() | st.floats(0, 10**7),
    p50_ms=st.none() | st.floats(1, 10**6),
    p95_ms=st.none() | st.floats(1, 10**6),
    projected_usd=st.none() | st.decimals(0, 10**6, places=9),
    outage=st.none() | st.builds(an_outage, st.none() | st.floats(0, 400)),
    parked=st.just(()) | st.builds(some_parked, counts),
)


@given(snapshots, st.integers(10, 250), st.integers(3, 60))
def test_it_fits_every_terminal_and_leaves_the_last_row_and_column_free(snapshot, columns, rows):
    lines = block_lines(snapshot, columns=columns, rows=rows)
    assert 1 <= len(lines) < rows
    assert all(line.cell_len < columns and line.cell_len <= WIDTH for line in lines)


@given(snapshots)
def test_the_second_figure_of_a_line_stands_where_it_stood(snapshot):
    """Save where the first one is longer than any real one: thousandths of a cent, ten million rows."""
    for line in block_lines(snapshot, columns=80, rows=24)[1:]:
        first, second = line.plain[9:24], line.plain[24:]
        assert not second or len(first.strip()) == 15 or (first.endswith(" ") and not second.startswith(" "))


@given(counts)
def test_a_full_bar_is_a_finished_run(done):
    line = block_lines(a_snapshot(done, tasks=10**9), columns=80, rows=24)[0].plain
    assert ("─" not in line) == (done == 10**9)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (1_048_211, "1.05M"),
        (999_499_999, "999M"),
        (999_500_000, "1.00B"),
        (2_300_000_000_000, "2300B"),
    ],
)
def test_big_counts(count, shown):
    assert compact(count) == shown


@given(st.integers(1, 10**12))
def test_a_big_count_is_off_by_half_a_percent_at_most(count):
    text = compact(count).replace(",", "")
    unit = {"k": 10**3, "M": 10**6, "B": 10**9}.get(text[-1], 1)
    assert abs(float(text.rstrip("kMB")) * unit - count) <= count * 0.005 + 1e-6


def test_a_limit_that_was_lowered_fits_its_cell():
    assert "limit    pace 12/s" in drawn(limited_by="pace", pace_per_s=12.4)[-2]
    assert "limit    concurrency 45" in drawn(limited_by="concurrency", narrowed=45)[-2]


def test_a_budget_has_a_line_with_what_is_spent_and_held():
    spending = a_spending(spent_usd=Decimal("12.3"), held_usd=Decimal("1.25"), cap_usd=Decimal(20))
    lines = drawn(**BUSY, spending=spending)
    assert "budget   $12.30 of $20.00 $1.25 held" in lines
    assert max(map(len, lines)) <= WIDTH


def test_of_two_caps_the_nearer_one_is_shown():
    spending = a_spending(cap_usd=Decimal(20), spent_usd=Decimal(1), cap_tokens=1_000_000, spent_tokens=900_000)
    assert "budget   900k of 1.00M  0 tokens held" in drawn(**BUSY, spending=spending)
