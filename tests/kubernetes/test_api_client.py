"""The API server is asked over TLS that is verified, with the token of now, and what it says is bounded."""

import asyncio
from pathlib import Path

import pytest

from gateway.kubernetes import api_client
from gateway.kubernetes.api_client import Access, ApiClient, ApiError, Expired, access_from_inside
from tests.helpers.api_server import namespace
from tests.helpers.authority import TestAuthority
from tests.kubernetes.cluster import Cluster

PATH = "/api/v1/namespaces"


def test_a_pod_finds_the_server_in_its_environment() -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
    mounted = Path("/mounted")
    assert access_from_inside(environ, mounted) == Access(
        "https://10.0.0.1:6443", mounted / "ca.crt", mounted / "token"
    )
    assert access_from_inside({"KUBERNETES_SERVICE_HOST": "fd00::1"}).url == "https://[fd00::1]:443"
    assert access_from_inside({}).url == "https://kubernetes.default.svc:443"


async def test_the_token_is_read_anew_for_each_request(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster.api as api:
        asking = cluster.client()
        assert (await asking.get(PATH))["items"] == []
        api.token = "another"
        with pytest.raises(ApiError, match="Unauthorized"):
            await asking.get(PATH)
        cluster.token_file.write_text("another")
        await asking.get(PATH)
        await asking.close()


async def test_a_server_of_another_authority_is_not_believed_until_the_file_says_so(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    own = cluster.ca.read_text()
    (tmp_path / "other").mkdir()
    cluster.ca.write_text(TestAuthority(tmp_path / "other").bundle.read_text())
    with cluster.api:
        asking = cluster.client()
        with pytest.raises(ApiError, match="CERTIFICATE_VERIFY_FAILED"):
            await asking.get(PATH)
        fresh = tmp_path / "fresh"
        fresh.write_text(own)
        fresh.rename(cluster.ca)
        await asking.get(PATH)
        await asking.close()


async def test_what_cannot_be_asked_is_one_line(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster.api:
        access = cluster.access
    for broken in (access, Access(access.url, access.ca, tmp_path / "missing"), Access(access.url, tmp_path / "none")):
        asking = ApiClient(broken)
        with pytest.raises(ApiError) as caught:
            await asking.get(PATH)
        assert "\n" not in str(caught.value)
        await asking.close()


async def test_an_answer_beyond_the_bound_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "MAX_ANSWER", 1000)
    monkeypatch.setattr(api_client, "MAX_EVENT", 1000)
    cluster = Cluster(tmp_path)
    with cluster.api as api:
        api.put("namespaces", namespace("a", note="x" * 2000))
        asking = cluster.client()
        with pytest.raises(ApiError, match="more than 1000 bytes"):
            await asking.get(PATH)
        with pytest.raises(ApiError, match="more than 1000 bytes"):
            async for _ in asking.watch(PATH, {"resourceVersion": "100"}, 10.0):
                pass
        await asking.close()


async def test_a_version_that_is_forgotten_is_told_apart(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster.api as api:
        api.put("namespaces", namespace("a"), namespace("b"))
        asking = cluster.client()
        page = await asking.get(PATH, {"limit": "1"})
        api.forget()
        with pytest.raises(Expired):
            await asking.get(PATH, {"limit": "1", "continue": page["metadata"]["continue"]})
        with pytest.raises(Expired):
            async for _ in asking.watch(PATH, {"resourceVersion": "100"}, 10.0):
                pass
        await asking.close()


async def test_a_silent_watch_ends(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster.api:
        asking = cluster.client()
        async with asyncio.timeout(10):
            events = [event async for event in asking.watch(PATH, {"resourceVersion": "100"}, 0.2)]
        assert events == [{}]
        await asking.close()
