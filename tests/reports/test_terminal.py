import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.progress import Phase, Tokens
from batcher.errors import Exit
from batcher.records import Status
from batcher.reports.money import dollars, roughly
from batcher.reports.terminal import (
    ProgressPrinter,
    cost,
    duration,
    milliseconds,
    next_line,
    summary_json,
    summary_lines,
)
from tests.reports.builders import a_snapshot, a_summary, an_outage, some_parked, some_totals


def test_a_good_run_in_full():
    assert summary_lines(a_summary()) == [
        "done: 164 of 164 rows ok",
        "",
        "  rows      164 ok",
        "  tokens    48,211 in · 12,004 out",
        "  cost      $0.04449",
        "  requests  164",
        "  time      12.4 s · 13.2 rows/s · limited by requests/min",
        "  output    out/he",
        "",
        "  next      batcher show out/he",
    ]


def test_a_run_in_which_much_happened():
    totals = some_totals(
        by_status={Status.FAILED: 2, Status.OK: 1_600, Status.BLOCKED: 3},
        attempts=1_802,
        throttled=41,
        tokens=Tokens(input=1_048_211, cached=500_000, output=120_040, thinking=90_000),
        cost_usd=Decimal("12.345678"),
        wasted_usd=Decimal("0.01"),
        unpriced=4,
        maybe_billed=2,
    )

    lines = summary_lines(
        a_summary(
            verdict="stopped: day quota",
            exit_code=Exit.STOPPED,
            samples=10,
            tasks=1_640,
            totals=totals,
            sent=1_000,
            elapsed_s=3_725,
            rows_per_s=0.35,
            p50_ms=310.4,
            p95_ms=1_188.0,
            notes=("the price of gemini-x is not known",),
            next_command="batcher run jobs/he/job.toml",
        )
    )

    assert lines == [
        "stopped: day quota",
        "",
        "  answers   1,600 ok · 3 blocked · 2 failed · 35 not asked yet (164 rows, 10 samples each)",
        "  tokens    1,048,211 in (500,000 cached) · 120,040 out (90,000 thinking)",
        "  cost      at least $12.35 (4 requests of unknown price) · $0.01 of it wasted",
        "  requests  1,000 now, 1,802 in all · 41 answered 429",
        "  latency   p50 310 ms · p95 1.2 s",
        "  time      1 h 02 min · 21.0 rows/min · limited by requests/min",
        "  output    out/he",
        "",
        "note: the price of gemini-x is not known",
        "",
        "  next      batcher run jobs/he/job.toml",
    ]


def test_a_finished_run_that_sent_nothing_has_no_pace():
    lines = summary_lines(a_summary(sent=0, elapsed_s=0.04, rows_per_s=0.0))

    assert "  requests  0 now, 164 in all" in lines
    assert "  time      0.0 s" in lines


def test_a_run_without_rows():
    lines = summary_lines(a_summary(rows=0, tasks=0, totals=some_totals(0, by_status={}), sent=0))

    assert "  rows      none" in lines


@given(st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=30), st.integers(0, 2))
def test_the_last_line_is_the_next_command_and_the_first_the_verdict(command, notes):
    lines = summary_lines(a_summary(next_command=command, notes=("n",) * notes))

    assert lines[-1].endswith(command)
    assert lines[0] == "done: 164 of 164 rows ok"
    assert sum(line.startswith("note: ") for line in lines) == notes


def test_the_same_as_json():
    summary = a_summary(totals=some_totals(wasted_usd=Decimal("1E-9")), p50_ms=312.4999, notes=("x",))
    assert summary_json(summary) == {
        "verdict": "done: 164 of 164 rows ok",
        "exit_code": 0,
        "run_dir": "out/he",
        "rows": 164,
        "samples": 1,
        "tasks": 164,
        "done": 164,
        "by_status": {"ok": 164, "blocked": 0, "truncated": 0, "invalid": 0, "failed": 0},
        "attempts": 164,
        "throttled": 0,
        "maybe_billed": 0,
        "spared": 0,
        "tokens": {"input": 48_211, "cached": 0, "output": 12_004, "thinking": 0},
        "cost_usd": "0.044491230",
        "wasted_usd": "0.000000001",
        "unpriced": 0,
        "budget": None,
        "sent": 164,
        "elapsed_s": 12.42,
        "rows_per_s": 13.204,
        "limited_by": "requests/min",
        "p50_ms": 312.5,
        "p95_ms": None,
        "next_command": "batcher show out/he",
        "notes": ["x"],
    }


amounts = st.decimals(min_value=0, max_value=10**9, places=15)


@given(amounts)
def test_json_keeps_every_digit_of_money(amount):
    document = json.loads(json.dumps(summary_json(a_summary(totals=some_totals(cost_usd=amount)))))

    assert Decimal(document["cost_usd"]) == amount
    assert "E" not in document["cost_usd"]


def test_an_unknown_price_is_null_and_never_zero():
    unknown = some_totals(cost_usd=Decimal(0), unpriced=3)

    assert cost(unknown) == "price unknown"
    assert summary_json(a_summary(totals=unknown))["cost_usd"] is None
    assert cost(some_totals(cost_usd=Decimal(0))) == "$0.00"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"),
        ("0.000000123456", "$0.0000001235"),
        ("0.0449123", "$0.04491"),
        ("0.5", "$0.50"),
        ("0.99999", "$1.00"),
        ("1", "$1.00"),
        ("1234567.891", "$1,234,567.89"),
        ("1E+3", "$1,000.00"),
        ("0E-15", "$0.00"),
    ],
)
def test_dollars_show_the_digits_that_matter(amount, shown):
    assert dollars(Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("amount", "shown"), [("0.00012345", "$0.000123"), ("19.912", "$19.90"), ("99.96", "$100"), ("1234.5", "$1,230")]
)
def test_a_guess_of_money_has_three_digits(amount, shown):
    assert roughly(Decimal(amount)) == shown


@given(amounts)
def test_dollars_are_off_by_less_than_half_a_cent_and_half_a_promille(amount):
    shown = Decimal(dollars(amount).removeprefix("$").replace(",", ""))

    assert abs(shown - amount) <= Decimal("0.005")
    assert abs(shown - amount) <= amount * Decimal("0.005")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (12.42, "12.4 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (192, "3 min 12 s"),
        (3_599.6, "1 h 00 min"),
        (7_500, "2 h 05 min"),
        (97_200, "1 d 3 h"),
    ],
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("span_ms", "shown"),
    [(1.0, "1 ms"), (8.46, "8.5 ms"), (312.0, "310 ms"), (994.9, "990 ms"), (995.0, "1 s"), (130_400.0, "130 s")],
)
def test_latencies_are_as_exact_as_they_are_known(span_ms, shown):
    assert milliseconds(span_ms) == shown


# progress


def printed(*snapshots):
    lines = []
    show = ProgressPrinter(lines.append)
    for snapshot in snapshots:
        show(snapshot)
    return lines


def test_a_run_from_its_first_line_to_its_last():
    assert printed(
        a_snapshot(0, phase=Phase.PLANNING, tasks=10, elapsed_s=0.0),
        a_snapshot(0, phase=Phase.PLANNING, tasks=1_200_000, elapsed_s=31.0),
        a_snapshot(0, tasks=2_000),
        a_snapshot(100, tasks=2_000),
        a_snapshot(200, tasks=2_000, eta_s=136.2, limited_by="requests/min"),
        a_snapshot(201, tasks=2_000),
        a_snapshot(
            2_000,
            tasks=2_000,
            eta_s=0.0,
            rate_per_s=512.3,
            totals=some_totals(by_status={Status.OK: 1_990, Status.FAILED: 10}, cost_usd=Decimal("0.1234")),
        ),
        a_snapshot(2_000, tasks=2_000, phase=Phase.SEALING),
    ) == [
        "reading the input",
        "reading the input: 1,200,000 rows so far",
        "asking 2,000",
        " 10 %  200 of 2,000 · 13.2 rows/s · 2 min 16 s left · limited by requests/min",
        "100 %  2,000 of 2,000 · 10 failed · 512 rows/s · $0.1234",
        "writing the last parts",
    ]


def test_a_slow_run_says_something_every_thirty_seconds():
    snapshots = [a_snapshot(1, elapsed_s=float(second), rate_per_s=0.02) for second in range(100)]

    assert printed(a_snapshot(0, elapsed_s=0.0), *snapshots) == ["asking 100", *["  1 %  1 of 100 · 1.2 rows/min"] * 3]


def test_a_run_that_goes_on_says_where_it_stood():
    assert printed(a_snapshot(63, done_before=63)) == ["continuing: 63 of 100 done before"]


def test_a_run_that_was_finished_before_says_so_once():
    done = a_snapshot(100, done_before=100)

    assert printed(done, done, a_snapshot(100, done_before=100, phase=Phase.SEALING)) == [
        "nothing left to ask: 100 of 100 done before"
    ]


def test_a_pace_that_nobody_knows_yet_is_not_said():
    assert next_line(a_snapshot(0), a_snapshot(10, rate_per_s=0.0)) == " 10 %  10 of 100"


def test_a_run_that_stops_says_what_it_waits_for():
    assert printed(a_snapshot(5, phase=Phase.DRAINING, in_flight=1)) == ["stopping: waiting for 1 request in flight"]
    assert printed(a_snapshot(5, phase=Phase.DRAINING, in_flight=0)) == ["stopping"]


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=60).map(sorted))
def test_there_are_at_most_ten_lines_of_progress_and_one_before(counts):
    lines = printed(*(a_snapshot(count, tasks=1_000) for count in counts))

    assert 1 <= len(lines) <= 11
    assert len(set(lines)) == len(lines)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_hundred_percent_is_said_when_it_is_true(done, tasks):
    line = next_line(a_snapshot(0, tasks=tasks), a_snapshot(min(done, tasks), tasks=tasks, elapsed_s=99.0))

    assert line.startswith("100 %") == (done >= tasks)


def test_a_run_that_finished_no_row_has_no_pace():
    assert "  time      12.4 s" in summary_lines(a_summary(rows_per_s=0.0, limited_by=""))


@pytest.mark.parametrize(
    ("width", "end"),
    [
        (0, "1 min 01 s left · limited by input tokens/min"),
        (120, "1 min 01 s left · limited by input tokens/min"),
        (72, "1 min 01 s left · input tokens/min"),
        (60, "1 min 01 s left"),
        (20, "1 min 01 s left"),
    ],
)
def test_a_line_gives_up_what_holds_the_run_back_before_it_breaks(width, end):
    seen = a_snapshot(50, rate_per_s=1234.5, eta_s=61.0, limited_by="input tokens/min")
    assert next_line(a_snapshot(0), seen, width=width) == f" 50 %  50 of 100 · 1,234 rows/s · {end}"


def test_what_holds_a_run_back_is_said_in_words_that_people_know():
    line = next_line(a_snapshot(0), a_snapshot(50, limited_by="open tasks"))
    assert line is not None
    assert line.endswith("limited by rows waiting to be asked again")
    assert any("rows waiting to be asked again" in line for line in summary_lines(a_summary(limited_by="open tasks")))


def test_a_day_quota_is_said_once():
    parked = a_snapshot(50, rate_per_s=0.0, limited_by="parked", parked=some_parked())
    told = " 50 %  50 of 100 · limited by a day quota until Fri 09:00"
    assert next_line(a_snapshot(50), parked) == f"{told} (https://host gemini-x has used up its day, until Fri 09:00)"
    assert next_line(parked, parked) is None


def test_an_outage_says_since_when_and_when_it_is_tried_next():
    out = a_snapshot(50, rate_per_s=0.0, limited_by="outage", outage=an_outage())
    told = " 50 %  50 of 100 · limited by outage since 03:12, next probe in 7 s"
    assert next_line(a_snapshot(0), out) == f"{told} (http_503: overloaded)"
    assert next_line(a_snapshot(0, outage=an_outage(), elapsed_s=-40.0), out) == told
    assert next_line(a_snapshot(0), out, width=60) == " 50 %  50 of 100 · outage since 03:12, next probe in 7 s"
    probing = a_snapshot(90, rate_per_s=0.0, limited_by="outage", outage=an_outage(None))
    assert next_line(out, probing) == " 90 %  90 of 100 · limited by outage since 03:12, probing"


def test_an_outage_that_comes_or_goes_is_worth_a_line():
    before, out = a_snapshot(1), a_snapshot(1, limited_by="outage", outage=an_outage())
    lines = printed(before, out, out, before, before)
    assert [line.count("outage") for line in lines] == [0, 1, 0]


def test_a_summary_says_that_an_outage_held_the_run_back():
    assert any("limited by an outage of the endpoint" in line for line in summary_lines(a_summary(limited_by="outage")))


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"limited_by": "pace", "pace_per_s": 12.4}, "limited by pace 12/s after 429s"),
        ({"limited_by": "pace", "pace_per_s": 0.2}, "limited by pace 0.2/s after 429s"),
        ({"limited_by": "pace"}, "limited by a pace that was cut after 429s"),
        ({"limited_by": "concurrency", "narrowed": 45}, "limited by concurrency 45 after failures"),
        ({"limited_by": "concurrency"}, "limited by concurrency"),
        ({"limited_by": "requests/min", "pace_per_s": 12.4, "narrowed": 45}, "limited by requests/min"),
    ],
)
def test_a_limit_that_was_lowered_says_to_what(held, said):
    line = next_line(a_snapshot(0), a_snapshot(50, **held))

    assert line is not None
    assert line.endswith(said)
