"""How many may be busy at once, and who is next?"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Slots:
    """A number of slots, first come first served; taking and giving cost the same however many wait.

    Used for the requests in flight, for the open tasks and, with one slot, for whose turn it is in a lane.

    Args:
        size: slots there are.

    Attributes:
        on_free: told when a slot came back and nobody was in line for it.
    """

    __slots__ = ("_ahead", "_behind", "free", "on_free", "size", "waiting")

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = size  # below 0 after a resize, until enough were given back
        self.waiting = 0
        self.on_free: Callable[[], None] | None = None
        self._ahead: deque[asyncio.Future[None]] = deque()
        self._behind: deque[asyncio.Future[None]] = deque()

    def take_now(self) -> bool:
        """Take a slot if that needs no wait.

        A free slot means that nobody waits for one: slots are handed over, never left to be raced for.
        """
        if self.free <= 0:
            return False
        self.free -= 1
        return True

    async def take(self, *, ahead: bool = False) -> None:
        """Wait for a slot; `ahead` of all who did not ask for that. A wait that is cancelled takes nothing."""
        if self.take_now():
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._ahead if ahead else self._behind).append(place)
        self.waiting += 1
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # handed over in the same turn of the loop
                self.give()
            raise
        finally:
            self.waiting -= 1

    def give(self) -> None:
        """Give one slot back, to the first who waits."""
        assert self.free < self.size, "a slot was given back twice"
        self.free += 1
        self._hand_over()

    def resize(self, size: int) -> None:
        """Change how many there are; those taken stay taken, and a smaller number holds once enough came back."""
        self.free += size - self.size
        self.size = size
        self._hand_over()

    def _hand_over(self) -> None:
        while self.free > 0 and (self._ahead or self._behind):
            place = (self._ahead or self._behind).popleft()
            if not place.done():  # else its owner was cancelled
                self.free -= 1
                place.set_result(None)
        if self.free > 0 and self.on_free is not None:
            self.on_free()
