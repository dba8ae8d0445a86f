"""NO_PROXY as Python's libraries really read it, and Java's list."""

import urllib.request
from collections.abc import Callable

import pytest
from requests.utils import should_bypass_proxies

from gateway.migrate.workloads.exemptions import InvalidExemption, read_exemptions

# Not in the types of the standard library.
proxy_bypass_environment: Callable[[str, dict[str, str]], bool] = vars(urllib.request)["proxy_bypass_environment"]
EXEMPT = read_exemptions("cluster.local", ["10.0.0.0/8,corp.test", "*.other.test", "192.0.2.7"])
DIRECT = (
    *("localhost", "127.0.0.1", "web.shop.svc", "web.shop.svc.cluster.local", "kubernetes", "192.0.2.7"),
    *("corp.test", "www.corp.test", "other.test", "a.other.test"),
)
PROXIED = ("example.com", "notcorp.test", "svc.example.com", "192.0.2.70", "11.0.0.1")


@pytest.mark.parametrize("host", [*DIRECT, *PROXIED])
def test_requests_and_urllib_go_directly_where_they_should(host: str) -> None:
    expected = host in DIRECT
    assert bool(should_bypass_proxies(f"https://{host}/", EXEMPT.no_proxy())) == expected
    assert bool(proxy_bypass_environment(host, {"no": EXEMPT.no_proxy()})) == expected


def test_networks_are_for_those_who_read_them() -> None:
    assert should_bypass_proxies("https://10.1.2.3/", EXEMPT.no_proxy())
    assert not proxy_bypass_environment("10.1.2.3", {"no": EXEMPT.no_proxy()})


def test_java_has_stars_and_whole_octets() -> None:
    listed = EXEMPT.non_proxy_hosts().split("|")
    assert {"localhost", "127.*", "*.svc", "*.corp.test", "corp.test", "192.0.2.7", "10.*"} <= set(listed)
    assert all(entry.strip("*").count("*") == 0 for entry in listed)
    odd = read_exemptions(None, ["10.0.0.0/9", "2001:db8::/32"])
    assert [str(network) for network in odd.beyond_java()] == ["10.0.0.0/9", "2001:db8::/32"]


def test_outside_of_a_cluster_only_the_machine_is_exempt() -> None:
    assert read_exemptions(None, []).no_proxy() == "localhost,127.0.0.1,::1"


@pytest.mark.parametrize("text", ["a b", "http://x", "10.0.0.1/8", "a..b", "x';rm"])
def test_what_is_no_exemption_is_refused(text: str) -> None:
    with pytest.raises(InvalidExemption, match="is not a name, address or network"):
        read_exemptions(None, [text])
