"""Statements that lie over each other become rules that load and allow what they allow together."""

from gateway.migrate.findings import Effect
from gateway.migrate.grants import EVERYONE, GroupEntry, Imported, Inspected, Origin, Terms, Who
from gateway.migrate.rules import rules_of
from gateway.migrate.sets import EVERY_PORT, addresses, ports
from gateway.model.intent import Protocol
from gateway.policy.rules import ANY_HOST, HostPattern, PortRange, Reach
from tests.migrate.judging import gate
from tests.policy.builders import client, networks

HERE = Origin("x:1", "here")
NAME = HostPattern("a.test", Reach.EXACT)


def test_the_ports_of_one_name_are_joined() -> None:
    imported = Imported()
    imported.allow_name(HERE, EVERYONE, NAME, ports(443))
    imported.allow_name(Origin("x:2", "there"), EVERYONE, NAME, ports(80, 443))
    [rule] = rules_of(imported)
    assert rule.ports == ports(80, 443)
    assert rule.hosts[0].places == ("x:1", "x:2")


def test_networks_for_any_name_are_joined_port_by_port() -> None:
    imported = Imported()
    for cidr, where in (("93.184.0.0/16", ports(443)), ("8.8.0.0/16", ports(PortRange(400, 500)))):
        imported.allow_name(HERE, EVERYONE, ANY_HOST, where, Terms(within=addresses(networks(cidr))))
    ours = gate(imported)
    assert ours.passes("x.test:443", leads_to="8.8.8.8")
    assert ours.passes("x.test:443", leads_to="93.184.1.1")
    assert ours.passes("x.test:400", leads_to="8.8.8.8")
    assert not ours.passes("x.test:400", leads_to="93.184.1.1")


def test_what_one_statement_looks_at_and_another_does_not_is_not_looked_at() -> None:
    imported = Imported()
    imported.allow_name(HERE, EVERYONE, NAME, ports(443), Terms(Protocol.TLS))
    imported.allow_name(HERE, EVERYONE, NAME, ports(443), Terms(Protocol.TCP))
    imported.allow_addresses(HERE, EVERYONE, addresses(networks("8.8.0.0/16")), EVERY_PORT)
    imported.allow_addresses(HERE, EVERYONE, addresses(networks("8.8.8.0/24")), ports(5432))
    ours = gate(imported)
    found = {target: ours.decides(target) for target in ("a.test:443", "8.8.8.8:5432", "8.8.1.1:5432")}
    protocols = [permit.terms.protocol if permit else None for permit in found.values()]
    assert protocols == [Protocol.TCP, Protocol.TCP, Protocol.AUTO]


def test_everyone_and_everyone_but_some_are_joined_and_load() -> None:
    imported = Imported()
    group = imported.group("some", [GroupEntry((("user", "some"),))])
    imported.allow_name(HERE, Who(but=(group,)), NAME, ports(443, 8443))
    imported.allow_name(HERE, EVERYONE, NAME, ports(443))
    imported.allow_addresses(HERE, Who(but=(group,)), addresses(networks("8.8.8.0/24")))
    imported.allow_addresses(HERE, EVERYONE, addresses(networks("8.8.8.8")))
    ours, who = gate(imported), client(user="some")
    assert [ours.passes(target, who) for target in ("a.test:443", "a.test:8443", "8.8.8.8:443", "8.8.8.9:443")] == [
        True,
        False,
        True,
        False,
    ]
    assert ours.passes("a.test:8443")
    assert ours.passes("8.8.8.9:443")


def test_a_public_suffix_is_written_as_meant_and_told() -> None:
    imported = Imported()
    imported.allow_name(HERE, EVERYONE, HostPattern("co.uk", Reach.BELOW), ports(443))
    imported.allow_name(HERE, EVERYONE, NAME, ports(443))
    ours = gate(imported)
    assert ours.passes("x.co.uk:443")
    assert '"*.co.uk" covers names of many owners' in imported.findings.lines(Effect.NOTE)[0]


def test_equal_groups_are_one_and_names_are_made_to_fit() -> None:
    imported = Imported()
    first = imported.group("a/b c", [GroupEntry((("user", "x"),))])
    assert imported.group("other", [GroupEntry((("user", "x"),))]) == first == "a-b-c"
    assert imported.group("a/b c", [GroupEntry((("user", "y"),))]) == "a-b-c-2"


def test_text_of_strangers_is_quoted() -> None:
    imported = Imported()
    hostile = 'x"}]\n  evil: {match: [{user: root\x07'
    group = imported.group(hostile, [GroupEntry((("user", hostile),))], origin=hostile)
    terms = Terms(inspected=Inspected((("X-Team", "a: 'b' # \"c\""),)))
    imported.allow_name(
        Origin(hostile, hostile), Who((group,)), NAME, ports(80), Terms(Protocol.HTTP, inspected=terms.inspected)
    )
    imported.findings.note("file\nrules: []", hostile)
    ours = gate(imported)
    assert [each.name for each in ours.rules.policy.groups] == [group]
    assert ours.decides("a.test:80", client(user=hostile), plain=True) is not None
    assert ours.decides("a.test:80", client(user="root"), plain=True) is None


def test_statements_that_no_one_rule_says_exactly_are_not_made_wider() -> None:
    imported = Imported()
    near = addresses(networks("93.184.216.0/24"))
    imported.allow_name(HERE, EVERYONE, ANY_HOST, ports(8080), Terms(Protocol.TLS, within=near))
    imported.allow_name(Origin("x:2", "there"), EVERYONE, ANY_HOST, ports(8080), Terms(Protocol.HTTP))
    ours = gate(imported)
    permit = ours.decides("a.test:8080")
    assert permit is not None
    assert permit.terms.protocol is Protocol.TLS
    assert not ours.passes("a.test:8080", leads_to="8.8.8.8")
    assert imported.findings.lines(Effect.LEFT_OUT) == [
        "x:2: what it allows beside another statement for the same destination is no one rule"
    ]
