"""The admin listeners, inside the gateway's own loop: uvicorn without its signal handlers and without its logs.

uvicorn bounds the size of a request head; the number of connections and their time are bounded here. One connection
carries one request, so that its time can be bounded as a whole.
"""

import asyncio
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.admin.access import TokenFile, is_loopback
from gateway.admin.app import build_admin_app, build_health_app
from gateway.admin.state import GatewayState
from gateway.model.errors import ConfigError

HEAD_BYTES = 16 * 1024
CONNECTIONS = 128
CONNECTIONS_PER_PEER = 16
CONNECTION_SECONDS = 30.0
STOP_SECONDS = 2
STOP_LOOK_SECONDS = 0.1

_logger = logging.getLogger(__name__)
_arrivals = count(1)  # the loop's time does not tell apart those within one millisecond


class AdminServer:
    """Serves everything on `bind` and, if given, health and metrics on `health`: bound sockets, owned from here on."""

    def __init__(
        self, state: GatewayState, bind: socket.socket, health: socket.socket | None = None, token: Path | None = None
    ) -> None:
        """Raises `ConfigError` if `bind` can be reached from elsewhere without a token, or its file cannot be used."""
        if token is None and not is_loopback(bind.getsockname()[0]):
            raise ConfigError("admin.bind", "an address other than loopback needs admin.token_file")
        self._listeners = [(_Server(build_admin_app(state, TokenFile(token) if token else None)), bind)]
        if health is not None:
            self._listeners.append((_Server(build_health_app(state)), health))
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Answer from now on. Raises `OSError` if a socket cannot listen."""
        for server, listener in self._listeners:
            task = asyncio.create_task(server.serve([listener]), name="admin")
            await server.decided.wait()
            if not server.started:
                await task  # raises what kept it from starting
            self._tasks.append(task)

    async def stop(self) -> None:
        """Finish running requests, `STOP_SECONDS` at most, and close the sockets."""
        for server, _ in self._listeners:
            server.should_exit = True
        await asyncio.gather(*self._tasks)
        for _, listener in self._listeners:
            listener.close()  # a server that never started has not closed its socket


class _Server(uvicorn.Server):
    """`decided` is set once it listens or has failed to."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(_config(app))
        self.decided = asyncio.Event()

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        try:
            await super().startup(list(sockets or ()))
        finally:
            self.decided.set()

    async def main_loop(self) -> None:
        """uvicorn's, which keeps the Date of responses and waits until it is told to stop. After a fault,
        which is logged, it goes on to wait: requests are answered elsewhere."""
        try:
            await super().main_loop()
        except Exception:
            _logger.exception("the admin port has a fault: the Date of its responses stands still")
            while not self.should_exit:  # noqa: ASYNC110  # an attribute of uvicorn's
                await asyncio.sleep(STOP_LOOK_SECONDS)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are `app`'s business."""
        yield


class _Connection(H11Protocol):
    """One connection of the admin port, counted and timed. Beyond the maximum, in total or of one peer, the oldest is
    closed: anybody may connect to the health port, even from the address that probes come from, and idle connections
    must not keep probes away."""

    _deadline: asyncio.TimerHandle | None = None
    _arrival = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._arrival = next(_arrivals)
        self._deadline = self.loop.call_later(CONNECTION_SECONDS, transport.abort)
        live = [other for other in self.connections if isinstance(other, _Connection) and other._is_live()]
        _close_oldest([other for other in live if other._host() == self._host()], CONNECTIONS_PER_PEER)
        _close_oldest(live, CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _is_live(self) -> bool:
        return not self.transport.is_closing()

    def _host(self) -> str | None:
        return self.client[0] if self.client else None


def _close_oldest(connections: Sequence[_Connection], maximum: int) -> None:
    """If there are more than the maximum."""
    if len(connections) > maximum:
        min(connections, key=lambda each: each._arrival).transport.abort()


def _config(app: Starlette) -> uvicorn.Config:
    """Nothing is inferred from the environment, from forwarding headers or from what else is installed."""
    return uvicorn.Config(
        app,
        loop="none",
        http=_Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        workers=1,
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=[("Connection", "close"), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")],
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_graceful_shutdown=STOP_SECONDS,
        backlog=CONNECTIONS,
    )
