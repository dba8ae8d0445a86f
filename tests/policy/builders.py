"""Policies and questions in few words, for tests that speak of verdicts."""

from collections.abc import Mapping, Sequence

from gateway.model.addresses import Address, Network, parse_address, parse_network
from gateway.model.authority import parse_authority
from gateway.model.client import Client, IdentitySource
from gateway.model.decision import Deny, Permit, RuleRef, SniRule, Terms
from gateway.model.intent import ClientHello, Door, Intent, Opening, Protocol
from gateway.model.names import parse_host_name
from gateway.policy.decide import decide
from gateway.policy.index import Rules, build_rules
from gateway.policy.rules import (
    ANY_PORT,
    Action,
    AddressPolicy,
    Except,
    Group,
    HostPattern,
    Match,
    Mode,
    Policy,
    PortRange,
    Reach,
    Rule,
    Tier,
)

NOBODY = "172.16.0.1"
NOW = 1_800_000_000.0


def address(text: str) -> Address:
    parsed = parse_address(text)
    assert parsed is not None, text
    return parsed


def network(text: str) -> Network:
    parsed = parse_network(text)
    assert parsed is not None, text
    return parsed


def networks(text: str) -> tuple[Network, ...]:
    return tuple(network(word) for word in text.split())


def patterns(text: str) -> tuple[HostPattern, ...]:
    """`a.test *.b.test .c.test 1.d.test *`, where `1.` stands for `depth: 1`."""
    found: list[HostPattern] = []
    for word in text.split():
        if word == "*":
            found.append(HostPattern("", Reach.ANY))
        elif word.startswith("*."):
            found.append(HostPattern(word[2:], Reach.BELOW))
        elif word.startswith("1."):
            found.append(HostPattern(word[2:], Reach.CHILD))
        elif word.startswith("."):
            found += [HostPattern(word[1:], Reach.EXACT), HostPattern(word[1:], Reach.BELOW)]
        else:
            found.append(HostPattern(word, Reach.EXACT))
    return tuple(found)


def rule(
    name: str,
    hosts: str = "",
    *,
    cidrs: str = "",
    ports: Sequence[int | tuple[int, int]] | None = (443,),
    clients: str = "",
    except_hosts: str = "",
    except_cidrs: str = "",
    except_clients: str = "",
    protocol: Protocol | None = None,
    terms: Terms | None = None,
    mode: Mode | None = None,
    expires: float | None = None,
    namespace: str | None = None,
    action: Action = Action.ALLOW,
) -> Rule:
    """A rule of `policy.yaml`, a team's if it has a namespace; `ports` None is any port."""
    spans = ANY_PORT if ports is None else tuple(PortRange(*(p if isinstance(p, tuple) else (p, p))) for p in ports)
    return Rule(
        ref=RuleRef(f"policy.yaml#{name}", "policy.yaml", 1),
        terms=terms or Terms(),
        action=action,
        tier=Tier.PLATFORM if namespace is None else Tier.TEAM,
        namespace=namespace,
        hosts=patterns(hosts),
        cidrs=networks(cidrs),
        ports=spans,
        clients=tuple(clients.split()),
        except_=Except(patterns(except_hosts), networks(except_cidrs), tuple(except_clients.split())),
        mode=mode,
        expires=expires,
        protocol=protocol,
    )


def deny(
    name: str,
    hosts: str = "",
    *,
    cidrs: str = "",
    ports: Sequence[int | tuple[int, int]] | None = None,
    clients: str = "",
    except_hosts: str = "",
    except_cidrs: str = "",
    except_clients: str = "",
    mode: Mode | None = None,
    namespace: str | None = None,
) -> Rule:
    return rule(
        name,
        hosts,
        cidrs=cidrs,
        ports=ports,
        clients=clients,
        except_hosts=except_hosts,
        except_cidrs=except_cidrs,
        except_clients=except_clients,
        mode=mode,
        namespace=namespace,
        action=Action.DENY,
    )


def group(name: str, *match: Match, cidr: str = "", user: str | None = None, mode: Mode | None = None) -> Group:
    entries = [*match, *(Match(cidr=one) for one in networks(cidr))]
    if user is not None:
        entries.append(Match(user=user))
    return Group(name, tuple(entries), mode)


def build(
    *parts: Rule | Group,
    mode: Mode = Mode.ENFORCE,
    allow: str = "",
    refuse: str = "",
    listening: Mapping[str, int] | None = None,
    own: str = "",
    identity_required: bool = False,
) -> Rules:
    """`allow` and `refuse` are `addresses.allow` and `.deny`."""
    policy = Policy(
        rules=tuple(part for part in parts if isinstance(part, Rule)),
        groups=tuple(part for part in parts if isinstance(part, Group)),
        mode=mode,
        addresses=AddressPolicy(
            networks(allow),
            networks(refuse),
            frozenset((address(text), port) for text, port in (listening or {}).items()),
            frozenset(address(text) for text in own.split()),
        ),
        identity_required=identity_required,
    )
    return build_rules(policy, generation=7)


def client(
    peer: str = NOBODY,
    *,
    user: str | None = None,
    namespace: str | None = None,
    service_account: str | None = None,
    labels: Mapping[str, str] | None = None,
    spiffe: str | None = None,
    known: bool = True,
    doubt: str | None = None,
) -> Client:
    source = IdentitySource.ADDRESS
    if user is not None:
        source = IdentitySource.BASIC
    elif spiffe is not None:
        source = IdentitySource.MTLS
    elif namespace is not None:
        source = IdentitySource.KUBERNETES
    return Client(
        address(peer),
        source,
        user=user,
        namespace=namespace,
        service_account=service_account,
        labels=labels,
        spiffe=spiffe,
        known=known,
        doubt=doubt,
    )


def connect(target: str) -> Intent:
    authority = parse_authority(target, 443)
    assert authority is not None, target
    return Intent(Door.CONNECT, authority)


def get(target: str) -> Intent:
    """Absolute form; `target` is the authority of the URL."""
    authority = parse_authority(target, 80)
    assert authority is not None, target
    return Intent(Door.ABSOLUTE_FORM, authority, Protocol.HTTP)


def transparent(name: str, original: str, port: int = 443) -> Intent:
    authority = parse_authority(f"{name}:{port}")
    assert authority is not None, name
    return Intent(Door.TRANSPARENT, authority, original=address(original))


def ask(rules: Rules, target: str | Intent, who: Client | None = None, now: float = NOW) -> Permit | Deny:
    intent = connect(target) if isinstance(target, str) else target
    return decide(who or client(), intent, rules, now)


def permitted(decision: Permit | Deny) -> Permit:
    assert isinstance(decision, Permit), decision
    return decision


def denied(decision: Permit | Deny) -> Deny:
    assert isinstance(decision, Deny), decision
    return decision


def deciding(decision: Permit | Deny) -> str | None:
    """The short name of the rule that decided."""
    return decision.rule.name.removeprefix("policy.yaml#") if decision.rule is not None else None


def also(decision: Permit | Deny) -> list[str]:
    return [name.removeprefix("policy.yaml#") for name in decision.also]


def hello(server_name: str | None, ech: bool = False) -> Opening:
    """TLS that names `server_name`."""
    name = None
    if server_name is not None:
        name = parse_host_name(server_name)
        assert name is not None, server_name
    return Opening(Protocol.TLS, ClientHello(name, ("h2", "http/1.1"), (0x0304,), ech, "t13d0000h2_0_0"))


HTTP = Opening(Protocol.HTTP)
OTHER = Opening(Protocol.TCP)
SNI_RULE = Terms(sni=SniRule.RULE)
SNI_ANY = Terms(sni=SniRule.ANY)
