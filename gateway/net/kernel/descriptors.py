"""How many descriptors this process has left.

The kernel gives the lowest number that is free: when that one nears the limit nearly all are taken. So what traffic
takes is bounded as a whole, and nobody has to count who holds how many.
"""

import os
import resource
from collections.abc import Callable

KEPT_BACK = 384
"""For the admin port, name servers, logs, and connections that are being refused; at most an eighth of all."""
LOOK_EVERY = 32
"""Askings: each stands for a descriptor or a few. From half of the limit on every one looks. With a small limit it is
looked after a sixteenth of it, else they could take all of the other half."""


def lowest_free() -> int:
    """The number that the next descriptor gets; the largest of all where there is none."""
    try:
        descriptor = os.eventfd(0)
    except OSError:  # none is left, or the kernel has no memory for one
        return 1 << 31
    os.close(descriptor)
    return descriptor


class Descriptors:
    """`limit` is by default the soft limit as it is now; `look` is `lowest_free`, or what a test says."""

    def __init__(self, limit: int | None = None, look: Callable[[], int] = lowest_free) -> None:
        self.limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
        self._look = look
        self.kept_back = min(KEPT_BACK, self.limit // 8)
        self._look_every = min(LOOK_EVERY, self.limit // 16)
        self._taken = 0
        self._is_short = False
        self._asked = self._look_every

    def are_short(self) -> bool:
        """What is left is kept back: no connection takes another one."""
        self._asked += 1
        if self._asked > self._look_every:
            self._look_now()
        return self._is_short

    def are_scarce(self) -> bool:
        """Less than a quarter is left: what a connection can do without is not taken."""
        self._look_now()
        return 4 * self._taken > 3 * self.limit

    def _look_now(self) -> None:
        self._taken = self._look()
        self._is_short = self._taken >= self.limit - self.kept_back
        self._asked = 0 if 2 * self._taken < self.limit else self._look_every
