"""Of an object of the API we take what we need, and nothing that only looks like it."""

from typing import Any

import pytest

from gateway.kubernetes.pods import Pod, read_namespace, read_pod, uid_of
from gateway.model.addresses import Address, parse_address
from tests.helpers import api_server
from tests.helpers.api_server import pod


def address(text: str) -> Address:
    parsed = parse_address(text)
    assert parsed is not None
    return parsed


def read(item: dict[str, Any]) -> Pod:
    found = read_pod(item)
    assert found is not None
    return found


def test_a_pod_of_two_families_is_read() -> None:
    labels = {"app": "api", "pod-template-hash": "6d4cf56db6"}
    owner = ("ReplicaSet", "api-6d4cf56db6")
    found = read(pod("api-6d4cf56db6-x2v9k", "10.1.0.7", "fd00::7", labels=labels, owner=owner))
    assert found == Pod(
        uid="uid-payments-api-6d4cf56db6-x2v9k",
        namespace="payments",
        name="api-6d4cf56db6-x2v9k",
        service_account="api",
        workload="Deployment/api",
        labels=labels,
        addresses=(address("10.1.0.7"), address("fd00::7")),
        started="2027-01-15T08:00:00Z",
    )


@pytest.mark.parametrize(
    ("owner", "hashed", "workload"),
    [
        (("ReplicaSet", "api-6d4cf56db6"), "6d4cf56db6", "Deployment/api"),
        (("ReplicaSet", "web-api-6d4cf56db6"), None, "Deployment/web-api"),
        (("ReplicaSet", "by-hand"), None, "ReplicaSet/by-hand"),
        (("ReplicaSet", "api-6d4cf56db6"), "7777777777", "ReplicaSet/api-6d4cf56db6"),
        (("StatefulSet", "db"), None, "StatefulSet/db"),
        (("DaemonSet", "agent"), None, "DaemonSet/agent"),
        (("Job", "migrate"), None, "Job/migrate"),
        (("Job", "report-29123456"), None, "CronJob/report"),
        (("Rollout", "canary"), None, "Rollout/canary"),
        (None, None, "Pod/one"),
    ],
)
def test_the_workload_is_what_people_wrote(owner: tuple[str, str] | None, hashed: str | None, workload: str) -> None:
    labels = {} if hashed is None else {"pod-template-hash": hashed}
    assert read(pod("one", "10.1.0.7", owner=owner, labels=labels)).workload == workload


def test_an_owner_that_does_not_control_is_none() -> None:
    item = pod("one", "10.1.0.7")
    item["metadata"]["ownerReferences"] = [{"kind": "Application", "name": "x", "controller": False}, "nonsense"]
    assert read(item).workload == "Pod/one"


@pytest.mark.parametrize("owner", [("\x1b[2J", "api"), ("Job", "a\nb"), ("Job", "x" * 300), ("K" * 99, "x"), ("", "x")])
def test_an_owner_that_can_be_none_is_none(owner: tuple[str, str]) -> None:
    """The API takes any text, and it would stand in every record of the pod."""
    assert read(pod("one", "10.1.0.7", owner=owner)).workload == "Pod/one"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_has_no_address_any_more(phase: str) -> None:
    assert read_pod(pod("one", "10.1.0.7", phase=phase)) is None


def test_a_phase_that_is_no_text_is_none() -> None:
    item = pod("one", "10.1.0.7")
    item["status"]["phase"] = {}
    assert read_pod(item) is not None


def test_a_pod_without_an_address_opens_no_connection() -> None:
    assert read_pod(pod("one")) is None
    assert read_pod(pod("one", "nonsense")) is None


def test_a_server_that_tells_no_list_of_addresses_tells_one() -> None:
    item = pod("one", "::ffff:10.1.0.7")
    del item["status"]["podIPs"]
    assert read(item).addresses == (address("10.1.0.7"),)


def test_a_pod_on_its_way_out_and_one_in_its_nodes_network_are_marked() -> None:
    assert read(pod("one", "10.1.0.7", leaving=True)).leaving
    assert read(pod("one", "192.0.2.1", on_host=True)).on_host


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"metadata": None},
        {"metadata": {"uid": "u"}},
        {"metadata": {"uid": "u", "name": "n", "namespace": 7}},
        {"metadata": {"name": "n", "namespace": "x"}},
    ],
)
def test_what_is_no_pod_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="without"):
        read_pod(item)


def test_nonsense_in_its_parts_is_left_out() -> None:
    item: dict[str, Any] = {
        "metadata": {"uid": "u", "name": "n", "namespace": "x", "labels": {"a": 1, "b": "2"}, "ownerReferences": {}},
        "spec": [],
        "status": {"podIPs": [{"ip": 7}, "x", {"ip": "10.1.0.7"}], "startTime": 7, "phase": ["Failed"]},
    }
    found = read(item)
    assert (found.labels, found.service_account, found.started) == ({"b": "2"}, "default", "")


def test_a_namespace_is_a_name_with_labels() -> None:
    assert read_namespace(api_server.namespace("payments", team="a")) == ("payments", {"team": "a"})
    with pytest.raises(ValueError, match="without a name"):
        read_namespace({"metadata": {}})
    with pytest.raises(ValueError, match="without a uid"):
        uid_of({"metadata": {"uid": 5}})
