"""A limiter without limits: every lease is given at once, and counted while it is held."""

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.limits.limit import Counted


class Unlimited:
    """Fulfils `roles.Limiter`, and `roles.Lease` itself: of a holder nothing is remembered but that it is one."""

    meter: None = None
    would_limit: str | None = None

    def __init__(self) -> None:
        self.held = 0

    def lease(
        self,
        permit: Permit,
        client: Client,
        counted: frozenset[Counted],
        presence: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> "Unlimited":
        """Always given."""
        return self

    def hold_off(self, permit: Permit, client: Client, seconds: float) -> None:
        """Nothing is closed."""

    async def __aenter__(self) -> "Unlimited":
        self.held += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held -= 1
