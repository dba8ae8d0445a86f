"""Who is asking, and how we know."""

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


class Client(NamedTuple):
    """A workload. Facts come from the winning source and from the address; what is not known is None.

    `known=False`: its identity should be known and is not. Such a client matches no allow that names clients and
    every deny that does, counts as excepted from every allow with `except.clients` and from no deny.
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
    known: bool = True
