"""Whatever becomes of a watch, what is known is what the server knows, and it is not listed more often than needed."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from gateway.kubernetes import reflector
from gateway.kubernetes import watching as watching_module
from gateway.kubernetes.api_client import ApiClient
from tests.helpers.api_server import pod
from tests.kubernetes.cluster import Cluster, holder, until, watching


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector, "PAGE", 3)


async def test_a_list_in_pages_and_changes_after_it(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster.api as api:
        api.put("pods", *(pod(f"p{number}", f"10.1.0.{number}") for number in range(10)))
        api.put("pods", pod("done", "10.1.0.200", phase="Succeeded"))
        async with watching(cluster) as watch:
            assert [holder(watch, f"10.1.0.{number}") for number in (0, 9, 200)] == ["payments/p0", "payments/p9", None]
            api.put("pods", pod("late", "10.1.0.50"))
            api.delete("pods", pod("p0"))
            api.put("pods", pod("p1", "10.1.0.1", phase="Failed"))  # leaves the selection: DELETED
            await until(lambda: holder(watch, "10.1.0.1") is None)
            assert [holder(watch, f"10.1.0.{number}") for number in (0, 50)] == [None, "payments/late"]
        assert api.lists == 2  # pods and namespaces, once


async def test_a_watch_that_is_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster.api as api:
        api.put("pods", pod("a", "10.1.0.1"))
        async with watching(cluster) as watch:
            for number in range(3):
                await until(lambda: api.watching == 2)
                api.drop_watches()
                api.put("pods", pod(f"new{number}", f"10.1.1.{number}"))
                await until(lambda: holder(watch, f"10.1.1.{number}") is not None)  # noqa: B023  # used at once
            assert api.lists == 2


async def test_after_410_the_list_tells_what_came_and_what_went(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster.api as api:
        api.put("pods", *(pod(f"p{number}", f"10.1.0.{number}") for number in range(7)))
        async with watching(cluster) as watch:
            await until(lambda: api.watching == 2)
            api.down()
            assert holder(watch, "10.1.0.0") == "payments/p0"
            api.put("pods", pod("new", "10.1.1.1"))
            api.delete("pods", pod("p0"))
            api.forget()
            api.up()
            await until(lambda: holder(watch, "10.1.1.1") == "payments/new")
            assert (holder(watch, "10.1.0.0"), holder(watch, "10.1.0.6")) == (None, "payments/p6")
            await until(lambda: api.lists == 4)


async def test_bookmarks_are_a_word_of_the_server_and_a_point_to_go_on_from(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.api.bookmark_seconds = 0.05
    with cluster.api as api:
        api.put("pods", pod("a", "10.1.0.1"))
        async with watching(cluster, stale_after=60.0) as watch:
            pods = watch._reflectors[0]
            await until(lambda: api.watching == 2)  # who forgot before would have it list once more
            first = pods.heard_at
            api.forget()  # nothing that this one follows has changed; only a bookmark carries it over
            await until(lambda: pods.heard_at != first and int(pods._version) >= api._oldest)
            await until(lambda: api.watching == 2)
            api.drop_watches()
            api.put("pods", pod("b", "10.1.0.2"))
            await until(lambda: holder(watch, "10.1.0.2") == "payments/b")


async def test_a_server_that_is_gone_leaves_the_last_state_for_so_long_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching_module, "HEARD_SECONDS", 0.05)
    cluster = Cluster(tmp_path)
    with cluster.api as api:
        api.put("pods", pod("a", "10.1.0.1"))
        async with watching(cluster, stale_after=3.0) as watch:
            api.down()
            assert holder(watch, "10.1.0.1") == "payments/a"
            await until(lambda: holder(watch, "10.1.0.1") == "stale")
            await until(lambda: "no pod is known until it is" in caplog.text)
            api.up()
            await until(lambda: holder(watch, "10.1.0.1") == "payments/a")
            assert caplog.text.count("no pod is known until it is") == 1


@pytest.mark.parametrize(
    "instead",
    [
        b'{"type":"ADDED","object":{"meta',
        b"<html>\n",
        b'{"type":"ERROR","object":{"code":500,"message":"etcdserver: request timed out"}}\n',
    ],
    ids=["half a line", "no event", "an error"],
)
async def test_watches_that_begin_and_tell_nothing_do_not_keep_alive_what_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead: bytes
) -> None:
    """Another pod may have its address by now."""
    monkeypatch.setattr(reflector, "FIRST_PAUSE", 0.01)
    cluster = Cluster(tmp_path)
    with cluster.api as api:
        api.put("pods", pod("a", "10.1.0.1"))
        async with watching(cluster) as watch:
            await until(lambda: api.watching == 2)
            api.instead_of_events = instead
            api.drop_watches()
            api.delete("pods", pod("a", "10.1.0.1"))
            await until(lambda: holder(watch, "10.1.0.1") is None)


async def test_an_object_that_cannot_be_read_harms_no_other(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster.api as api:
        broken = pod("broken", "10.1.0.1")
        broken["metadata"]["uid"] = ""
        api.put("pods", broken, pod("a", "10.1.0.2"))
        async with watching(cluster) as watch:
            assert (holder(watch, "10.1.0.1"), holder(watch, "10.1.0.2")) == (None, "payments/a")


async def test_an_event_that_cannot_be_read_does_not_stop_those_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def events(*_: object) -> AsyncGenerator[dict[str, Any], None]:
        yield {"type": "ADDED", "object": {"metadata": "nonsense"}}
        yield {"type": "ADDED", "object": pod("a", "10.1.0.2")}
        await asyncio.Event().wait()

    cluster = Cluster(tmp_path)
    monkeypatch.setattr(ApiClient, "watch", events)
    with cluster.api:
        async with watching(cluster) as watch:
            await until(lambda: holder(watch, "10.1.0.2") == "payments/a")


async def test_a_server_that_refuses_us_is_asked_again(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster.api as api:
        async with watching(cluster) as watch:
            await until(lambda: api.watching == 2)
            cluster.token_file.write_text("expired")
            api.drop_watches()
            api.put("pods", pod("a", "10.1.0.1"))
            cluster.token_file.write_text(api.token)
            await until(lambda: holder(watch, "10.1.0.1") == "payments/a")
