import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.outlook import Money, PriceChange, Resume
from batcher.reports.forecast import forecast_json, forecast_lines, full_run
from tests.examples import a_few
from tests.reports.builders import a_forecast, an_estimate

UNKNOWN = an_estimate(cost_usd=None, most_usd=None, unpriced=("gemini-99",))


def lines(forecast, **options):
    return forecast_lines(forecast, **{"next_command": "batcher run jobs/sft"} | options)


def test_a_forecast_in_eighty_columns():
    assert lines(a_forecast(), width=80) == [
        "sft: 5,000 requests to gemini-2.5-flash, about $3.13 ($2.57 to $3.97)",
        "",
        "  job       jobs/sft/job.toml",
        "  input     rows.jsonl (jsonl, 12.3 MB)",
        "  rows      5,000 rows; 1,000 of them looked at",
        "  shape     table, asked by the template, names in column 'id'",
        "  endpoint  https://generativelanguage.googleapis.com",
        "  output    out/sft (new)",
        "",
        "  system",
        "    Be kind.",
        "",
        "  first prompt  q1 (rows.jsonl:1)",
        "    Say [red]x[/red]\ufffd[31m twice.",
        "",
        "              low      likely   high     from",
        "  tokens in   1.91 M   2.1 M    2.4 M    learnt from 5 rows of out/sft.preview",
        "  tokens out  800 k    1 M      1.3 M    learnt from 5 rows of out/sft.preview,",
        "                                         which are few",
        "  cost        $2.57    $3.13    $3.97    standard prices of 2026-11-22, nothing",
        "                                         cached",
        "    at most                     $128.00  the longest answers allowed; no retries",
        "    in flex   $1.29    $1.57    $1.99    --set request.service_tier=flex",
        "  time        2.6 min  5.2 min  10 min   bottleneck: concurrency; an answer's",
        "                                         time: a guess by their length",
        "",
        "  limit          rows/min      by",
        "  requests/min   1,000         1,000 a minute",
        "  concurrency ←  480 to 1,920  32 at once x 60 s ÷ 1 to 4 s an answer",
        "",
        "  setting             value               from",
        '  model               "gemini-2.5-flash"  job.toml:3',
        "  limits.concurrency  32                  flag --concurrency",
        "  and 2 at their defaults: -v shows them",
        "",
        "  next  batcher run jobs/sft",
    ]


def test_a_run_under_way_says_what_is_done_and_what_it_cost():
    resume = Resume(state="asking", done=1_200, left=3_800, cost_usd=Decimal("0.7512"), pid=4711)
    said = lines(a_forecast(resume=resume, left=3_800))

    assert said[0].startswith("sft: 3,800 requests to gemini-2.5-flash, ")
    assert "  output    out/sft: 1,200 done for $0.751, 3,800 left (asking); process 4711 runs it now" in said
    stopped = replace(resume, state="stopped by SIGINT", cost_usd=None, pid=None)
    assert "  output    out/sft: 1,200 done for price unknown, 3,800 left (stopped by SIGINT)" in (
        lines(a_forecast(resume=stopped))
    )


def test_a_finished_run_has_nothing_to_ask():
    assert lines(a_forecast(left=0))[0] == "sft: nothing to ask; run sends nothing"


def test_an_unknown_price_is_called_unknown():
    said = "\n".join(lines(a_forecast(estimate=UNKNOWN, flex=None)))

    assert said.startswith("sft: 5,000 requests to gemini-2.5-flash, price unknown\n")
    assert "no price for gemini-99; never 0" in " ".join(said.split())
    assert "$" not in said
    assert full_run(a_forecast(estimate=UNKNOWN)) == "full run ~ price unknown (5,000 rows)"


def test_a_price_that_is_known_in_part_is_a_lower_bound():
    partly = a_forecast(estimate=an_estimate(most_usd=None, unpriced=("gemini-99",)))

    assert lines(partly)[0] == "sft: 5,000 requests to gemini-2.5-flash, at least $3.13 ($2.57 to $3.97)"
    assert any("without gemini-99, whose price is unknown" in line for line in lines(partly, width=140))
    assert full_run(partly) == "full run ~ at least $3.13 (5,000 rows; $2.57 to $3.97)"


def test_the_full_run_in_one_line():
    assert full_run(a_forecast()) == "full run ~ $3.13 (5,000 rows; $2.57 to $3.97)"
    same = an_estimate(cost_usd=Money(*[Decimal("0.5")] * 3))
    assert full_run(a_forecast(estimate=same, rows=1, samples=3)) == "full run ~ $0.50 (1 row x 3 samples)"


def test_rows_that_were_counted_by_size_are_about_right():
    said = lines(a_forecast(rows_exact=False))

    assert said[0].startswith("sft: about 5,000 requests to ")
    assert "  rows      about 5,000 rows; 1,000 of them looked at" in said


def test_rows_that_cannot_be_asked_are_told():
    said = lines(a_forecast(problems=(7, ("rows.jsonl:3: not JSON", "rows.jsonl:9: column 'x' is null"))))

    at = said.index("            7 of the rows looked at cannot be asked:")
    assert said[at + 1 : at + 3] == [
        "            rows.jsonl:3: not JSON",
        "            rows.jsonl:9: column 'x' is null",
    ]


def test_a_change_of_price_is_a_note():
    change = PriceChange(
        model="gemini-3.6-flash",
        day="2027-01-01",
        input_usd=(Decimal("0.5"), Decimal(1)),
        output_usd=(Decimal("2.5"), Decimal(5)),
    )
    said = lines(a_forecast(price_changes=(change,), notes=("a column is renamed",)), width=120)

    assert "note: a column is renamed" in said
    assert (
        "note: the price of gemini-3.6-flash changes on 2027-01-01: a million tokens in $0.5 → $1, out $2.5 → $5"
        in said
    )
    assert forecast_json(a_forecast(price_changes=(change,)), next_command="x")["price_changes"] == [
        {
            "model": "gemini-3.6-flash",
            "day": "2027-01-01",
            "input_usd_per_million": {"before": "0.5", "after": "1"},
            "output_usd_per_million": {"before": "2.5", "after": "5"},
        }
    ]


def test_a_day_quota_says_how_many_days():
    pace = replace(a_forecast().pace, bottleneck="requests/day", days=11)

    said = " ".join(" ".join(lines(a_forecast(pace=pace), width=140)).split())
    assert "bottleneck: requests/day; 11 days of quota;" in said


def test_all_settings_are_shown_when_asked_for():
    some, all_of_them = lines(a_forecast()), lines(a_forecast(), all_settings=True)

    assert "  and 2 at their defaults: -v shows them" in some
    assert not any("retry.attempts" in line for line in some)
    assert any(line.split() == ["retry.attempts", "5", "default"] for line in all_of_them)
    assert not any("at their defaults" in line for line in all_of_them)


def test_many_files_are_not_all_named():
    said = lines(a_forecast(files=tuple((f"{n}.parquet", "parquet", 10**9 * n) for n in range(1, 7))))

    assert "  input     1.parquet (parquet, 1 GB)" in said
    assert "            and 3 more files" in said


def test_a_prompt_can_neither_colour_nor_format_the_screen():
    plainly, coloured = lines(a_forecast(), width=80), lines(a_forecast(), width=80, colour=True)

    assert "    Say [red]x[/red]\ufffd[31m twice." in plainly
    assert "\x1b" not in "".join(plainly)
    assert "\x1b[31m" not in "".join(coloured).replace("\ufffd[31m", "")


@a_few
@given(st.text(max_size=900), st.integers(40, 160))
def test_no_text_breaks_the_screen(text, width):
    first = replace(a_forecast().first, prompt=text, id=text, where=text)
    for line in lines(a_forecast(first=first, run_dir=text, notes=(text,)), width=width)[1:]:
        assert "\x1b" not in line


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_wider_than_the_terminal(width):
    resume = Resume(
        state="stopped by SIGINT; 1,200 of 5,000 answers are safe on disk", done=1, left=2, cost_usd=None, pid=1
    )
    said = lines(a_forecast(resume=resume), width=width, all_settings=True)

    assert max(map(len, said[1:])) <= width


def test_json_says_the_same():
    document = json.loads(json.dumps(forecast_json(a_forecast(), next_command="batcher run x")))

    assert document["cost_usd"] == {"low": "2.5737035", "likely": "3.13", "high": "3.97000030", "most": "128.4"}
    assert document["tokens"]["input"] == {
        "low": 1_912_345,
        "likely": 2_100_000,
        "high": 2_400_001,
        "from": "learnt from 5 rows of out/sft.preview",
    }
    assert document["input"] == {
        "files": [{"name": "rows.jsonl", "format": "jsonl", "bytes": 12_345_678}],
        "shape": "table",
        "id_key": "id",
        "prompt_key": None,
        "rows": 5_000,
        "rows_exact": True,
        "looked_at": 1_000,
        "cannot_be_asked": 0,
        "problems": [],
    }
    assert document["bottleneck"] == "concurrency"
    assert document["limits"][0] == {
        "name": "requests/min",
        "rows_per_min": {"low": 1_000, "likely": 1_000, "high": 1_000},
        "by": "1,000 a minute",
    }
    assert document["time_s"] == {
        "low": 157.2,
        "likely": 314.5,
        "high": 629.0,
        "from": "a guess by their length",
    }
    assert document["first"]["request"]["contents"][0]["parts"][0]["text"] == "y" * 600 + "…(+100 chars)"
    assert document["settings"][2] == {"name": "retry.attempts", "value": 5, "from": "default"}
    assert (document["resume"], document["days"], document["next_command"]) == (None, None, "batcher run x")


def test_an_unknown_price_is_null_in_json():
    document = forecast_json(a_forecast(estimate=UNKNOWN, flex=None), next_command="x")

    assert (document["cost_usd"], document["flex_cost_usd"], document["unpriced"]) == (None, None, ["gemini-99"])
    resume = Resume(state="stopped", done=1, left=2, cost_usd=Decimal("1E-9"), pid=None)
    assert forecast_json(a_forecast(resume=resume), next_command="x")["resume"]["cost_usd"] == "0.000000001"
