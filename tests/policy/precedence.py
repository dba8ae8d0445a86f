"""The verdicts that are part of the contract: one policy, its rows, and how a row is played on the policy floor.

`POLICY` and `ADDRESSES` are YAML as users write it; `play` takes the rules however they were made from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.model.addresses import Address, parse_address
from gateway.model.authority import Authority, parse_authority
from gateway.model.client import Client
from gateway.model.decision import AddressRefusal, Deny, Permit, WouldDeny
from gateway.model.intent import ClientHello, Door, Intent, Opening, Protocol
from gateway.model.names import parse_host_name
from gateway.model.reasons import Reason
from gateway.policy.confirm import confirm, confirm_name
from gateway.policy.decide import decide
from gateway.policy.index import Rules

POLICY = """\
version: 1
clients: {a: {match: [{cidr: 10.0.1.0/24}]}, b: {match: [{cidr: 10.0.0.0/16}]}, r: {mode: report, match: [{cidr: 10.9.0.0/16}]}, e: {mode: enforce, match: [{cidr: 10.9.9.0/24}]}}
rules:
  - {name: web,      hosts: ["*"], ports: [80, 443]}
  - {name: example,  hosts: ["*.example.com"], inspect: {}}
  - {name: pinned,   hosts: [pinned.example.com], inspect: false}
  - {name: family,   hosts: ["*.fam.test"], sni: rule}
  - {name: fam-x,    hosts: [x.fam.test]}
  - {name: loose,    hosts: [loose.test], sni: any}
  - {name: one,      hosts: [{name: "*.depth.test", depth: 1}], ports: [9443]}
  - {name: deep,     hosts: ["*.depth.test"], ports: [9443]}
  - {name: gh-a,     clients: [a], hosts: [github.test]}
  - {name: gh-b,     clients: [b], hosts: [github.test]}
  - {name: db,       cidrs: [10.1.0.0/16], ports: [5432], protocol: tcp}
  - {name: api-ip,   cidrs: [192.0.2.0/24]}
  - {name: no-paste, hosts: [".paste.test"], action: deny}
  - {name: no-range, cidrs: [198.51.100.0/24], action: deny}
  - {name: meta,     hosts: [imds.test], ports: [80], private: [169.254.169.254/32]}
"""  # noqa: E501 - verbatim

ADDRESSES = "addresses: {allow: [203.0.113.0/24]}"

SOMEBODY = "172.16.0.1"  # a client in no group
THE_WORLD = "203.0.113.10"
NO_HELLO = "no hello"  # a row that ends before the client's first bytes, or does not look at them


@dataclass(frozen=True)
class Row:
    """One line of the table, or one of several requests in it. `sni` is what the client's hello then names, None for a
    hello without name; `host` what a request inside the tunnel names. `expected` are attributes of the `Outcome`."""

    id: str
    request: str
    expected: Mapping[str, object]
    client: str = SOMEBODY
    sni: str | None = NO_HELLO
    host: str | None = None
    resolves: tuple[str, ...] = (THE_WORLD,)


@dataclass
class Outcome:
    """What became of a row. `reason` None: it passed. `also` are the other allows, `refused_by` the rules (short names)
    that refused an address."""

    reason: Reason | None = None
    rule: str | None = None
    also: list[str] = field(default_factory=list)
    refused_by: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    inspect: bool = False
    would_deny: str | None = None
    asked_dns: bool = False


def allowed(rule: str, **more: object) -> dict[str, object]:
    return {"reason": None, "rule": rule, **more}


def refused(reason: Reason, rule: str | None = None, **more: object) -> dict[str, object]:
    return {"reason": reason, "rule": rule, "dialled": [], **more}


METADATA = ("169.254.169.254",)

ROWS = [
    Row("1", "CONNECT x.org:443", allowed("web", dialled=[THE_WORLD]), sni="x.org"),
    Row("2", "CONNECT pinned.example.com:443", allowed("pinned", inspect=False)),
    Row("3", "CONNECT a.example.com:443", allowed("example", inspect=True)),
    Row("4", "CONNECT example.com:443", allowed("web")),
    Row("5", "GET http://paste.test/", refused(Reason.DENIED_BY_RULE, "no-paste")),
    Row("6", "CONNECT www.paste.test:8443", refused(Reason.DENIED_BY_RULE, "no-paste")),
    Row("7", "CONNECT 192.0.2.9:443", allowed("api-ip", dialled=["192.0.2.9"]), sni=None),
    Row("8", "CONNECT 192.0.2.9:443", refused(Reason.SNI_DENIED, "no-paste"), sni="www.paste.test"),
    Row("9", "CONNECT 93.184.216.34:443", refused(Reason.NO_RULE)),
    Row("10", "CONNECT 10.1.2.3:5432", allowed("db", dialled=["10.1.2.3"])),
    Row("11", "CONNECT db.corp.test:5432", refused(Reason.NO_RULE, asked_dns=False), resolves=("10.1.2.3",)),
    Row("12", "CONNECT x.org:443", refused(Reason.ADDRESS_REFUSED, "web", refused_by=[]), resolves=("10.1.2.3",)),
    Row(
        "13",
        "CONNECT x.org:443",
        refused(Reason.ADDRESS_REFUSED, "web", refused_by=["no-range"]),
        resolves=("198.51.100.7",),
    ),
    Row(
        "14",
        "CONNECT x.org:443",
        allowed("web", dialled=["203.0.113.5"]),
        sni="x.org",
        resolves=("198.51.100.7", "203.0.113.5"),
    ),
    Row("15", "CONNECT 198.51.100.7:443", refused(Reason.DENIED_BY_RULE, "no-range")),
    Row("16 mapped", "CONNECT [::ffff:192.0.2.9]:443", allowed("api-ip", dialled=["192.0.2.9"]), sni=None),
    Row("16 number", "CONNECT 3221225993:443", refused(Reason.MALFORMED_AUTHORITY)),
    Row("17", "CONNECT github.test:443", allowed("gh-a", also=["gh-b"]), client="10.0.1.5"),
    Row("17 mapped", "CONNECT github.test:443", allowed("gh-a", also=["gh-b"]), client="::ffff:10.0.1.5"),
    Row("18", "CONNECT github.test:443", allowed("gh-b", also=[]), client="10.0.2.5"),
    Row("19", "CONNECT github.test:443", allowed("web", also=[])),
    Row("20 one", "CONNECT a.depth.test:9443", allowed("one")),
    Row("20 deep", "CONNECT a.b.depth.test:9443", allowed("deep")),
    Row("21", "CONNECT a.fam.test:443", allowed("family"), sni="b.fam.test"),
    Row("22", "CONNECT a.fam.test:443", refused(Reason.SNI_MISMATCH, "family", also=["fam-x"]), sni="x.fam.test"),
    Row("23", "CONNECT x.org:443", refused(Reason.SNI_MISMATCH, "web"), sni="y.org"),
    Row("24 other", "CONNECT loose.test:443", allowed("loose"), sni="y.org"),
    Row("24 denied", "CONNECT loose.test:443", refused(Reason.SNI_DENIED, "no-paste"), sni="paste.test"),
    Row("24 none", "CONNECT loose.test:443", allowed("loose"), sni=None),
    Row("25", "CONNECT x.org:443", refused(Reason.SNI_MISSING, "web"), sni=None),
    # Exchange: the mismatch is answered with 421 by whoever reads the request; the verdict is the one of the names.
    Row("26", "CONNECT x.org:80", refused(Reason.SNI_MISMATCH, "web"), host="y.org"),
    # Exchange: that both use one connection and two upstreams is seen there; each request has a verdict of its own.
    Row("27 first", "GET http://x.org/", allowed("web", dialled=[THE_WORLD])),
    Row("27 second", "GET http://y.org/", allowed("web", dialled=["203.0.113.11"]), resolves=("203.0.113.11",)),
    Row("28 http", "GET http://x.org:443/", refused(Reason.PROTOCOL_MISMATCH, "web")),
    # Exchange: the door answers 400 with the cure; were it let in, HTTP on port 443 would be refused as well.
    Row("28 https", "GET https://x.org/", refused(Reason.PROTOCOL_MISMATCH, "web")),
    Row("29", "CONNECT www.paste.test:443", allowed("web", would_deny="no-paste"), client="10.9.1.1"),
    Row("30", "CONNECT x.org:443", refused(Reason.ADDRESS_REFUSED, "web"), client="10.9.1.1", resolves=METADATA),
    Row("31", "CONNECT www.paste.test:443", refused(Reason.DENIED_BY_RULE, "no-paste"), client="10.9.9.9"),
    Row("32 meta", "GET http://imds.test/", allowed("meta", dialled=["169.254.169.254"]), resolves=METADATA),
    Row("32 web", "GET http://x.org/", refused(Reason.ADDRESS_REFUSED, "web"), resolves=METADATA),
]


def play(row: Row, rules: Rules, now: float) -> Outcome:
    """Walk the row through decide, the address guard and confirm, as a connection is walked."""
    intent = _intent(row.request)
    if intent is None:
        return Outcome(Reason.MALFORMED_AUTHORITY)
    peer = parse_address(row.client)
    assert peer is not None
    client = Client(peer)
    decision = decide(client, intent, rules, now)
    outcome = Outcome(rule=_short(decision), also=[name.rpartition("#")[2] for name in decision.also])
    if isinstance(decision, Deny):
        outcome.reason = decision.reason
        return outcome
    outcome.inspect = decision.terms.inspect
    outcome.would_deny = _rule_set_aside(decision.would_deny)
    _dial(decision, row, outcome)
    if outcome.reason is None:
        _confirm(decision, row, client, intent, rules, now, outcome)
    return outcome


def _intent(request: str) -> Intent | None:
    method, target = request.split()
    if method == "CONNECT":
        authority = parse_authority(target)
        return None if authority is None else Intent(Door.CONNECT, authority)
    scheme, _, rest = target.partition("://")
    authority = parse_authority(rest.rstrip("/"), {"http": 80, "https": 443}[scheme])
    return None if authority is None else Intent(Door.ABSOLUTE_FORM, authority, Protocol.HTTP)


def _dial(permit: Permit, row: Row, outcome: Outcome) -> None:
    candidates = _candidates(permit.authority, row, outcome)
    refusals = {candidate: permit.screen(candidate) for candidate in candidates}
    outcome.dialled = [str(candidate) for candidate, refusal in refusals.items() if _may_be_dialled(refusal)]
    rules = [refusal.rule.name for refusal in refusals.values() if refusal is not None and refusal.rule is not None]
    outcome.refused_by = [name.rpartition("#")[2] for name in rules]
    if not outcome.dialled:
        outcome.reason = Reason.ADDRESS_REFUSED


def _candidates(authority: Authority, row: Row, outcome: Outcome) -> list[Address]:
    if isinstance(authority.host, Address):
        return [authority.host]
    outcome.asked_dns = True
    return [address for address in map(parse_address, row.resolves) if address is not None]


def _may_be_dialled(refusal: AddressRefusal | None) -> bool:
    return refusal is None or not refusal.enforced


def _confirm(
    permit: Permit, row: Row, client: Client, intent: Intent, rules: Rules, now: float, outcome: Outcome
) -> None:
    verdict: Deny | WouldDeny | None = None
    if row.host is not None:
        verdict = confirm_name(permit, parse_host_name(row.host), client, intent, rules, now)
    elif row.sni != NO_HELLO:
        name = None if row.sni is None else parse_host_name(row.sni)
        opening = Opening(Protocol.TLS, ClientHello(name, (), (0x0304,), False, ""))
        verdict = confirm(permit, opening, client, intent, rules, now)
    if isinstance(verdict, Deny):
        outcome.reason, outcome.rule, outcome.dialled = verdict.reason, _short(verdict), []
        outcome.also = [name.rpartition("#")[2] for name in verdict.also]
    elif verdict is not None:
        outcome.would_deny = _rule_set_aside(verdict)


def _short(decision: Permit | Deny) -> str | None:
    return None if decision.rule is None else decision.rule.name.rpartition("#")[2]


def _rule_set_aside(would_deny: WouldDeny | None) -> str | None:
    return None if would_deny is None or would_deny.rule is None else would_deny.rule.name.rpartition("#")[2]
