"""The limiter while no limit is configured: every lease is given at once, and counted while it is held."""

from types import TracebackType

from gateway.model.decision import Permit


class Unlimited:
    """Fulfils `roles.Limiter`. It is its own lease: there is nothing to remember about a holder but that it is one."""

    def __init__(self) -> None:
        self.held = 0

    def lease(self, permit: Permit) -> "Unlimited":
        """Always given."""
        return self

    async def __aenter__(self) -> "Unlimited":
        self.held += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held -= 1
