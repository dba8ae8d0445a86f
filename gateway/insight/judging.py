"""Judges recorded attempts by `decide` and `confirm`, as if they were made now under these rules."""

from collections.abc import Hashable
from dataclasses import replace
from typing import NamedTuple

from gateway.insight.attempts import Attempt, Occurrences
from gateway.model.addresses import Address, parse_address
from gateway.model.authority import Authority
from gateway.model.client import Client, IdentitySource
from gateway.model.decision import Deny, Permit
from gateway.model.intent import ClientHello, Door, Intent, Opening, Protocol
from gateway.model.names import parse_host_name
from gateway.model.reasons import Reason
from gateway.policy.confirm import confirm
from gateway.policy.decide import decide
from gateway.policy.index import Rules
from gateway.policy.rules import Mode, Policy

_DOORS = frozenset(Door)
_WHO = Attempt._fields.index("host")
"""The number of fields, at the beginning of an attempt, that say whose it is."""


class Verdict(NamedTuple):
    """`rule` is the full name of the rule that decides or refuses, "" for none; `reason` is that of a refusal."""

    allowed: bool
    rule: str
    reason: str = ""


class InvalidAttempt(Exception):
    """The record's client or host is invalid."""


def enforced(policy: Policy) -> Policy:
    """The same policy with report mode off everywhere."""
    return replace(
        policy,
        mode=Mode.ENFORCE,
        rules=tuple(replace(rule, mode=None) if rule.mode is not None else rule for rule in policy.rules),
        groups=tuple(replace(group, mode=None) if group.mode is not None else group for group in policy.groups),
    )


class Judge:
    """The verdicts of `rules` at the Unix time `now`. Clients in the same groups get the same verdict, so a million
    attempts by thousands of addresses are few questions."""

    def __init__(self, rules: Rules, now: float) -> None:
        self._rules = rules
        self._now = now
        self._verdicts: dict[Hashable, Verdict] = {}
        self._standings: dict[Hashable, tuple[frozenset[str], *tuple[Hashable, ...]]] = {}

    def judge(self, attempt: Attempt, tally: Occurrences) -> Verdict:
        """Judges the name asked for, the first bytes, and the addresses that the name had then: if all of these are
        refused now, so is the attempt. Raises `InvalidAttempt`."""
        asked = self._standing(attempt), attempt[_WHO:], tally.addresses
        verdict = self._verdicts.get(asked)
        if verdict is None:
            verdict = self._verdicts[asked] = self._judge(_client(attempt), attempt, tally)
        return verdict

    def groups_of(self, attempt: Attempt) -> frozenset[str]:
        """The policy's groups that the client is in, as far as records tell. Raises `InvalidAttempt`."""
        return self._standing(attempt)[0]

    def _standing(self, attempt: Attempt) -> tuple[frozenset[str], *tuple[Hashable, ...]]:
        """Everything about a client that `decide` and `confirm` depend on; its groups first."""
        who = attempt[:_WHO]
        standing = self._standings.get(who)
        if standing is None:
            client = _client(attempt)
            membership = self._rules.groups.membership_of(client)
            standing = self._standings[who] = (membership.names, membership.known, client.namespace, client.source)
        return standing

    def _judge(self, client: Client, attempt: Attempt, tally: Occurrences) -> Verdict:
        intent = _intent(attempt)
        decision = decide(client, intent, self._rules, self._now)
        if isinstance(decision, Deny):
            return _refused(decision)
        if (refusal := _refused_by_address(decision, tally)) is not None:
            return refusal
        opening = _opening(attempt)
        if opening is not None:
            verdict = confirm(decision, opening, client, intent, self._rules, self._now)
            if isinstance(verdict, Deny):
                return _refused(verdict)
        return Verdict(True, decision.rule.name)


def _refused(denial: Deny) -> Verdict:
    return Verdict(False, "" if denial.rule is None else denial.rule.name, denial.reason)


def _refused_by_address(permit: Permit, tally: Occurrences) -> Verdict | None:
    host = permit.authority.host
    candidates = {host} if isinstance(host, Address) else {parse_address(text) for text in tally.addresses}
    refusals = [permit.screen(address) for address in sorted(each for each in candidates if each is not None)]
    enforced_ones = [refusal for refusal in refusals if refusal is not None and refusal.enforced]
    if not refusals or len(enforced_ones) < len(refusals):
        return None
    rule = enforced_ones[0].rule
    return Verdict(False, permit.rule.name if rule is None else rule.name, Reason.ADDRESS_REFUSED)


def _client(attempt: Attempt) -> Client:
    address = parse_address(attempt.client_address)
    if address is None:
        raise InvalidAttempt(f"comes from {attempt.client_address!r}, which is no address")
    source = IdentitySource.ADDRESS
    if attempt.spiffe is not None:
        source = IdentitySource.MTLS
    elif attempt.user is not None:
        source = IdentitySource.BASIC
    elif attempt.namespace is not None:
        source = IdentitySource.KUBERNETES
    return Client(
        address,
        source,
        user=attempt.user,
        namespace=attempt.namespace,
        service_account=attempt.service_account,
        spiffe=attempt.spiffe,
    )


def _intent(attempt: Attempt) -> Intent:
    host = parse_address(attempt.host) or parse_host_name(attempt.host)
    if host is None or not 0 < attempt.port < 65536:
        raise InvalidAttempt(f"asks for {attempt.destination!r}, which is no destination")
    door = Door(attempt.door) if attempt.door in _DOORS else Door.CONNECT
    protocol = Protocol.HTTP if door is Door.ABSOLUTE_FORM else None
    original = None if attempt.original_address is None else parse_address(attempt.original_address)
    return Intent(door, Authority(host, attempt.port), protocol, original)


def _opening(attempt: Attempt) -> Opening | None:
    """None if the first bytes were not looked at, or the format does not tell them."""
    if attempt.door == Door.ABSOLUTE_FORM or attempt.protocol not in (Protocol.TLS, Protocol.HTTP, Protocol.TCP):
        return None
    if attempt.protocol != Protocol.TLS:
        return Opening(Protocol(attempt.protocol))
    name = None if attempt.sni is None else parse_host_name(attempt.sni)
    return Opening(Protocol.TLS, ClientHello(name, (), (), False, ""))
