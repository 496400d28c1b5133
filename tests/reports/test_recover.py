"""What `recover` says before it gives anything up, and after."""

from dataclasses import replace
from decimal import Decimal

from batcher.engine.recovered import AskedAgain, Recovered, Restated
from batcher.reports.recover import question, recovered_json, recovered_lines

NOTHING = Recovered(
    run_dir="out/first",
    state=None,
    charged_usd=Decimal(0),
    tasks=1_000,
    left=0,
    again=AskedAgain(run_dir="out/first"),
    ledgers=0,
    next_command="batcher show out/first",
)
STATE = Restated(sealed=3, charged=32, reserve_input=10, reserve_output=90, model="gemini-2.5-flash")


def test_nothing_is_lost():
    assert recovered_lines(NOTHING) == [
        "nothing is lost",
        "",
        "  output    out/first",
        "",
        "  next      batcher show out/first",
    ]


def test_a_lost_state_says_what_counts_what_is_charged_and_what_is_gone():
    found = replace(NOTHING, state=STATE, charged_usd=Decimal("0.0123"), left=232, next_command="")
    assert recovered_lines(found) == [
        "recovered: 232 of 1,000 rows are still to be asked",
        "",
        "  state     rebuilt: 3 finished parts still count",
        "  charged   32 requests that may have been out, maybe billed: at most $0.0123",
        "  lost      answers that were in no part yet: paid for, in no ledger, asked again",
        "  output    out/first",
        "",
        "  next      the command that started it, to go on",
    ]


def test_a_price_that_nobody_knows_is_not_nothing():
    found = replace(NOTHING, state=replace(STATE, sealed=1, charged=1), charged_usd=None, left=1)
    lines = recovered_lines(found)
    assert "  state     rebuilt: 1 finished part still counts" in lines
    assert "  charged   1 request that may have been out, maybe billed: their price is not known" in lines
    assert recovered_json(found)["charged_usd"] is None


def test_lost_parts_and_ledgers():
    again = AskedAgain(run_dir="out/first", tasks=480, parts=1, cost_usd=Decimal("1.5"))
    found = replace(NOTHING, again=again, left=480, ledgers=2)
    assert recovered_lines(found)[2:4] == [
        "  again     480 rows of damaged or lost parts, which had cost $1.50",
        "  ledger    2 files written again from the parts: what only they knew is lost",
    ]
    assert question(again) == (
        "out/first: the answers of 480 rows in 1 part are lost."
        " They had cost $1.50; asking them again will cost about as much."
    )


def test_what_no_ledger_knows_is_said():
    again = AskedAgain(run_dir="out/first", tasks=480, parts=2, cost_usd=Decimal("1.5"), unknown=240)
    assert "They had cost at least $1.50 (of 240 rows the ledger does not know it);" in question(again)


def test_the_document_says_the_same():
    found = replace(NOTHING, state=STATE, charged_usd=Decimal("0.0123"), left=232, next_command="")
    assert recovered_json(found) == {
        "verdict": "recovered: 232 of 1,000 rows are still to be asked",
        "exit_code": 0,
        "run_dir": "out/first",
        "tasks": 1_000,
        "left": 232,
        "asked_again": 0,
        "asked_again_parts": 0,
        "asked_again_cost_usd": "0",
        "asked_again_cost_unknown": 0,
        "ledgers_rebuilt": 0,
        "state_rebuilt": True,
        "sealed_blocks": 3,
        "charged_requests": 32,
        "charged_tokens": 3_200,
        "charged_usd": "0.0123",
        "next_command": "",
    }


def test_a_damaged_journal_is_asked_about_in_its_own_words():
    assert question(AskedAgain(run_dir="out/first", journal=True)) == (
        "out/first: the journal is damaged. What it holds is in no part yet: those rows are asked again."
        " The damaged file is kept in the state folder."
    )
