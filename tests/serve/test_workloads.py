"""A pod's address says who it is; what is in doubt says nothing; a token's word stands."""

import pytest

from gateway.kubernetes.directory import Directory, Doubt, Heard, Labelled, Put
from gateway.kubernetes.pods import Pod
from gateway.model.addresses import Address, parse_network
from gateway.model.client import Certificate, Client, IdentitySource
from gateway.model.roles import HeaderFields
from gateway.policy.groups import GroupIndex
from gateway.policy.rules import Group, Match, Mode
from gateway.serve.identify import Identifier
from gateway.serve.workloads import Workloads
from gateway.wire.head import RequestHead

HERE, NODE, FREE, OUTSIDE = (Address(4, value) for value in (0x0A010007, 0x0A010008, 0x0A010009, 0xC0000201))
POD = Pod("u", "payments", "api-1", "api", "Deployment/api", {"app": "api"}, (HERE,), "2027-01-15T08:00:00Z")
HEAD = RequestHead("CONNECT", "x.test:443", 1, (), 0)
AS_POD = Client(
    HERE,
    IdentitySource.KUBERNETES,
    namespace="payments",
    service_account="api",
    pod="api-1",
    labels={"app": "api"},
    workload="Deployment/api",
    namespace_labels={"team": "a"},
)


class Bed:
    def __init__(self) -> None:
        self.now = 0.0
        directory = Directory(lambda: self.now)
        for change in (Put(POD), Put(POD._replace(uid="n", addresses=(NODE,), on_host=True)), Heard(0.0)):
            directory.apply(change)
        directory.apply(Labelled("payments", {"team": "a"}))
        networks = parse_network("10.1.0.0/16"), parse_network("10.2.0.0/16")
        self.workloads = Workloads(directory, [network for network in networks if network is not None])


@pytest.fixture
def bed() -> Bed:
    return Bed()


async def test_the_pod_at_the_address_is_who_asks(bed: Bed) -> None:
    assert await bed.workloads.identify(HERE, HEAD, None) == bed.workloads.by_address(HERE) == AS_POD


@pytest.mark.parametrize(("address", "doubt"), [(NODE, Doubt.HOST_NETWORK), (FREE, Doubt.NO_POD)])
async def test_a_doubt_passes_on_and_makes_nobody_of_the_address(bed: Bed, address: Address, doubt: Doubt) -> None:
    assert await bed.workloads.identify(address, HEAD, None) is None
    assert bed.workloads.by_address(address) == Client(address, known=False, doubt=doubt)


async def test_outside_of_the_cluster_an_address_is_an_address_until_the_state_is_too_old(bed: Bed) -> None:
    assert bed.workloads.by_address(OUTSIDE) == Client(OUTSIDE)
    bed.now = 301.0
    for address in (OUTSIDE, HERE):
        assert bed.workloads.by_address(address) == Client(address, known=False, doubt=Doubt.STALE)


async def test_of_a_namespace_that_was_not_heard_of_the_labels_are_in_doubt(bed: Bed) -> None:
    """Pods and namespaces are watched apart, and one watch may fail alone: a deny for labels of namespaces holds."""
    bed.workloads._directory.apply(Labelled("payments", None))
    client = bed.workloads.by_address(HERE)
    assert client == await bed.workloads.identify(HERE, HEAD, None)
    assert client == AS_POD._replace(namespace_labels=None, doubt=Doubt.STALE)
    groups = GroupIndex([Group("quarantined", (Match(namespace_labels=(("tier", "quarantine"),)),))], Mode.ENFORCE)
    assert groups.membership_of(client).doubted == {"quarantined"}


async def test_a_user_is_known_by_the_pod_as_well(bed: Bed) -> None:
    user = Client(HERE, IdentitySource.BASIC, user="ci")
    assert bed.workloads.complete(user) == AS_POD._replace(source=IdentitySource.BASIC, user="ci")
    at_node = Client(NODE, IdentitySource.BASIC, user="ci")
    assert bed.workloads.complete(at_node) == at_node._replace(doubt=Doubt.HOST_NETWORK)
    bed.now = 301.0
    assert bed.workloads.complete(user) == user._replace(doubt=Doubt.STALE)


@pytest.mark.parametrize(
    ("claimed", "pod", "is_the_same"),
    [
        (("payments", "api"), "api-1", True),
        (("payments", "api"), None, True),
        (("payments", "api"), "api-2", False),
        (("payments", "admin"), None, False),
        (("shop", "api"), None, False),
    ],
)
async def test_a_tokens_word_stands_and_only_its_own_pod_adds_to_it(
    bed: Bed, claimed: tuple[str, str], pod: str | None, is_the_same: bool
) -> None:
    token = Client(HERE, IdentitySource.TOKEN, namespace=claimed[0], service_account=claimed[1], pod=pod)
    found = bed.workloads.complete(token)
    if is_the_same:
        assert found == AS_POD._replace(source=IdentitySource.TOKEN)
    else:
        team = {"team": "a"} if claimed[0] == "payments" else None
        assert found == token._replace(namespace_labels=team, doubt=Doubt.ELSEWHERE)


class Showing:
    """Fulfils `CredentialSource`: everybody shows the same."""

    asks = None

    def __init__(self, shown: Client) -> None:
        self._shown = shown

    async def identify(self, address: Address, head: HeaderFields, certificate: Certificate | None) -> Client | None:
        return self._shown._replace(address=address)


async def test_who_showed_credentials_is_completed_and_not_taken_for_the_pod(bed: Bed) -> None:
    user = Client(HERE, IdentitySource.BASIC, user="ci")
    identifier = Identifier([Showing(user)], workloads=bed.workloads)
    assert await identifier.identify(HERE, HEAD, None) == bed.workloads.complete(user)
    token = Client(FREE, IdentitySource.TOKEN, namespace="payments", service_account="api")
    found = await Identifier([Showing(token)], workloads=bed.workloads).identify(FREE, HEAD, None)
    assert found == token._replace(namespace_labels={"team": "a"}, doubt=Doubt.NO_POD)


async def test_the_identifier_asks_them_last_and_a_captured_connection_only_them(bed: Bed) -> None:
    identifier = Identifier(workloads=bed.workloads)
    assert await identifier.identify(HERE, HEAD, None) == identifier.by_address(HERE) == AS_POD
    assert not (await identifier.identify(NODE, HEAD, None)).known
