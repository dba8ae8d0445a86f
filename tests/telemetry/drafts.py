"""Drafts as `serve` leaves them, and a clock that stands still until told."""

from gateway.model.addresses import Address, parse_address
from gateway.model.authority import parse_authority
from gateway.model.client import Client, IdentitySource
from gateway.model.decision import AddressRefusal, Deny, Permit, RuleRef, Terms
from gateway.model.intent import ClientHello, Door, Intent, Opening, Protocol
from gateway.model.names import HostName
from gateway.model.reasons import Reason
from gateway.model.record import Dialled, Draft, Ended, ExchangeDraft, Side, Transfer

RULE = RuleRef("policy.yaml#stripe", "policy.yaml", 12)
DENY_RULE = RuleRef("policy.yaml#no-range", "policy.yaml", 30)
HELLO = ClientHello(
    HostName("api.stripe.com"), ("h2", "http/1.1"), (0x0304, 0x0303), False, "t13d1516h2_8daaf6152771_e5627efa2ab1"
)

CERTIFIED = Client(
    Address(4, 0x0A000001),
    IdentitySource.MTLS,
    user="ci",
    namespace="pay",
    service_account="api",
    pod="api-1",
    workload="Deployment/api",
    spiffe="spiffe://cluster.local/ns/pay/sa/api",
    certificate="api\x1b.test",
    doubt="stale",
)
"""Of whom all is known that can be."""


class StillClock:
    """Fulfils `roles.Clock`; tests set `now`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_800_000_000.0 + self.now


def address(text: str) -> Address:
    found = parse_address(text)
    assert found is not None
    return found


def accepted(connection_id: str = "c-1") -> Draft:
    """Nothing is known but the peer."""
    return Draft(
        connection_id=connection_id,
        listener="proxy",
        peer=(address("10.0.0.1"), 40000),
        started_at=1000.0,
        started_time=1_800_000_000.1239,
    )


def asked(connection_id: str = "c-1", authority: str = "api.stripe.com:443") -> Draft:
    """Identified, with an intent."""
    draft = accepted(connection_id)
    target = parse_authority(authority)
    assert target is not None
    draft.generation = 7
    draft.client = Client(draft.peer[0], IdentitySource.BASIC, user="ci")
    draft.intent = Intent(Door.CONNECT, target)
    return draft


def permit_of(draft: Draft, rule: RuleRef = RULE) -> Permit:
    assert draft.intent is not None
    return Permit(
        draft.intent.authority, rule, Terms(Protocol.TLS), screen=lambda _: None, generation=7, groups=("payments",)
    )


def denied(connection_id: str = "c-1", reason: Reason = Reason.NO_RULE, rule: RuleRef | None = None) -> Draft:
    draft = asked(connection_id)
    draft.decision = Deny(reason, 7, rule, detail="no rule has this host")
    draft.status, draft.reason = 403, reason
    draft.transfer = Transfer(ended=Ended.REFUSED, ended_by=Side.GATEWAY)
    return draft


def tunnelled(connection_id: str = "c-1", rule: RuleRef = RULE) -> Draft:
    """All went well."""
    draft = asked(connection_id)
    draft.decision = permit_of(draft, rule)
    draft.dialled = dialled()
    draft.status = 200
    draft.opening = Opening(Protocol.TLS, HELLO)
    draft.transfer = Transfer(517, 4096, 1000.05, Ended.CLOSED, Side.DOWNSTREAM)
    return draft


def dialled(*refused: AddressRefusal) -> Dialled:
    reached = address("203.0.113.5")
    resolved = (reached, *(refusal.address for refusal in refused))
    return Dialled(reached, resolved, refused, resolve_seconds=0.0012, dial_seconds=0.0234)


def exchanged(path: str = "/v1/charges") -> ExchangeDraft:
    """All went well."""
    connection = asked("c-1", "api.stripe.com:80")
    return ExchangeDraft(
        connection,
        number=3,
        started_at=1000.0,
        started_time=1_800_000_000.1239,
        method="POST",
        path=path,
        generation=7,
        client=connection.client,
        intent=connection.intent,
        decision=permit_of(connection),
        dialled=dialled(),
        status=201,
        transfer=Transfer(517, 4096, 1000.05, Ended.CLOSED, Side.UPSTREAM),
    )
