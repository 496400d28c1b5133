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
        on_free: told when a slot came back that nobody was in line for, or one is lent.
        on_give: told of every slot that comes back, before it goes to anybody; None when nobody counts them.
        loans: slots beyond the size that nobody has taken up yet; `take_now` does not know of them.
    """

    __slots__ = ("_ahead", "_behind", "free", "loans", "on_free", "on_give", "size", "waiting")

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = size  # below 0 after a resize, until enough were given back
        self.waiting = 0
        self.loans = 0
        self.on_free: Callable[[], None] | None = None
        self.on_give: Callable[[], None] | None = None
        self._ahead: deque[asyncio.Future[bool]] = deque()
        self._behind: deque[asyncio.Future[bool]] = deque()

    def take_now(self) -> bool:
        """Take a slot if that needs no wait.

        A free slot means that nobody waits for one: slots are handed over, never left to be raced for.
        """
        if self.free <= 0:
            return False
        self.free -= 1
        return True

    async def take(self, *, ahead: bool = False) -> bool:
        """Wait for a slot; `ahead` of all who did not ask for that. A wait that is cancelled takes nothing.

        Returns:
            Whether the slot is lent: see `lend`.
        """
        if self.take_now():
            return False
        if self.take_loan():
            return True
        place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        (self._ahead if ahead else self._behind).append(place)
        self.waiting += 1
        try:
            return await place
        except asyncio.CancelledError:
            if not place.cancelled():  # handed over in the same turn of the loop
                self.give_back(lent=place.result())
            raise
        finally:
            self.waiting -= 1

    def give(self) -> None:
        """Give one slot back, to the first who waits."""
        assert self.free < self.size, "a slot was given back twice"
        self.free += 1
        if self.on_give is not None:
            self.on_give()
        self.serve()

    def lend(self) -> None:
        """Let one more be busy, once: whoever takes the loan, or the first in line when they are served next."""
        self.loans += 1
        if self.on_free is not None:
            self.on_free()

    def take_loan(self) -> bool:
        """Take what is lent, past those who are in line."""
        if not self.loans:
            return False
        self.loans -= 1
        self.free -= 1
        return True

    def give_back(self, *, lent: bool) -> None:
        """Give back a slot unused; one that was lent goes to the next."""
        self.give()
        self.loans += lent
        self.serve()

    def resize(self, size: int) -> None:
        """Change how many there are; those taken stay taken, and a smaller number holds once enough came back."""
        self.free += size - self.size
        self.size = size
        self.serve()

    def serve(self) -> None:
        """Hand over what is there to those in line."""
        while (self.free > 0 or self.loans) and (self._ahead or self._behind):
            place = (self._ahead or self._behind).popleft()
            if not place.done():  # else its owner was cancelled
                lent = self.free <= 0
                self.loans -= lent
                self.free -= 1
                place.set_result(lent)
        if (self.free > 0 or self.loans) and self.on_free is not None:
            self.on_free()
