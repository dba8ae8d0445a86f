"""What would allow a destination that was refused: the rules that nearly did, and a rule to add."""

from collections.abc import Iterator, Sequence

from gateway.insight.patch import quoted
from gateway.model.addresses import Address, network_of
from gateway.model.authority import Authority, Host
from gateway.model.decision import Deny, RuleRef, Terms
from gateway.model.intent import Protocol
from gateway.model.reasons import Reason
from gateway.policy.rules import Action, HostPattern, PortRange, Reach, Rule
from gateway.policy.tables.hosts import HostTable
from gateway.policy.tables.networks import network_set
from gateway.settings.compile.advice import SERVER_FIRST

_SHOWN_RULES = 5

EXPIRED = "has expired"
"""Why a rule does not apply that otherwise would."""


def near_misses(
    rules: tuple[Rule, ...], authority: Authority, groups: frozenset[str], now: float
) -> Iterator[tuple[Rule, str]]:
    """Allow rules for the destination that do not apply, each with why not; those for `*` come last."""
    near = [rule for rule in rules if rule.action is Action.ALLOW and _covers(rule, authority.host)]
    near.sort(key=lambda rule: any(pattern.reach is Reach.ANY for pattern in rule.hosts))
    for rule in near[:_SHOWN_RULES]:
        yield rule, _why_not(rule, authority, groups, now)


def _covers(rule: Rule, host: Host) -> bool:
    if isinstance(host, Address):
        return host in network_set(rule.cidrs)
    return HostTable(dict.fromkeys(rule.hosts, True)).covers(host)


def _why_not(rule: Rule, authority: Authority, groups: frozenset[str], now: float) -> str:
    if not any(span.first <= authority.port <= span.last for span in rule.ports):
        return f"for {'port' if len(rule.ports) == 1 else 'ports'} {show_ports(rule.ports)} only"
    if rule.clients and not groups.intersection(rule.clients):
        return f"for {', '.join(rule.clients)} only"
    if rule.expires is not None and now >= rule.expires:
        return EXPIRED
    return "excepts this destination or client"


def show_ports(ports: tuple[PortRange, ...]) -> str:
    """As they are written in a file."""
    return ", ".join(str(span.first) if span.first == span.last else f"{span.first}-{span.last}" for span in ports)


def cure_for(denial: Deny, authority: Authority, expired: RuleRef | None = None) -> str | None:
    """YAML that would allow it, with a comment that says where it belongs; None where no rule can. A rule to add is for
    the client's own groups: for everyone would be more than was asked. `expired` is a rule that allowed it."""
    match denial.reason:
        case Reason.NO_RULE if expired is not None:
            return f"# in the rule {expired}, which has expired: set `expires` to a later day, or remove it"
        case Reason.NO_RULE | Reason.IN_CLUSTER_NAME:
            return _rule_for(authority, denial.groups)
        case Reason.DENIED_BY_RULE if denial.rule is not None:
            return (
                f"# in the deny rule {denial.rule}, since a deny always wins; and some rule must allow it:\n"
                f"    except: {{{_destination(authority.host)}}}"
            )
        case Reason.PROTOCOL_MISMATCH if denial.rule is not None:
            return f"# in the rule {denial.rule}:\n    protocol: http"
    return None


def proposed_rule(authority: Authority, groups: Sequence[str]) -> Rule:
    """The rule that `cure_for` writes, to check that it would really help."""
    host = authority.host
    return Rule(
        ref=RuleRef(f"proposed#{_name(host)}", "proposed", 1),
        terms=Terms(Protocol.AUTO),
        clients=tuple(groups),
        hosts=() if isinstance(host, Address) else (HostPattern(host, Reach.EXACT),),
        cidrs=(network_of(host),) if isinstance(host, Address) else (),
        ports=(PortRange(authority.port, authority.port),),
    )


def _rule_for(authority: Authority, groups: Sequence[str]) -> str:
    lines = ["rules:", f"  - name: {_name(authority.host)}", f"    {_destination(authority.host)}"]
    if groups:
        lines.insert(2, f"    clients: [{', '.join(map(quoted, groups))}]")
    if authority.port != 443:
        lines.append(f"    ports: [{authority.port}]")
    if authority.port in SERVER_FIRST:
        lines.append(f"    protocol: {Protocol.TCP}")
    return "\n".join(lines)


def _destination(host: Host) -> str:
    return f'cidrs: ["{network_of(host)}"]' if isinstance(host, Address) else f"hosts: [{quoted(host)}]"


def _name(host: Host) -> str:
    return f"allow-{str(host).replace('.', '-').replace(':', '-')}"
