"""The API server is the one of the settings, else the one that a pod finds; pods are watched where that is wanted."""

from pathlib import Path

import pytest

from gateway.app.identity.cluster import Cluster, build_api_client, build_directory
from gateway.app.identity.pods import Pods
from gateway.settings.gateway import GatewaySettings
from gateway.settings.sections.identity import KubernetesSettings
from tests.kubernetes.cluster import Cluster as ApiCluster


async def test_the_server_is_made_when_it_is_asked_for_and_once(tmp_path: Path) -> None:
    with ApiCluster(tmp_path).api as api:
        settings = KubernetesSettings.model_validate(
            {"server": api.url, "ca": str(tmp_path / "test-ca.pem"), "token_file": str(tmp_path / "token")},
            context={"directory": tmp_path},
        )
        cluster = Cluster(settings)
        await cluster.close()
        assert (await cluster.api.get("/api/v1/pods"))["items"] == []
        assert cluster.api is cluster.api
        await cluster.close()


async def test_a_pod_needs_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    assert build_api_client(KubernetesSettings())._access.url == "https://10.96.0.1:6443"


def test_who_is_told_by_another_knows_nothing_before() -> None:
    directory = build_directory(KubernetesSettings())
    assert (directory.age, directory.stale_after) == (None, 300.0)


async def test_without_the_wish_nothing_is_watched_and_nothing_waited_for() -> None:
    pods = Pods(GatewaySettings())
    pods.start()
    await pods.first_list()
    await pods.stop()
    assert (pods.watching, pods.directory, pods.are_known, pods.age) == (None, None, True, None)


async def test_a_list_that_does_not_come_is_told_and_lets_the_start_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written = {"identity": {"kubernetes": True}, "kubernetes": {"server": "http://127.0.0.1:1", "first_list": "50ms"}}
    settings = GatewaySettings.model_validate(written, context={"directory": tmp_path})
    pods = Pods(settings)
    pods.start()
    await pods.first_list()
    assert not pods.are_known
    await pods.stop()
    assert "no list of pods within 0.05 s" in caplog.text
