"""`egress-gateway explain`: the verdict about one destination as the gateway would give it, and why, offline."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from gateway.app.generation.own_addresses import own_addresses
from gateway.cli.console import answers, complaints, last_day, plain, say
from gateway.cli.explaining.cures import EXPIRED, cure_for, near_misses, proposed_rule
from gateway.cli.explaining.question import parse_client, parse_question, parse_request
from gateway.model.addresses import Address
from gateway.model.client import Client
from gateway.model.decision import AddressRefusal, Deny, Permit, RuleRef, Terms
from gateway.model.inspection.terms import Allowed, Asked, NotAllowed
from gateway.model.intent import Door, Intent
from gateway.model.reasons import Reason
from gateway.policy.decide import decide
from gateway.policy.index import Rules, build_rules
from gateway.policy.rules import AddressPolicy, Policy
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import LoadedPolicy, load_policy, load_resolver_authorities, load_settings
from gateway.settings.problems import did_you_mean
from gateway.settings.units import Endpoint

_WORDS = {
    Reason.NO_RULE: "no rule allows this destination",
    Reason.DENIED_BY_RULE: "a deny rule matches",
    Reason.PROTOCOL_MISMATCH: "the rule wants another protocol on this port",
    Reason.IN_CLUSTER_NAME: "the name is inside the cluster",
    Reason.CREDENTIALS_MISSING: "an address alone is no identity here (identity.required)",
    Reason.ADDRESS_REFUSED: "the address may not be dialled",
}


def explain_url(
    url: str,
    config: Path | None,
    policy: Path | None,
    client_name: str | None,
    source: str | None,
    method: str | None,
    live: bool = False,
) -> bool:
    """Print the verdict; True for allow. `live` connects as well, if policy allows it. Raises `ConfigErrors`,
    `Unanswerable` or, with `live`, `Unreached`."""
    intent = parse_question(url, method)
    settings = load_settings(config, os.environ, policy)
    loaded = load_policy(settings)
    addresses = _with_listening(loaded.policy.addresses, settings)
    rules = build_rules(replace(loaded.policy, addresses=addresses), generation=1)
    now = time.time()
    began_at = time.perf_counter()
    client = parse_client(client_name, source, loaded.policy)
    identified_at = time.perf_counter()
    decision = decide(client, intent, rules, now)
    decided_at = time.perf_counter()
    _warn(loaded, client_name, decision)
    request = _judge(decision, parse_request(url, method))
    answer = _Answer(intent, client, decision, _refusal_of_literal(decision), request)
    _print(answers(), answer, rules.policy)
    if isinstance(decision, Deny):
        expired = _print_near_misses(answers(), decision, intent, rules, now)
        _print_cure(answers(), decision, client, intent, rules.policy, now, expired)
    if not live:
        return answer.allowed
    return _go_live(settings, answer, identified_at - began_at, decided_at - identified_at)


@dataclass(frozen=True, slots=True)
class _Answer:
    """The verdict on a question. `refusal` is that of an address literal; `request` is the deciding rule's verdict on
    the request, None if it inspects none."""

    intent: Intent
    client: Client
    decision: Permit | Deny
    refusal: AddressRefusal | None
    request: Allowed | NotAllowed | None

    @property
    def request_passes(self) -> bool:
        """Perhaps in report mode only."""
        reports = isinstance(self.decision, Permit) and self.decision.report
        return reports or not isinstance(self.request, NotAllowed)

    @property
    def allowed(self) -> bool:
        """Whether the gateway would let it pass."""
        may_be_dialled = self.refusal is None or not self.refusal.enforced
        return isinstance(self.decision, Permit) and may_be_dialled and self.request_passes


def _go_live(settings: GatewaySettings, answer: _Answer, identity_seconds: float, rule_seconds: float) -> bool:
    """The stages of a connection, each with its duration; the dial only if it is allowed. Raises `Unreached`."""
    from gateway.app.resolving import ResolverPlan  # noqa: PLC0415  # what it takes to connect is large
    from gateway.cli.explaining.live import Stages, go_there  # noqa: PLC0415

    say(answers(), "")
    stages = Stages(answers())
    stages.tell("identity", identity_seconds, show_client(answer.client))
    stages.tell("rule", rule_seconds, _words_for(answer.decision))
    if not answer.allowed or isinstance(answer.decision, Deny):
        say(answers(), "  nothing was resolved or dialled")
        return False
    plan = ResolverPlan(settings.resolver, load_resolver_authorities(settings))
    return go_there(answer.intent, answer.decision, plan, stages)


def _warn(loaded: LoadedPolicy, client_name: str | None, decision: Permit | Deny) -> None:
    """Of likely reasons for an unexpected answer: no rules at all, no group of this name, or an address that is none of
    the group's."""
    groups = [group.name for group in loaded.policy.groups]
    warnings = [*loaded.warnings] if not loaded.policy.rules else []
    if client_name is not None and client_name not in groups and (near := did_you_mean(client_name, groups)):
        warnings.append(f"--client: no group is called {client_name!r}{near} It is taken for a user")
    unknown = isinstance(decision, Deny) and decision.reason is Reason.CREDENTIALS_MISSING
    if client_name in groups and client_name not in decision.groups and not unknown:
        warnings.append(f"--client: from this address it is no member of {client_name!r}")
    for warning in warnings:
        say(complaints(), f"warning: {warning}", "yellow")


def _judge(decision: Permit | Deny, asked: Asked | None) -> Allowed | NotAllowed | None:
    """The deciding rule's verdict on the request; None if it inspects none."""
    if asked is None or not isinstance(decision, Permit) or decision.terms.inspection is None:
        return None
    screen = decision.terms.inspection.requests
    return Allowed() if screen is None else screen.judge(asked)


def _words_for_request(verdict: Allowed | NotAllowed, passes: bool) -> str:
    if isinstance(verdict, Allowed):
        return "allowed" if verdict.max_body is None else f"allowed, with at most {verdict.max_body} bytes of content"
    return f"{'passes in report mode only, else ' if passes else ''}{verdict.reason}: {verdict.detail}"


def _words_for(decision: Permit | Deny) -> str:
    return str(decision.rule) if isinstance(decision, Permit) or decision.rule is not None else decision.reason


def _with_listening(addresses: AddressPolicy, settings: GatewaySettings) -> AddressPolicy:
    """With the addresses that this configuration would listen on, which are never dialled."""
    admin = settings.admin
    endpoints: list[Endpoint | None] = [*(listener.bind for listener in settings.listeners), admin.bind, admin.health]
    listening = frozenset((endpoint.address, endpoint.port) for endpoint in endpoints if endpoint is not None)
    return replace(addresses, listening=listening, own=own_addresses())


def _refusal_of_literal(decision: Permit | Deny) -> AddressRefusal | None:
    if isinstance(decision, Permit) and isinstance(decision.authority.host, Address):
        return decision.screen(decision.authority.host)
    return None


def _print(console: Console, answer: _Answer, policy: Policy) -> None:
    door = "CONNECT" if answer.intent.door is Door.CONNECT else "http request"
    verdict, style = ("allow", "bold green") if answer.allowed else ("deny", "bold red")
    say(console, f"{verdict}  {door} {answer.intent.authority}", style)
    for name, value in _lines(answer, policy):
        say(console, f"  {name:<9} {value}")


def _lines(answer: _Answer, policy: Policy) -> Iterator[tuple[str, str]]:
    decision = answer.decision
    yield from _permit_lines(decision, answer.refusal) if isinstance(decision, Permit) else _deny_lines(decision)
    yield "client", show_client(answer.client)
    yield "groups", ", ".join(decision.groups) or "none"
    rule = next((rule for rule in policy.rules if rule.ref == decision.rule), None)
    if rule is not None and rule.expires is not None:
        yield "expires", f"{last_day(rule.expires)} is the rule's last day (UTC)"
    if rule is not None and rule.note is not None:
        yield "note", _on_one_line(rule.note)
    if answer.request is not None:
        yield "request", _words_for_request(answer.request, answer.request_passes)


def _permit_lines(permit: Permit, refusal: AddressRefusal | None) -> Iterator[tuple[str, str]]:
    yield "rule", str(permit.rule)
    if permit.also:
        yield "also", ", ".join(permit.also)
    yield "terms", show_terms(permit.terms)
    if permit.would_deny is not None:
        by = f" by {permit.would_deny.rule}" if permit.would_deny.rule is not None else ""
        yield "report", f"passes in report mode only, else {permit.would_deny.reason}{by}"
    if refusal is not None:
        by = f", by {refusal.rule}" if refusal.rule is not None else ""
        yield "address", f"refused: {refusal.detail}{by}"
    elif isinstance(permit.authority.host, Address):
        yield "address", "may be dialled"
    else:
        yield "addresses", "each is screened before it is dialled"


def _on_one_line(note: str) -> str:
    return plain(" ".join(note.split()))


def _deny_lines(denial: Deny) -> Iterator[tuple[str, str]]:
    words = _WORDS.get(denial.reason)
    yield "reason", denial.reason if words is None else f"{denial.reason}: {words}"
    if denial.rule is not None:
        yield "rule", str(denial.rule)
    if denial.also:
        yield "also", ", ".join(denial.also)
    if denial.detail:
        yield "detail", denial.detail


def _print_near_misses(console: Console, denial: Deny, intent: Intent, rules: Rules, now: float) -> RuleRef | None:
    """Returns the first of them that has merely expired."""
    if denial.reason not in (Reason.NO_RULE, Reason.IN_CLUSTER_NAME):
        return None
    near = list(near_misses(rules.policy.rules, intent.authority, frozenset(denial.groups), now))
    for rule, why_not in near:
        note = "" if rule.note is None else f" ({_on_one_line(rule.note)})"
        say(console, f"  {'nearly':<9} {rule.ref}: {why_not}{note}")
    return next((rule.ref for rule, why_not in near if why_not == EXPIRED), None)


def _print_cure(
    console: Console, denial: Deny, client: Client, intent: Intent, policy: Policy, now: float, expired: RuleRef | None
) -> None:
    cure = cure_for(denial, intent.authority, expired)
    if cure is None:
        return
    if denial.rule is None:
        proposed = proposed_rule(intent.authority, denial.groups)
        cured = build_rules(replace(policy, rules=(*policy.rules, proposed)), generation=2)
        refusal = _refusal_of_literal(decide(client, intent, cured, now))
        if refusal is not None:
            say(console, f"\nNo rule can allow it: {refusal.detail}")
            return
    say(console, "\nThis would allow it:\n", "bold")
    say(console, cure)


def show_terms(terms: Terms) -> str:
    """The settings of the deciding rule that its file may not spell out."""
    shown = [f"first bytes {terms.protocol}", f"sni {terms.sni}", f"ech {terms.ech}"]
    for name, networks in (("private", terms.private), ("within", terms.within)):
        if networks:
            shown.append(f"{name} {' '.join(map(str, networks))}")
    return ", ".join(shown)


def show_client(client: Client) -> str:
    """Its address, and the other facts that are known."""
    facts = (
        ("user", client.user),
        ("namespace", client.namespace),
        ("service account", client.service_account),
        ("spiffe", client.spiffe),
    )
    return ", ".join([str(client.address), *(f"{name} {value}" for name, value in facts if value is not None)])
