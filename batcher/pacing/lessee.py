"""What does one client hold of shared quotas, and what does it ask for? All its lanes, in one word to the broker.

Pure book-keeping: times come in, an `Ask` goes out, an `Answer` comes in; who carries them is not its concern.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from batcher.pacing.lease import LEAST_PERIOD_S, Answer, Ask
from batcher.pacing.leased import LeasedDay, LeasedWindow, Stir
from batcher.pacing.quota import DayCount


class Lessee:
    """All that one run holds.

    Args:
        run: its id.
        named: lane -> the name that all give it who share its quotas.
        lacks: called when something waits for units; ask soon.
    """

    def __init__(self, *, run: str, named: Callable[[str], str], lacks: Stir) -> None:
        self._run = run
        self._named = named
        self._lacks = lacks
        self._windows: list[LeasedWindow] = []
        self._days: list[LeasedDay] = []
        self._report = 0
        self._shares = True
        self.next_s = LEAST_PERIOD_S

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing, wants nothing and has nothing to tell."""
        return all(window.is_idle for window in self._windows) and all(day.is_idle for day in self._days)

    @property
    def has_quotas(self) -> bool:
        """Whether any of its lanes has one."""
        return bool(self._windows or self._days)

    def window(self, lane: str, quota: str, limit: float, stir: Stir) -> LeasedWindow:
        """The window of a minute quota of one lane."""
        pool = f"{self._named(lane)} {quota}"
        window = LeasedWindow(limit, pool=pool, report=self._report + 1, stir=stir, lacks=self._lacks)
        self._windows.append(window)
        if not self._shares:
            window.share_no_more()
        return window

    def day(self, lane: str, count: DayCount, wall_us: int, stir: Stir) -> LeasedDay:
        """The count of a day quota of one lane, in the place of `count`."""
        day = LeasedDay(
            count.limit,
            used=count.used,
            wall_us=wall_us,
            pool=self._named(lane),
            run=self._run,
            stir=stir,
            lacks=self._lacks,
        )
        self._days.append(day)
        if not self._shares:
            day.share_no_more()
        return day

    def ask(self, now_s: float) -> Ask:
        """The next word to the broker; what follows until the next one belongs to that."""
        self._report += 1
        return Ask(
            report=self._report,
            minutes=tuple(window.want(now_s, self.next_s) for window in self._windows),
            days=tuple(day.want(now_s) for day in self._days),
        )

    def answered(self, answer: Answer, *, asked_s: float, now_s: float) -> None:
        """The broker's answer to the last ask, which was made at `asked_s`."""
        self.next_s = answer.next_s
        for window in self._windows:
            if window.pool in answer.more:
                window.given(answer.more[window.pool], now_s=now_s, until_s=asked_s + answer.hold_s)
        grants = {grant.pool: grant for grant in answer.days}
        for day in self._days:
            if day.pool in grants:
                day.given(grants[day.pool])

    def begin(self) -> None:
        """A new broker, or a new connection to one. Numbers of reports are never used again."""
        self._report += 1
        for window in self._windows:
            window.begin(self._report + 1)
        for day in self._days:
            day.hand = 0

    def last_word(self, now_s: float) -> Ask:
        """What is to be told before leaving: all that was used, nothing held, nothing wanted."""
        for window in self._windows:
            window.hand = 0
        for day in self._days:
            day.hand = 0
        said = self.ask(now_s)
        return Ask(
            report=said.report,
            minutes=tuple(replace(want, want=0, least=0) for want in said.minutes),
            days=tuple(replace(want, want=0) for want in said.days),
        )

    def share_no_more(self) -> None:
        """Go on as if nobody else were there."""
        self._shares = False
        for window in self._windows:
            window.share_no_more()
        for day in self._days:
            day.share_no_more()
