"""Text becomes exactly the values that verdicts are made from, with nothing lost and warnings for what is doubtful."""

from pathlib import Path

import pytest

from gateway.limits.tables.memory import MemoryTable
from gateway.limits.tables.table import take_from
from gateway.model.addresses import Address, Network, parse_address, parse_network
from gateway.model.decision import OF_THE_CLIENT, EchRule, Resolve, RuleRef, SniRule, Source, Terms, Timeouts
from gateway.model.intent import Protocol
from gateway.model.names import HostName
from gateway.policy.buckets import Draw, Now, Taken
from gateway.policy.index import build_rules
from gateway.policy.rules import (
    ANY_PORT,
    Action,
    Except,
    Group,
    HostPattern,
    Match,
    Mode,
    PortRange,
    Reach,
    Rule,
    Tier,
)
from gateway.settings.compile.policy import compile_policy
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import parse_policy
from gateway.settings.problems import ConfigErrors
from gateway.settings.source.files import Reader
from tests.net.parts import ManualClock
from tests.policy.precedence import POLICY
from tests.settings.texts import compile_text, write


def net(text: str) -> Network:
    network = parse_network(text)
    assert network is not None
    return network


def addr(text: str) -> Address:
    parsed = parse_address(text)
    assert parsed is not None
    return parsed


def rule(text: str, directory: Path = Path()) -> Rule:
    """The one rule in `text`, written without its name."""
    return compile_text(f"rules: [{{name: r, {text}}}]", directory).policy.rules[0]


def warnings(text: str) -> tuple[str, ...]:
    return compile_text(text).warnings


def test_every_key_of_a_rule_arrives() -> None:
    text = """\
        clients:
          g: {match: [{cidr: 10.0.0.0/8}]}
          h: {match: [{user: u}]}
        rules:
          - name: all
            clients: [g]
            hosts: [a.example, "*.b.example", .c.example, {name: "*.d.example", depth: 1}]
            cidrs: [192.0.2.0/24, "2001:db8::/32"]
            except: {hosts: [x.b.example], cidrs: [192.0.2.1], clients: [h]}
            within: [198.51.100.0/24]
            ports: [8080, 443, 8000-8079, 22]
            mode: report
            protocol: tls
            sni: rule
            ech: deny
            private: [10.1.2.3/32]
            resolve: match
            source: [192.0.2.7, 192.0.2.8]
            timeouts: {idle: 5m, lifetime: 1h}
            note: why
            expires: 2027-01-31
        """
    assert compile_text(text).policy.rules == (
        Rule(
            ref=RuleRef("policy.yaml#all", "policy.yaml", 5),
            terms=Terms(
                protocol=Protocol.AUTO,
                sni=SniRule.RULE,
                ech=EchRule.DENY,
                private=(net("10.1.2.3"),),
                within=(net("198.51.100.0/24"),),
                resolve=Resolve.MATCH,
                source=Source((addr("192.0.2.7"), addr("192.0.2.8"))),
                timeouts=Timeouts(idle=300.0, lifetime=3600.0),
            ),
            action=Action.ALLOW,
            tier=Tier.PLATFORM,
            hosts=(
                HostPattern("a.example", Reach.EXACT),
                HostPattern("b.example", Reach.BELOW),
                HostPattern("c.example", Reach.EXACT),
                HostPattern("c.example", Reach.BELOW),
                HostPattern("d.example", Reach.CHILD),
            ),
            cidrs=(net("192.0.2.0/24"), net("2001:db8::/32")),
            ports=(PortRange(22, 22), PortRange(443, 443), PortRange(8000, 8080)),
            clients=("g",),
            except_=Except((HostPattern("x.b.example", Reach.EXACT),), (net("192.0.2.1"),), ("h",)),
            mode=Mode.REPORT,
            expires=1801440000.0,  # 2027-02-01T00:00:00Z
            protocol=Protocol.TLS,
            note="why",
        ),
    )


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("192.0.2.7", Source((addr("192.0.2.7"),))),
        ("'::ffff:192.0.2.7'", Source((addr("192.0.2.7"),))),
        ("client", OF_THE_CLIENT),
    ],
)
def test_a_source_is_one_address_or_the_clients(text: str, source: Source) -> None:
    assert rule(f"hosts: [x.example], source: {text}").terms.source == source


def test_a_rule_that_says_little_has_the_defaults() -> None:
    assert rule("hosts: [x.example]") == Rule(
        ref=RuleRef("policy.yaml#r", "policy.yaml", 1),
        terms=Terms(Protocol.AUTO),
        hosts=(HostPattern("x.example", Reach.EXACT),),
        ports=(PortRange(443, 443),),
    )


def test_a_deny_without_ports_holds_on_every_port() -> None:
    assert rule("hosts: [x.example], action: deny").ports == ANY_PORT


@pytest.mark.parametrize("written", ["any", "[any]", "[443, any]", "[1-65535]", "[1-400, 401-65535]"])
def test_any_port_can_be_said_in_several_ways(written: str) -> None:
    assert rule(f"hosts: [x.example], ports: {written}").ports == ANY_PORT


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example.", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),  # non-transitional: not fass
        ("\uff41\uff50\uff49\u3002example", "api.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("Under_Score.EXAMPLE.", "under_score.example"),
    ],
)
def test_names_are_compared_in_their_canonical_ascii_form(written: str, meant: str) -> None:
    assert rule(f'hosts: ["{written}"]').hosts == (HostPattern(meant, Reach.EXACT),)


def test_names_in_unicode_are_told_in_both_forms(tmp_path: Path) -> None:
    write(tmp_path, "list.txt", ".straße.example\n")
    text = 'rules: [{name: r, hosts: ["*.bücher.example", plain.example], hosts_file: list.txt}]'
    assert compile_text(text, tmp_path).notes == (
        "policy.yaml:1: rules[0].hosts[0]: *.bücher.example is *.xn--bcher-kva.example",
        f"{tmp_path}/list.txt:1: .straße.example is .xn--strae-oqa.example",
    )


def test_list_files_add_to_what_stands_in_the_rule(tmp_path: Path) -> None:
    write(tmp_path, "hosts.txt", "b.example # second\r\n\n#c.example\n*.d.example")
    write(tmp_path, "nets.txt", "10.0.0.0/8\n::1\n")
    compiled = rule("hosts: [a.example], hosts_file: hosts.txt, cidrs_file: nets.txt", tmp_path)
    assert [pattern.name for pattern in compiled.hosts] == ["a.example", "b.example", "d.example"]
    assert compiled.cidrs == (net("10.0.0.0/8"), net("::1"))


def test_groups_arrive_with_all_their_facts() -> None:
    text = """\
        mode: report
        clients:
          a:
            mode: enforce
            match:
              - {cidr: 10.20.0.0/16, user: ci}
              - {namespace: n, service_account: s, labels: {tier: web, app: x}}
              - {spiffe: "spiffe://cluster.local/ns/p/*"}
        """
    policy = compile_text(text).policy
    assert policy.mode is Mode.REPORT
    assert policy.groups == (
        Group(
            "a",
            (
                Match(cidr=net("10.20.0.0/16"), user="ci"),
                Match(namespace="n", service_account="s", labels=(("app", "x"), ("tier", "web"))),
                Match(spiffe="spiffe://cluster.local/ns/p/*"),
            ),
            Mode.ENFORCE,
        ),
    )


def test_the_gateways_own_settings_are_part_of_what_decides() -> None:
    settings = GatewaySettings.model_validate(
        {
            "identity": {"required": True},
            "addresses": {"allow": ["10.0.0.0/8"], "deny": ["192.0.2.0/24"]},
            "cluster": {"domains": ["Cluster.Local.", "svc.example"]},
            "timeouts": {"connect": "3s"},
        }
    )
    text = "rules: [{name: a, hosts: [x.example]}, {name: b, hosts: [y.example], timeouts: {idle: 1m}}]"
    policy = compile_text(text, settings=settings).policy
    assert policy.identity_required
    assert (policy.addresses.allow, policy.addresses.deny) == ((net("10.0.0.0/8"),), (net("192.0.2.0/24"),))
    assert policy.cluster.domains == (HostName("cluster.local"), HostName("svc.example"))
    assert policy.timeouts == Timeouts(connect=3.0)
    assert [each.terms.timeouts for each in policy.rules] == [Timeouts(connect=3.0), Timeouts(connect=3.0, idle=60.0)]


def test_the_policy_of_the_fixed_verdicts_loads_whole() -> None:
    compiled = compile_text(POLICY)
    terms = {each.name: each.terms for each in compiled.policy.rules}
    assert len(terms) == 15
    assert terms["example"].inspect
    assert not terms["pinned"].inspect
    assert len(build_rules(compiled.policy, 1).policy.groups) == 4


def test_files_of_one_policy_share_groups_and_not_names() -> None:
    first = parse_policy("clients: {g: {match: [{user: u}]}}\nrules: [{name: a, hosts: [x.example]}]", "d/one.yaml")
    second = parse_policy("rules: [{name: a, clients: [g], hosts: [x.example]}]", "d/two.yaml")
    policy = compile_policy([first, second], GatewaySettings(), Reader()).policy
    assert [str(each.ref) for each in policy.rules] == ["one.yaml#a (d/one.yaml:2)", "two.yaml#a (d/two.yaml:1)"]


def test_files_that_contradict_each_other_are_refused() -> None:
    first = parse_policy("mode: report\nclients: {g: {match: [{user: u}]}}\nquotas: {q: {concurrent: 1}}", "one.yaml")
    second = parse_policy("mode: enforce\nclients: {g: {match: [{user: v}]}}\nquotas: {q: {concurrent: 2}}", "two.yaml")
    with pytest.raises(ConfigErrors) as refusal:
        compile_policy([first, second], GatewaySettings(), Reader())
    assert str(refusal.value).splitlines() == [
        "two.yaml:1: mode: a policy has a single mode, and one.yaml:1 says report",
        "two.yaml:2: clients.g: is already declared at one.yaml:2",
        "two.yaml:3: quotas.q: is already declared at one.yaml:3",
    ]


def test_a_quota_that_counts_something_else_after_a_reload_shares_no_bucket_with_what_it_was() -> None:
    """An instant is no number of open tunnels: whoever took it for one would never be let in again."""
    clock, table = ManualClock(), MemoryTable()
    for counted in ("connections: 10/s", "concurrent: 10", "bytes: 1KiB/day", "bandwidth: 1KiB/s", "concurrent: 10"):
        compiled = compile_text(
            f"quotas: {{q: {{{counted}}}}}\nrules: [{{name: r, hosts: [x.test], limits: [use: q]}}]"
        )
        (limit,) = compiled.policy.rules[0].terms.limits
        now = Now(clock.monotonic(), clock.time())
        assert isinstance(take_from(table, [Draw(limit, ())], now), Taken), counted


def test_a_secret_for_an_undeclared_group_is_refused() -> None:
    secret = {"file": "/s", "hosts": ["api.example"], "clients": ["nobody"]}
    settings = GatewaySettings.model_validate({"secrets": {"key": secret}})
    with pytest.raises(ConfigErrors, match=r"gateway.yaml:1: secrets.key.clients\[0\]: the group 'nobody'"):
        compile_text("", settings=settings)


def test_so_is_a_client_certificate() -> None:
    shown = {"cert": "/c", "key": "/k", "hosts": ["api.example"], "clients": ["nobody"]}
    settings = GatewaySettings.model_validate({"client_certificates": {"own": shown}})
    place = r"gateway.yaml:1: client_certificates.own.clients\[0\]: the group 'nobody'"
    with pytest.raises(ConfigErrors, match=place):
        compile_text("", settings=settings)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "rules: [{name: a, hosts: ['*.github.io']}]",
            "rules[0].hosts[0]: '*.github.io' covers names of many owners: set public_suffix: true if that is meant",
        ),
        (
            "rules: [{name: a, hosts: [x.example], ports: [5432, 20-23]}]",
            (
                "rules[0].ports: 21 (FTP), 22 (SSH), 5432 (PostgreSQL): clients do not begin with TLS or HTTP there, "
                "which needs "
                "protocol: tcp"
            ),
        ),
        (
            "rules: [{name: a, hosts: [x.example], ports: [25], protocol: auto}]",
            "rules[0].ports: 25 (SMTP): clients do not begin with TLS or HTTP there, which needs protocol: tcp",
        ),
        (
            (
                "clients: {g: {match: [{cidr: 10.0.0.0/8}, {user: u}]}}\n"
                "rules: [{name: a, clients: [g], hosts: [x.example], action: deny}]"
            ),
            "rules[0].clients[0]: 'g' is known by user: a client that sends no credentials is not denied",
        ),
        (
            (
                "clients: {g: {match: [{namespace: n}, {spiffe: 'spiffe://a/b'}]}}\n"
                "rules: [{name: a, clients: [g], hosts: [x.example], action: deny}]"
            ),
            (
                "rules[0].clients[0]: 'g' is known by namespace and spiffe: a client that sends no credentials is not "
                "denied"
            ),
        ),
        (
            "rules: [{name: a, hosts: [x.example], action: deny, sni: any}]",
            "rules[0].sni: has no effect on a deny",
        ),
        (
            "rules: [{name: a, hosts: ['*'], except: {cidrs: [192.0.2.0/24]}}]",
            (
                "rules[0].except.cidrs: has no effect on a rule that has only names: use within, or a deny, to "
                "bound what they resolve to"
            ),
        ),
        (
            "rules: [{name: a, hosts: ['*'], action: deny, except: {cidrs: [192.0.2.0/24]}}]",
            "rules[0].except.cidrs: has no effect on a rule that has only names",
        ),
        (
            "rules: [{name: a, cidrs: [192.0.2.0/24], except: {hosts: [x.example]}}]",
            "rules[0].except.hosts: has no effect on a rule that has only cidrs",
        ),
        (
            "clients: {g: {match: [{user: u}], limits: [{requests: 5/s}]}}\nrules: [{name: a, hosts: [x.example]}]",
            "rules[0]: the group 'g' limits requests, which are not seen here: inspect, or limit connections",
        ),
        (
            (
                "clients: {g: {match: [{user: u}]}, h: {match: [{user: v}]}}\n"
                "rules: [{name: a, clients: [g], hosts: [x.example]}, {name: b, clients: [h], hosts: [x.example], "
                "ech: deny}]"
            ),
            (
                "rules[1]: policy.yaml#b allows x.example, as does policy.yaml#a (policy.yaml:2), for another group "
                "and with "
                "other settings: which one decides for members of both?"
            ),
        ),
    ],
)
def test_what_is_probably_not_meant_is_warned_of(text: str, warning: str) -> None:
    line = text.count("\n") + 1
    assert warnings(text) == (f"policy.yaml:{line}: {warning}",)


@pytest.mark.parametrize(
    "text",
    [
        "rules: [{name: a, hosts: ['*.github.io'], public_suffix: true}]",
        "rules: [{name: a, hosts: [x.github.io, github.io]}]",
        "rules: [{name: a, hosts: ['*.corp', '*.internal', '*.test']}]",
        "rules: [{name: a, hosts: [x.example], ports: [22], protocol: tcp}]",
        "rules: [{name: a, hosts: [x.example], ports: [22], action: deny}]",
        "rules: [{name: a, hosts: ['*'], cidrs: [192.0.2.0/24], except: {hosts: [x.example], cidrs: [192.0.2.1]}}]",
        "rules: [{name: a, cidrs: [192.0.2.0/24], action: deny, except: {hosts: [x.example]}}]",
        (
            "clients: {g: {match: [{cidr: 10.0.0.0/8}]}}\nrules: [{name: a, clients: [g], hosts: [x.example], "
            "action: deny}]"
        ),
        "clients: {g: {match: [{user: u}]}}\nrules: [{name: a, clients: [g], hosts: [x.example]}]",
    ],
)
def test_what_is_usual_is_not_warned_of(text: str) -> None:
    assert warnings(text) == ()
