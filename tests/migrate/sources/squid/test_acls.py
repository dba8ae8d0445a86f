"""What the kinds of `acl` cover."""

import pytest

from gateway.migrate.findings import Effect, Findings, Unreadable
from gateway.migrate.sets import AddressSet, addresses
from gateway.migrate.sources.squid.acls import make_acl
from gateway.migrate.sources.squid.boxes import REQUEST, TUNNEL, Box
from tests.policy.builders import networks, patterns


def boxes(kind: str, *values: str) -> tuple[Box, Box]:
    acl = make_acl("a", kind, "x:1", [("x:1", value) for value in values], Findings())
    assert acl.known
    return acl.for_names, acl.for_literals


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("192.168.0.0/255.255.0.0", "192.168.0.0/16"),
        ("10.0.0.4-10.0.0.7", "10.0.0.4/30"),
        ("10.0.8.0-10.0.11.0/24", "10.0.8.0/22"),
        ("10.0.8.9-10.0.11.9/255.255.255.0", "10.0.8.0/22"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_networks_are_read_in_all_spellings(written: str, meant: str) -> None:
    assert boxes("src", written)[0].sources == addresses(networks(meant))
    assert boxes("dst", written)[1].leads == addresses(networks(meant))


@pytest.mark.parametrize(
    "written",
    [
        "host.test",
        "10.0.0.0/255.0.255.0",
        "10.0.0.9-10.0.0.1",
        "10.0.0.1-10.0.0.9/33",
        "10.0.0.1-2001:db8::",
        "10.0.0.0/33",
    ],
)
def test_what_is_no_network_is_refused_with_its_place(written: str) -> None:
    with pytest.raises(Unreadable, match=r"^x:1: "):
        boxes("src", written)


def test_a_domain_with_a_dot_is_the_name_and_all_below() -> None:
    for_names, for_literals = boxes("dstdomain", "-n", ".A.test", "b.test", "192.0.2.7")
    assert set(for_names.names.patterns) == set(patterns(".a.test b.test"))
    assert for_literals.leads == addresses(networks("192.0.2.7"))
    assert boxes("dstdomain", "b.test")[1].leads == AddressSet()


def test_an_entry_that_is_no_domain_matches_nothing_and_is_told() -> None:
    findings = Findings()
    listed = ("a.test", "*.b.test", "c.test:443", "192.0.2.7", "d.test.")
    values = [(f"list:{number}", value) for number, value in enumerate(listed, 1)]
    acl = make_acl("a", "dstdomain", "x:1", values, findings)
    assert set(acl.for_names.names.patterns) == set(patterns("a.test"))
    assert [(remark.place, remark.text) for remark in findings.having(Effect.NOTE)] == [
        ("list:2", "dstdomain *.b.test matches no name, in squid neither"),
        ("list:3", "dstdomain c.test:443 matches no name, in squid neither"),
        ("list:5", "dstdomain d.test. matches no name, in squid neither"),
    ]


def test_ports_methods_and_users() -> None:
    assert boxes("port", "443", "1025-70000")[0].ports.ranges == ((443, 443), (1025, 65535))
    assert boxes("method", "CONNECT")[0].methods == {TUNNEL}
    assert not boxes("manager")[0]
    assert not boxes("proto", "cache_object", "FTP")[0]
    assert not boxes("url_regex", "-i", "^cache_object://", "+i", "^https?://[^/]+/squid-internal-mgr/")[0]
    assert not boxes("method", "purge")[0]
    assert boxes("proxy_auth", "-i", "ci")[0].users.names == {"ci"}
    assert "" in boxes("proxy_auth", "REQUIRED")[0].users.names
    assert REQUEST in Box().methods


@pytest.mark.parametrize(
    ("kind", "value"),
    [("url_regex", "x"), ("url_regex", "^cache_object://|x"), ("time", "MTWHF"), ("method", "POST"), ("proto", "HTTP")],
)
def test_a_kind_that_no_policy_has_is_not_known(kind: str, value: str) -> None:
    assert not make_acl("a", kind, "x:1", [("x:1", value)], Findings()).known


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        ("proxy_auth", ["-i", "ci"], "a: names of users are compared letter by letter here, whatever -i says"),
        ("method", ["PURGE"], "a: PURGE is for the cache of squid; here it is a request as any other"),
    ],
)
def test_what_means_less_here_is_noted(kind: str, values: list[str], told: str) -> None:
    findings = Findings()
    make_acl("a", kind, "x:1", [("x:1", value) for value in values], findings)
    assert [remark.text for remark in findings.having(Effect.NOTE)] == [told]
