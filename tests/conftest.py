"""What holds for every test: uvloop as the loop, one deterministic hypothesis profile, no task left running."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import hypothesis
import pytest
import pytest_asyncio
import uvloop

from tests.helpers.tasks import still_running

hypothesis.settings.register_profile(
    "gateway",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,  # twice what the planted faults need; `make fuzz` and FUZZ_EXAMPLES look longer
    suppress_health_check=[hypothesis.HealthCheck.too_slow],  # it judges by the clock: the same run must always pass
)
hypothesis.settings.load_profile("gateway")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the gateway itself runs on."""
    return {"uvloop": uvloop.new_event_loop}


STORIES = frozenset(("abuse", "chart", "clients", "faults", "flows", "lab", "peers", "smoke"))
"""Directories whose tests start programs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: for one that a process begins last, all others wait."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: (item.path not in slow, item.path.parent.name not in STORIES))


@pytest.fixture(autouse=True)
def leaves_no_task(request: pytest.FixtureRequest) -> None:
    """Look after asynchronous tests only: a synchronous one needs no loop for it."""
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("_no_task_left")


@pytest_asyncio.fixture
async def _no_task_left() -> AsyncIterator[None]:
    """Fail a test that leaves a task behind, looking when all its other fixtures are torn down."""
    before = asyncio.all_tasks()
    yield
    assert await still_running(before, grace=10.0) == [], "tasks left running"
