"""What did `recover` find, and what did it make of it? The question before it, and the summary after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batcher.engine.recovered import AskedAgain, Recovered
from batcher.reports.money import dollars
from batcher.reports.terminal import entry

GOES_ON = "the command that started it, to go on"


def question(again: AskedAgain) -> str:
    """Say what asking again comes to, before anything is given up."""
    if again.journal:
        return (
            f"{again.run_dir}: the journal is damaged. What it holds is in no part yet: those rows are asked again."
            " The damaged file is kept in the state folder."
        )
    return (
        f"{again.run_dir}: the answers of {_counted(again.tasks, 'row')} in {_counted(again.parts, 'part')} are lost."
        f" They had cost {_cost(again)}; asking them again will cost about as much."
    )


def recovered_lines(found: Recovered) -> list[str]:
    """Say what was lost and what was made of it; the first line is the verdict."""
    lines = [_verdict(found), "", *(entry(label, text) for label, text in _entries(found)), ""]
    return [*lines, entry("next", found.next_command or GOES_ON)]


def recovered_json(found: Recovered) -> dict[str, Any]:
    """Say the same as one JSON document."""
    state = found.state
    return {
        "verdict": _verdict(found),
        "exit_code": 0,
        "run_dir": found.run_dir,
        "tasks": found.tasks,
        "left": found.left,
        "asked_again": found.again.tasks,
        "asked_again_parts": found.again.parts,
        "asked_again_cost_usd": format(found.again.cost_usd, "f"),
        "asked_again_cost_unknown": found.again.unknown,
        "ledgers_rebuilt": found.ledgers,
        "state_rebuilt": state is not None,
        "sealed_blocks": None if state is None else state.sealed,
        "charged_requests": 0 if state is None else state.charged,
        "charged_tokens": 0 if state is None else state.charged * (state.reserve_input + state.reserve_output),
        "charged_usd": None if found.charged_usd is None else format(found.charged_usd, "f"),
        "next_command": found.next_command,
    }


def _verdict(found: Recovered) -> str:
    if found.state is None and not found.again.tasks and not found.ledgers:
        return "nothing is lost"
    left = f"{found.left:,} of {found.tasks:,} rows are still to be asked" if found.left else "every row has its answer"
    return f"recovered: {left}"


def _entries(found: Recovered) -> Iterator[tuple[str, str]]:
    state = found.state
    if state is not None:
        yield "state", f"rebuilt: {_counted(state.sealed, 'finished part')} still {_do(state.sealed, 'count')}"
    if state is not None and state.charged:
        most = "their price is not known" if found.charged_usd is None else f"at most {dollars(found.charged_usd)}"
        yield "charged", f"{_counted(state.charged, 'request')} that may have been out, maybe billed: {most}"
    if state is not None and found.left:
        yield "lost", "answers that were in no part yet: paid for, in no ledger, asked again"
    if found.again.tasks:
        rows = _counted(found.again.tasks, "row")
        yield "again", f"{rows} of damaged or lost parts, which had cost {_cost(found.again)}"
    if found.ledgers:
        yield "ledger", f"{_counted(found.ledgers, 'file')} written again from the parts: what only they knew is lost"
    yield "output", found.run_dir


def _cost(again: AskedAgain) -> str:
    if not again.unknown:
        return dollars(again.cost_usd)
    return f"at least {dollars(again.cost_usd)} (of {_counted(again.unknown, 'row')} the ledger does not know it)"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _do(number: int, verb: str) -> str:
    return f"{verb}s" if number == 1 else verb
