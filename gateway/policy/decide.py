"""Whether a client may reach what it names, and under which terms. Nothing is resolved for that.

Denies before allows, the platform's rules before a team's; among allows the most specific destination decides, and the
deciding rule gives all the terms. Only this module makes a `Permit`.
"""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from gateway.model.addresses import Address
from gateway.model.authority import Authority, Host
from gateway.model.client import Client, IdentitySource
from gateway.model.decision import Deny, Permit, Resolve, Source, Terms, WouldDeny
from gateway.model.intent import Intent, Protocol
from gateway.model.limits.limit import Applied, KeyPart
from gateway.model.reasons import Reason
from gateway.policy.addresses import Screen
from gateway.policy.candidates import Candidate, CandidateSet, Question
from gateway.policy.groups import Membership
from gateway.policy.index import Destination, Rules, TierIndex
from gateway.policy.rules import Mode


@dataclass(slots=True)
class Verdict:
    """What the rules say to a question. `deny` refuses; `aside` is the first deny that report mode set aside; of
    `allows`, all for one destination, the first decides. `asked` is the question that the allows answer."""

    asked: Question
    deny: Candidate | None = None
    aside: Candidate | None = None
    allows: list[Candidate] = field(default_factory=list)


def decide(client: Client, intent: Intent, rules: Rules, now: float) -> Permit | Deny:
    """Judge one attempt by what it names. `now` is Unix time in seconds."""
    if rules.policy.identity_required and (client.source is IdentitySource.ADDRESS or not client.known):
        return Deny(Reason.CREDENTIALS_MISSING, rules.generation, detail="an address alone is no identity here")
    question = _rememberable(client, intent, rules)
    known = rules.decisions.recall(question, now) if question is not None else None
    if known is not None:
        return known
    decision = decide_for(rules.groups.membership_of(client), namespace_of(client), intent, rules, now)
    if isinstance(decision, Permit) and decision.terms.source is not None:
        decision = replace(decision, source=_in_order(decision.terms.source, client.address))
    return decision if question is None else rules.decisions.keep(question, decision)


def _rememberable(client: Client, intent: Intent, rules: Rules) -> Hashable | None:
    """Everything about the question that `decide_for` depends on; None where it depends on labels, which are no key."""
    if client.labels is not None or client.namespace_labels is not None:
        if rules.groups.looks_at_labels:
            return None
        client = client._replace(labels=None, namespace_labels=None)
    return client, intent


def decide_for(
    membership: Membership, namespace: str | None, intent: Intent, rules: Rules, now: float
) -> Permit | Deny:
    """Judge one attempt by a member of these groups. A team's rules apply only to clients of its `namespace`."""
    authority = intent.authority
    verdict = judge(Question(membership, namespace, authority.host, authority.port, now), rules, intent.original)
    if verdict.deny is not None:
        return Deny(Reason.DENIED_BY_RULE, rules.generation, verdict.deny.ref, membership.listed)
    if verdict.allows:
        return _permit(verdict, intent, rules)
    return _no_rule(verdict, authority, rules)


def judge(question: Question, rules: Rules, original: Address | None = None) -> Verdict:
    """Ask the rules. With an address that the client chose itself (`original`), a name is denied by a rule for either,
    and allowed by one for the address if none for the name does."""
    verdict = Verdict(question)
    questions = [question]
    if original is not None and not isinstance(question.host, Address):
        questions.append(question._replace(host=original))
    for tier in rules.tiers(question.namespace):
        found = [(asked, destination) for asked in questions for destination in tier.find(asked.host)]
        for asked, destination in found:
            if destination.denies is not None and _deny(destination.denies, asked, verdict):
                return verdict
        if _needs_exact_rule(question.host, rules):
            found = [item for item in found if _is_exact(*item, tier)]
        for asked, destination in found:
            if destination.allows is not None and _allow(destination.allows, asked, verdict):
                return verdict
    return verdict


def namespace_of(client: Client) -> str | None:
    """The namespace whose team rules apply to the client; None if it is unknown."""
    return client.namespace if client.known else None


def _in_order(source: Source, client: Address) -> Source:
    """The pool in this client's own order, by rendezvous hashing: a client keeps its address while others come and go,
    and only an address's own clients move when it leaves the pool. With `source: client` it is the client's address."""
    if source.foreign:
        return Source((client,), foreign=True)
    return Source(tuple(sorted(source.addresses, key=lambda address: _weight(client, address), reverse=True)))


def _weight(client: Address, address: Address) -> bytes:
    return hashlib.blake2b(f"{client} {address}".encode("ascii"), digest_size=8).digest()


def _deny(denies: CandidateSet, asked: Question, verdict: Verdict) -> bool:
    for candidate in denies.matching(asked):
        if candidate.mode_for(asked.membership) is Mode.ENFORCE:
            verdict.deny = candidate
            return True
        verdict.aside = verdict.aside or candidate
    return False


def _allow(allows: CandidateSet, asked: Question, verdict: Verdict) -> bool:
    found = allows.matching(asked)
    if found:
        verdict.allows, verdict.asked = found, asked
    return bool(found)


def _needs_exact_rule(host: Host, rules: Rules) -> bool:
    """Names that mean something else elsewhere (single labels and the cluster's own) need a rule for exactly them."""
    return not isinstance(host, Address) and ("." not in host or rules.is_in_cluster(host))


def _is_exact(asked: Question, destination: Destination, tier: TierIndex) -> bool:
    return isinstance(asked.host, Address) or destination in tier.hosts.find_exact(asked.host)


def _permit(verdict: Verdict, intent: Intent, rules: Rules) -> Permit | Deny:
    deciding, asked = verdict.allows[0], verdict.asked
    terms = deciding.terms_at(asked.port)
    groups = asked.membership.listed
    report = deciding.mode_for(asked.membership) is Mode.REPORT
    would_deny = None if verdict.aside is None else WouldDeny(Reason.DENIED_BY_RULE, verdict.aside.ref)
    if intent.protocol is Protocol.HTTP and terms.protocol is Protocol.TLS:
        if not report:
            detail = f"http on port {asked.port}, where the rule says tls"
            return Deny(Reason.PROTOCOL_MISMATCH, rules.generation, deciding.ref, groups, detail=detail)
        would_deny = would_deny or WouldDeny(Reason.PROTOCOL_MISMATCH, deciding.ref)
    return Permit(
        authority=intent.authority if asked.host is intent.authority.host else Authority(asked.host, asked.port),
        rule=deciding.ref,
        terms=terms,
        screen=Screen(deciding, asked, rules, _must_be(terms, intent)),
        generation=rules.generation,
        groups=groups,
        also=tuple([other.ref.name for other in verdict.allows[1:]]),
        would_deny=would_deny,
        report=report,
        limits=_limits(deciding, asked.membership),
    )


def _must_be(terms: Terms, intent: Intent) -> Address | None:
    """The only address that may be dialled, if the rule holds the client to the one that it chose itself."""
    return intent.original if terms.resolve is Resolve.MATCH else None


def _limits(deciding: Candidate, membership: Membership) -> tuple[Applied, ...]:
    """The limits of the rule and of the client's groups; a quota that applies twice in the same way is spent once. A
    rule that names groups tells only these apart, any other rule all of the client's."""
    limits = deciding.otherwise.limits
    if not limits:
        return membership.limits
    named = tuple(group for group in membership.listed if not deciding.clients or group in deciding.clients)
    own = (Applied(limit, named if KeyPart.GROUP in limit.key else ()) for limit in limits)
    return tuple(dict.fromkeys((*own, *membership.limits)))


def _no_rule(verdict: Verdict, authority: Authority, rules: Rules) -> Permit | Deny:
    host, membership = authority.host, verdict.asked.membership
    if not isinstance(host, Address) and rules.is_in_cluster(host):
        detail = f"{host} is inside the cluster: add to NO_PROXY"
        return Deny(Reason.IN_CLUSTER_NAME, rules.generation, groups=membership.listed, detail=detail)
    if membership.mode is Mode.ENFORCE:
        lone = not isinstance(host, Address) and "." not in host
        detail = "a single-label name needs a rule for exactly that name" if lone else ""
        return Deny(Reason.NO_RULE, rules.generation, groups=membership.listed, detail=detail)
    aside = verdict.aside
    return Permit(
        authority=authority,
        rule=rules.report_only.ref,
        terms=rules.report_only.otherwise,
        screen=Screen(rules.report_only, verdict.asked, rules),
        generation=rules.generation,
        groups=membership.listed,
        would_deny=WouldDeny(Reason.NO_RULE) if aside is None else WouldDeny(Reason.DENIED_BY_RULE, aside.ref),
        report=True,
        limits=membership.limits,
    )
