"""Who the client is, and how we know."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from gateway.model.addresses import Address


class IdentitySource(StrEnum):
    """What identified the client; the values of `identity.sources`."""

    MTLS = "mtls"
    TOKEN = "token"
    BASIC = "basic"
    KUBERNETES = "kubernetes"
    ADDRESS = "address"


class Certificate(NamedTuple):
    """A verified client certificate. `subject` is `key=value,...` in its order."""

    subject: str
    common_name: str | None = None
    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


class Client(NamedTuple):
    """A workload. Facts come from the winning source and from the address; what is not known is None. `certificate` is
    the name that its certificate shows: the first DNS name, else the common name, else the subject.

    `known=False`: its identity should be known and is not. Such a client matches no allow that names clients and every
    deny that does; it counts as excepted from every allow with `except.clients`, and from no deny. `doubt` says in a
    word why. For a client that is known by its credentials it says why its pod is not; then the same holds for groups
    that ask for what only the pod would tell.
    """

    address: Address
    source: IdentitySource = IdentitySource.ADDRESS
    user: str | None = None
    namespace: str | None = None
    service_account: str | None = None
    pod: str | None = None
    labels: Mapping[str, str] | None = None
    workload: str | None = None
    spiffe: str | None = None
    certificate: str | None = None
    known: bool = True
    doubt: str | None = None
    namespace_labels: Mapping[str, str] | None = None


class TraceParent(NamedTuple):
    """The client's span, of whose trace a connection or a request is a part (W3C Trace Context): numbers of 128 and of
    64 bits, neither of them 0. `sampled`: the client records it."""

    trace_id: int
    span_id: int
    sampled: bool
