"""Which pod has an address now. No I/O and no clock of its own.

An address that cannot be attributed for certain has no pod: one that two running pods have, a node's address that pods
share with the node, any address while the state is too old. The answer then says why, and is never a guess.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from gateway.kubernetes.pods import Pod
from gateway.model.addresses import Address


class Doubt(StrEnum):
    """Why the pod at an address is unknown; stands in the record as `identity_doubt`."""

    AMBIGUOUS = "ambiguous"  # several pods have the address
    HOST_NETWORK = "host_network"  # the node's own, or that of a pod in its node's network
    NO_POD = "no_pod"  # an address of the cluster that no pod has
    STALE = "stale"  # the API server was heard too long ago
    ELSEWHERE = "elsewhere"  # a token's pod is not the one at the address


class Put(NamedTuple):
    """A pod as it is now."""

    pod: Pod


class Drop(NamedTuple):
    """A pod that is gone, by its uid."""

    uid: str


class Labelled(NamedTuple):
    """A namespace with its labels; None: it is gone."""

    namespace: str
    labels: Mapping[str, str] | None


class Heard(NamedTuple):
    """The API server confirmed the state at this monotonic instant."""

    at: float


class Reset(NamedTuple):
    """Everything before is void; the whole state follows, up to the next `Heard`."""


Change = Put | Drop | Labelled | Heard | Reset

_Labels = tuple[tuple[str, str], ...]


class Directory:
    """Pods by address. `now` gives monotonic seconds. `stale_after` seconds after the last `Heard` there are no answers
    any more."""

    def __init__(self, now: Callable[[], float], stale_after: float = 300.0) -> None:
        self._now = now
        self.stale_after = stale_after
        self._heard_at: float | None = None
        self._pods: dict[str, Pod] = {}
        self._by_address: dict[Address, tuple[str, ...]] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._shared: dict[_Labels, Mapping[str, str]] = {}

    def __len__(self) -> int:
        return len(self._pods)

    @property
    def age(self) -> float | None:
        """Seconds since the API server confirmed the state; None before it was complete for the first time."""
        return None if self._heard_at is None else self._now() - self._heard_at

    @property
    def is_stale(self) -> bool:
        """Whether the state is too old, or too incomplete, to answer from."""
        return self._heard_at is None or self._now() - self._heard_at > self.stale_after

    def holder(self, address: Address) -> Pod | Doubt | None:
        """The pod with this address, or why that is unknown; None: no pod has it."""
        if self.is_stale:
            return Doubt.STALE
        uids = self._by_address.get(address)
        if uids is None:
            return None
        pod = self._pods[uids[0]]
        if len(uids) == 1:
            return Doubt.HOST_NETWORK if pod.on_host else pod
        return _one_of([self._pods[uid] for uid in uids])

    def labels_of(self, namespace: str) -> Mapping[str, str] | None:
        """Of the namespace; None if it is not known, or no longer for certain."""
        return None if self.is_stale else self._namespaces.get(namespace)

    def apply(self, change: Change) -> None:
        """One change, in the order in which they came."""
        match change:
            case Put(pod):
                self._take_out(pod.uid)
                self._put(pod)
            case Drop(uid):
                self._take_out(uid)
            case Labelled(namespace, None):
                self._namespaces.pop(namespace, None)
            case Labelled(namespace, labels) if labels is not None:
                self._namespaces[namespace] = labels
            case Heard(at):
                self._heard_at = at
            case Reset():
                self._pods.clear()
                self._by_address.clear()
                self._namespaces.clear()
                self._shared.clear()
                self._heard_at = None

    def changes(self) -> Iterator[Change]:
        """The whole current state as changes that make it anew."""
        yield Reset()
        yield from (Labelled(namespace, labels) for namespace, labels in self._namespaces.items())
        yield from map(Put, self._pods.values())
        if self._heard_at is not None:
            yield Heard(self._heard_at)

    def uids(self) -> set[str]:
        """The uids of the pods that are known."""
        return set(self._pods)

    def namespaces(self) -> set[str]:
        """The names of the namespaces that are known."""
        return set(self._namespaces)

    def _put(self, pod: Pod) -> None:
        self._pods[pod.uid] = pod._replace(labels=self._share(pod.labels))
        for address in pod.addresses:
            self._by_address[address] = (*self._by_address.get(address, ()), pod.uid)

    def _take_out(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        for address in pod.addresses if pod is not None else ():
            left = tuple(other for other in self._by_address[address] if other != uid)
            if left:
                self._by_address[address] = left
            else:
                del self._by_address[address]

    def _share(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Replicas have the same labels and share one mapping. When there are too many mappings all are forgotten, the
        unused ones with the rest."""
        if len(self._shared) > 2 * len(self._pods) + 1000:
            self._shared.clear()
        return self._shared.setdefault(tuple(sorted(labels.items())), labels)


def _one_of(pods: list[Pod]) -> Pod | Doubt:
    """The holder, of several pods that claim an address. It is given to another pod only after the former one's network
    is gone: so the holder is the only one that is not leaving, if it started after all the others."""
    if any(pod.on_host for pod in pods):
        return Doubt.HOST_NETWORK
    staying = [pod for pod in pods if not pod.leaving]
    if len(staying) != 1 or not staying[0].started:
        return Doubt.AMBIGUOUS
    holder = staying[0]
    return holder if all(pod is holder or pod.started < holder.started for pod in pods) else Doubt.AMBIGUOUS
