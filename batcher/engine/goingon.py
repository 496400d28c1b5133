"""Which command goes on with a run that its budget has stopped? The same one, with a cap that the rest fits under."""

from __future__ import annotations

import shlex
from decimal import ROUND_UP, Context, Decimal

from batcher.engine.funds import DeadlinePassed
from batcher.errors import BatcherError
from batcher.pacing.budget import BudgetReached

_MORE = Decimal("1.2")  # than what the rest would cost by what was spent so far
_TWO_DIGITS = Context(prec=2, rounding=ROUND_UP)
_LATER = "12h"
_AT_ONCE = 8  # where nobody knows yet what a row costs, a cap that a few may be out under


def going_on(command: str, why: BatcherError | None, *, done: int, left: int) -> str:
    """Write the command that goes on.

    Args:
        command: what was typed; empty when nobody typed anything.
        why: what ended the session.
        done: tasks with an outcome.
        left: tasks without one.
    """
    if isinstance(why, BudgetReached):
        return _with(command, why.setting, _enough(why, done, left))
    if isinstance(why, DeadlinePassed) and why.is_over:
        return _with(command, "deadline", _LATER)
    return command


def _enough(why: BudgetReached, done: int, left: int) -> str:
    spending, wanted = why.spending, why.wanted
    if why.setting == "max_tokens":
        return f"{int(_rounded(Decimal(spending.spent_tokens), Decimal(wanted.tokens), done, left)):d}"
    amount = _rounded(spending.spent_usd, Decimal(wanted.fusd).scaleb(-15), done, left)
    return f"{amount:f}"


def _rounded(spent: Decimal, wanted: Decimal, done: int, left: int) -> Decimal:
    """Two digits, rounded up: what was spent, the rest at the price of what is done, and one reserve more."""
    rest = spent / done * left if done else wanted * _AT_ONCE
    return _TWO_DIGITS.plus(spent + wanted + rest * _MORE)


def _with(command: str, setting: str, value: str) -> str:
    flag, dotted = f"--{setting.replace('_', '-')}", f"budget.{setting}"
    if not command:
        return f"the same call goes on, with {setting}={value}"
    words, kept, skip = shlex.split(command), list[str](), False
    for at, word in enumerate(words):
        following = words[at + 1] if at + 1 < len(words) else ""
        if skip:
            skip = False
        elif word == flag or (word == "--set" and following.startswith(f"{dotted}=")):
            skip = True
        elif not word.startswith((f"{flag}=", f"--set={dotted}=")):
            kept.append(word)
    new = [flag, value] if words[1:2] == ["run"] else ["--set", f"{dotted}={value}"]
    return shlex.join([*kept, *new])
