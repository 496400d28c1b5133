"""How much of big replies may be in memory at once? Whoever reads one takes its place first, in order of asking.

A reply is as long as a server likes, up to `max_body_bytes`; 256 of them at once took 5.8 GB. Small ones need no place.
A place is held until its reply is on disk. Nobody waits for ever: one of them, the leader, may always grow to the
longest that a reply can be, so it ends, and the next one leads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

SMALL_BYTES = 64 << 10
"""A reply that is not longer takes no place."""
MOST_BYTES = 48 << 20
"""Of all places together; never less than the longest reply has."""
_STEP_BYTES = 256 << 10
_LEARNING = 0.9


@dataclass(slots=True, eq=False)
class Place:
    """What one reply has taken.

    Attributes:
        size: bytes of it that have come.
        held_bytes: of the common room.
        leads: whether it may grow as it must.
    """

    size: int = 0
    held_bytes: int = 0
    leads: bool = False


class Room:
    """The memory for big replies.

    Args:
        longest_bytes: the longest that a reply may be.
        most_bytes: of all together.
    """

    def __init__(self, longest_bytes: int, most_bytes: int = MOST_BYTES) -> None:
        self._longest = longest_bytes
        self._free = max(0, most_bytes - longest_bytes)
        self._usual = float(_STEP_BYTES)  # what a reply is given at first, lest many begin and few can go on
        self._led = False
        self._waiting: deque[tuple[Place, int, asyncio.Future[None]]] = deque()

    def fits(self, place: Place, size: int) -> bool:
        """Take a place for `size` bytes, or a bigger one; False when that has to be waited for."""
        place.size = size
        if place.leads or size < place.held_bytes:
            return True
        return not self._waiting and self._grant(place, self._want(place))

    async def wait(self, place: Place) -> None:
        """Wait for a place that did not fit."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((place, self._want(place), turn))
        try:
            await turn
        except asyncio.CancelledError:
            self._hand_over()  # it may have stood in the way
            raise

    def leave(self, place: Place) -> None:
        """The reply is in memory no longer."""
        self._usual = max(float(place.size), self._usual * _LEARNING)
        self._free += place.held_bytes
        self._led = self._led and not place.leads
        place.held_bytes, place.leads = 0, False
        self._hand_over()

    def _want(self, place: Place) -> int:
        return _STEP_BYTES if place.held_bytes else int(min(self._longest, max(self._usual, place.size)))

    def _grant(self, place: Place, want: int) -> bool:
        if want <= self._free:
            self._free -= want
            place.held_bytes += want
        elif not self._led:
            self._led = place.leads = True
        else:
            return False
        return True

    def _hand_over(self) -> None:
        while self._waiting:
            place, want, turn = self._waiting[0]
            if not turn.done() and not self._grant(place, want):
                return
            self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
