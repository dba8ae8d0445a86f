"""Permits as `decide` gives them, under terms that a test wants."""

from gateway.model.addresses import parse_address
from gateway.model.authority import parse_authority
from gateway.model.client import Client
from gateway.model.decision import Permit, RuleRef, Terms
from gateway.model.intent import Door, Intent
from gateway.policy.decide import decide
from gateway.policy.index import build_rules
from gateway.policy.rules import Group, HostPattern, Policy, Reach, Rule


def client_at(text: str = "10.0.0.1", user: str | None = None) -> Client:
    """With an address, and a user if there is one."""
    address = parse_address(text)
    assert address is not None
    return Client(address, user=user)


def permit_under(
    terms: Terms, client: Client | None = None, groups: tuple[Group, ...] = (), clients: tuple[str, ...] = ()
) -> Permit:
    """For api.example.com, by the rule `p#r`, which names the groups in `clients`."""
    authority = parse_authority("api.example.com:443", 443)
    assert authority is not None
    hosts = (HostPattern("api.example.com", Reach.EXACT),)
    rules = build_rules(Policy((Rule(RuleRef("p#r", "p", 1), terms, hosts=hosts, clients=clients),), groups), 1)
    decision = decide(client or client_at(), Intent(Door.CONNECT, authority), rules, 0.0)
    assert isinstance(decision, Permit)
    return decision
