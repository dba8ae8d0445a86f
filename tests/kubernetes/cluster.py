"""A watch of ours in the loop of a test, and the API server that it follows."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.kubernetes.api_client import Access, ApiClient
from gateway.kubernetes.directory import Doubt
from gateway.kubernetes.pods import Pod
from gateway.kubernetes.watching import ClusterWatch
from gateway.model.addresses import Address, parse_address
from tests.helpers.api_server import ApiServer
from tests.helpers.authority import TestAuthority

SECONDS = 15.0


def address(text: str) -> Address:
    parsed = parse_address(text)
    assert parsed is not None
    return parsed


class Cluster:
    """An API server inside TLS, and what is needed to ask it."""

    def __init__(self, folder: Path) -> None:
        authority = TestAuthority(folder)
        self.api = ApiServer(context=authority.server_context("127.0.0.1"))
        self.ca = authority.bundle
        self.token_file = folder / "token"
        self.token_file.write_text(f"{self.api.token}\n")

    @property
    def access(self) -> Access:
        return Access(self.api.url, self.ca, self.token_file)

    def client(self) -> ApiClient:
        return ApiClient(self.access)


@asynccontextmanager
async def watching(cluster: Cluster, stale_after: float = 300.0) -> AsyncIterator[ClusterWatch]:
    """Started, and done with the first list."""
    watch = ClusterWatch(cluster.client(), stale_after)
    running = asyncio.create_task(watch.run())
    try:
        assert await watch.first_list(SECONDS)
        yield watch
    finally:
        running.cancel()
        await asyncio.wait([running])


def holder(watch: ClusterWatch, text: str) -> str | None:
    """`namespace/name` of the pod, the doubt, or None."""
    found = watch.directory.holder(address(text))
    if isinstance(found, Pod):
        return f"{found.namespace}/{found.name}"
    return found.value if isinstance(found, Doubt) else None


async def until(condition: Callable[[], bool]) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  # mostly of another thread
            await asyncio.sleep(0.01)
