"""`egress-gateway run`: from files to a serving process; what stands in the way of a start is told in one line each."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import uvloop

from gateway.app.process import GatewayProcess, bind_sockets, raise_descriptor_limit
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import LoadedPolicy, load_policy, load_settings


def run_gateway(config: Path | None, policy: Path | None, overrides: Mapping[str, str]) -> None:
    """Serve until a signal. `overrides` are `EGRESS__` entries that the command line adds to the environment.

    Raises `ConfigErrors` or `ConfigError` before anything is served.
    """
    # libuv would queue epoll_ctl calls in an io_uring: 5 % more CPU a connection, and forbidden in many containers.
    os.environ.setdefault("UV_USE_IO_URING", "0")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    raise_descriptor_limit()
    settings = load_settings(config, {**os.environ, **overrides}, policy)
    loaded = load_policy(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, loaded, lambda: load_policy(settings)))


async def _serve(settings: GatewaySettings, loaded: LoadedPolicy, load: Callable[[], LoadedPolicy]) -> None:
    process = GatewayProcess(asyncio.get_running_loop(), settings, bind_sockets(settings), loaded, load)
    await process.run()
