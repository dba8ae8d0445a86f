"""Reads from an object of the API, about ten kilobytes for a pod, the few facts that we need.

Fields as in the reference of Kubernetes, v1 Pod: metadata `uid name namespace labels ownerReferences
deletionTimestamp`, spec `serviceAccountName hostNetwork`, status `phase podIPs podIP startTime`.
"""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from gateway.model.addresses import Address, parse_address

MAX_LABELS = 256
"""More than any object reasonably has; further ones are ignored."""

_FINISHED = frozenset({"Succeeded", "Failed"})
# Names that controllers make: <Deployment>-<hash> for a ReplicaSet, <CronJob>-<minutes since 1970> for a Job.
_HASH = re.compile(r"(.+)-[bcdfghjklmnpqrstvwxz2456789]{1,10}", re.ASCII)
_SCHEDULED = re.compile(r"(.+)-[0-9]{8,11}", re.ASCII)
# Whoever makes a pod may name any owner, of any length: what cannot be the name of one is ignored.
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}", re.ASCII)
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?", re.ASCII)


class Pod(NamedTuple):
    """One pod that runs or is about to. `started` is RFC 3339 in UTC to the second, as the API writes it, so that two
    compare as text; empty before it is scheduled. `leaving`: it is being deleted. `on_host`: its address is its node's.
    """

    uid: str
    namespace: str
    name: str
    service_account: str
    workload: str
    labels: Mapping[str, str]
    addresses: tuple[Address, ...]
    started: str
    leaving: bool = False
    on_host: bool = False


def read_pod(item: Mapping[str, Any]) -> Pod | None:
    """A pod that may open connections; None for one that has ended or has no address. Raises `ValueError` for what is
    not a pod."""
    metadata, spec, status = (_mapping(item.get(part)) for part in ("metadata", "spec", "status"))
    uid, namespace, name = uid_of(item), _text(metadata.get("namespace")), _text(metadata.get("name"))
    if not namespace or not name:
        raise ValueError("a pod without a name")
    addresses = _addresses(status)
    if _text(status.get("phase")) in _FINISHED or not addresses:
        return None
    labels = _labels(metadata)
    return Pod(
        uid=uid,
        namespace=namespace,
        name=name,
        service_account=_text(spec.get("serviceAccountName")) or "default",
        workload=_workload(metadata, name, labels),
        labels=labels,
        addresses=addresses,
        started=_text(status.get("startTime")),
        leaving="deletionTimestamp" in metadata,
        on_host=spec.get("hostNetwork") is True,
    )


def read_namespace(item: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
    """A namespace's name and labels. Raises `ValueError` for what is not a namespace."""
    metadata = _mapping(item.get("metadata"))
    name = _text(metadata.get("name"))
    if not name:
        raise ValueError("a namespace without a name")
    return name, _labels(metadata)


def uid_of(item: Mapping[str, Any]) -> str:
    """The uid of any object. Raises `ValueError` if it has none."""
    uid = _text(_mapping(item.get("metadata")).get("uid"))
    if not uid:
        raise ValueError("an object without a uid")
    return uid


def _addresses(status: Mapping[str, Any]) -> tuple[Address, ...]:
    """Of both families; the single `podIP` is for servers that send no list."""
    listed = status.get("podIPs")
    texts = [_text(_mapping(each).get("ip")) for each in listed] if isinstance(listed, list) else []
    parsed = (parse_address(text) for text in texts or [_text(status.get("podIP"))])
    return tuple(dict.fromkeys(address for address in parsed if address is not None))


def _workload(metadata: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> str:
    """`Kind/name` of the workload that the pod belongs to: a Deployment behind its ReplicaSet, a CronJob behind its
    Job, else its controller, else itself."""
    owners = metadata.get("ownerReferences")
    for owner in map(_mapping, owners if isinstance(owners, list) else []):
        kind, owner_name = _text(owner.get("kind")), _text(owner.get("name"))
        if owner.get("controller") is not True or not (_KIND.fullmatch(kind) and _NAME.fullmatch(owner_name)):
            continue
        if kind == "ReplicaSet" and (found := _deployment(owner_name, labels)):
            return f"Deployment/{found}"
        if kind == "Job" and (match := _SCHEDULED.fullmatch(owner_name)):
            return f"CronJob/{match[1]}"
        return f"{kind}/{owner_name}"
    return f"Pod/{name}"


def _deployment(replica_set: str, labels: Mapping[str, str]) -> str | None:
    """Of a ReplicaSet: a Deployment ends its name with the hash of the pod template, also a label of the pod."""
    hashed = labels.get("pod-template-hash")
    if hashed:
        return replica_set.removesuffix(f"-{hashed}") if replica_set.endswith(f"-{hashed}") else None
    match = _HASH.fullmatch(replica_set)
    return match[1] if match and len(replica_set) - len(match[1]) > 8 else None


def _labels(metadata: Mapping[str, Any]) -> Mapping[str, str]:
    first = islice(_mapping(metadata.get("labels")).items(), MAX_LABELS)
    return {key: value for key, value in first if isinstance(value, str)}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
