"""Whether what a client sends in its tunnel is what it was permitted: its first bytes, and the name in its ClientHello.
The name in the request was judged by `decide`; any other name is judged here, by the same rules."""

from gateway.model.addresses import Address
from gateway.model.authority import Authority, Host
from gateway.model.client import Client
from gateway.model.decision import Deny, EchRule, Permit, RuleRef, SniRule, WouldDeny
from gateway.model.intent import Intent, Opening, Protocol
from gateway.model.names import HostName
from gateway.model.reasons import Reason
from gateway.policy.candidates import Question
from gateway.policy.decide import Verdict, judge, namespace_of
from gateway.policy.index import REPORT_ONLY, Rules

_SPOKEN = {
    Protocol.TLS: (Protocol.TLS,),
    Protocol.HTTP: (Protocol.HTTP,),
    Protocol.AUTO: (Protocol.TLS, Protocol.HTTP),
}


def confirm(
    permit: Permit, opening: Opening, client: Client, intent: Intent, rules: Rules, now: float
) -> Deny | WouldDeny | None:
    """None: confirmed. `WouldDeny`: goes on, to be recorded. `now` is Unix time in seconds."""
    terms, hello = permit.terms, opening.hello
    if terms.protocol is Protocol.TCP:
        return None
    if hello is not None and hello.ech and terms.ech is EchRule.DENY:
        return Deny(Reason.ECH_DENIED, permit.generation, permit.rule, permit.groups)
    protocol = _confirm_protocol(permit, opening.protocol)
    if hello is None or isinstance(protocol, Deny):
        return protocol
    name = confirm_name(permit, hello.server_name, client, intent, rules, now)
    return name if isinstance(name, Deny) else protocol or name


def confirm_name(
    permit: Permit, name: HostName | None, client: Client, intent: Intent, rules: Rules, now: float
) -> Deny | WouldDeny | None:
    """Judge the name in the ClientHello, None if there is none."""
    host, sni = intent.authority.host, permit.terms.sni
    literal = isinstance(host, Address)
    if name == host:
        return None
    if name is None:
        return None if literal or sni is SniRule.ANY else _refuse(permit, Reason.SNI_MISSING)
    verdict = _judge_other(name, client, intent, rules, now)
    agrees = literal or _agrees(permit, verdict)
    return _verdict_of_other(permit, verdict, agrees, f"server name {name}", Reason.SNI_MISMATCH, Reason.SNI_DENIED)


def confirm_host(
    permit: Permit, authority: Authority, client: Client, intent: Intent, rules: Rules, now: float
) -> Deny | WouldDeny | None:
    """Judge the authority that a request inside the tunnel names, as `sni` says; the port is always compared. In a
    tunnel to a literal another host is only checked against deny rules, as with the name in TLS."""
    if authority == intent.authority:
        return None
    detail = f"Host {authority}"
    if authority.port != intent.authority.port:
        return _refuse(permit, Reason.HOST_MISMATCH, detail)
    verdict = _judge_other(authority.host, client, intent, rules, now)
    agrees = isinstance(intent.authority.host, Address) or _agrees(permit, verdict)
    return _verdict_of_other(permit, verdict, agrees, detail, Reason.HOST_MISMATCH, Reason.HOST_DENIED)


def _judge_other(host: Host, client: Client, intent: Intent, rules: Rules, now: float) -> Verdict:
    """The verdict of the rules on another host at the same port."""
    membership = rules.groups.membership_of(client)
    return judge(Question(membership, namespace_of(client), host, intent.authority.port, now), rules)


def _verdict_of_other(
    permit: Permit, verdict: Verdict, agrees: bool, detail: str, mismatch: Reason, denied: Reason
) -> Deny | WouldDeny | None:
    if verdict.deny is not None:
        return Deny(denied, permit.generation, verdict.deny.ref, permit.groups, detail=detail)
    refusal = None if agrees else _refuse(permit, mismatch, detail, _deciding(verdict))
    if verdict.aside is None or isinstance(refusal, Deny):
        return refusal
    return WouldDeny(denied, verdict.aside.ref)


def _confirm_protocol(permit: Permit, spoken: Protocol) -> Deny | WouldDeny | None:
    expected = permit.terms.protocol
    if spoken in _SPOKEN[expected] or permit.rule is REPORT_ONLY:
        return None
    return _refuse(permit, Reason.PROTOCOL_MISMATCH, f"{spoken} where the rule says {expected}")


def _agrees(permit: Permit, verdict: Verdict) -> bool:
    """Whether the rule allows this name beside the one that was asked for."""
    if permit.terms.sni is SniRule.RULE:
        return _deciding(verdict) == permit.rule
    return permit.terms.sni is SniRule.ANY


def _deciding(verdict: Verdict) -> RuleRef | None:
    return verdict.allows[0].ref if verdict.allows else None


def _refuse(permit: Permit, reason: Reason, detail: str = "", other: RuleRef | None = None) -> Deny | WouldDeny:
    """A refusal that report mode turns into a note."""
    if permit.report:
        return WouldDeny(reason, permit.rule)
    also = () if other is None else (other.name,)
    return Deny(reason, permit.generation, permit.rule, permit.groups, also, detail)
