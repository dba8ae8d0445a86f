"""Kubernetes workloads as a source of identity: the pod that has the client's address. It also completes an identity
that another source proved.

A client that should be a known pod and is not stays anonymous: at an address that several pods share, at a node's, at
one of the cluster's networks that no pod has, and at any address while the state is too old.
"""

from collections.abc import Sequence

from gateway.kubernetes.directory import Directory, Doubt
from gateway.kubernetes.pods import Pod
from gateway.model.addresses import Address, Network
from gateway.model.client import Certificate, Client, IdentitySource
from gateway.model.roles import HeaderFields


class Workloads:
    """Fulfils `identify.CredentialSource`. Every address in `cidrs` is a pod's or a service's."""

    asks = None

    def __init__(self, directory: Directory, cidrs: Sequence[Network] = ()) -> None:
        self._directory = directory
        self._cidrs = tuple(cidrs)

    async def identify(self, address: Address, head: HeaderFields, certificate: Certificate | None) -> Client | None:
        """See `CredentialSource`. An address about which there is doubt passes on: credentials may settle it."""
        holder = self._directory.holder(address)
        return self._as_pod(address, holder) if isinstance(holder, Pod) else None

    def by_address(self, address: Address) -> Client:
        """The client without credentials."""
        holder = self._holder(address)
        if isinstance(holder, Pod):
            return self._as_pod(address, holder)
        return Client(address) if holder is None else Client(address, known=False, doubt=holder)

    def complete(self, client: Client) -> Client:
        """Add what the address tells, or why it tells nothing. A token's namespace stands: a pod at the address that is
        not the token's adds nothing to it."""
        holder = self._holder(client.address)
        if isinstance(holder, Doubt):
            client = client._replace(doubt=holder)
        elif holder is not None and (client.namespace is None or _is_of(holder, client)):
            return self._with_pod(client, holder)
        if client.namespace is None:
            return client
        doubt, labels = client.doubt or Doubt.ELSEWHERE, self._directory.labels_of(client.namespace)
        return client._replace(doubt=doubt, namespace_labels=labels)

    def _holder(self, address: Address) -> Pod | Doubt | None:
        """As `Directory.holder`, and a doubt about an address of the cluster that no pod has."""
        holder = self._directory.holder(address)
        if holder is None and any(address in network for network in self._cidrs):
            return Doubt.NO_POD
        return holder

    def _as_pod(self, address: Address, pod: Pod) -> Client:
        return self._with_pod(Client(address, IdentitySource.KUBERNETES), pod)

    def _with_pod(self, client: Client, pod: Pod) -> Client:
        of_namespace = self._directory.labels_of(pod.namespace)
        return client._replace(
            namespace=pod.namespace,
            service_account=pod.service_account,
            pod=pod.name,
            labels=pod.labels,
            workload=pod.workload,
            namespace_labels=of_namespace,
            doubt=client.doubt if of_namespace is not None else Doubt.STALE,  # namespaces are watched apart from pods
        )


def _is_of(pod: Pod, client: Client) -> bool:
    same_account = (pod.namespace, pod.service_account) == (client.namespace, client.service_account)
    return same_account and client.pod in (None, pod.name)
