"""squid.conf means the same once it was imported, read beside it line by line as its documentation has it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.migrate.findings import Effect, Unreadable
from gateway.migrate.sources.squid.access import read_squid
from gateway.model.client import Client
from tests.migrate.judging import EXAMPLES, LOOK, NOT_BROKEN, Gate, gate, is_caught, is_http
from tests.policy.builders import address, client

NAMES = ("example.test", "a.example.test", "other.test", "x.other.test", "notexample.test")
LITERALS = ("93.184.216.34", "8.8.8.8")
CLIENTS = (client("10.1.2.3"), client("192.168.1.1"), client("10.1.2.3", user="ci"))
ASKED = ((443, False), (8443, False), (80, True), (8080, True))

ACLS = """\
acl office src 10.0.0.0/8
acl lab src 192.168.0.0/255.255.0.0
acl SSL_ports port 443
acl Safe_ports port 80 443 8080-8090
acl web port 80 443
acl mine dstdomain .example.test 8.8.8.8
acl exactly dstdomain other.test
acl below dstdomain .other.test
acl ci proxy_auth ci
acl near dst 93.184.216.0/24
"""
FITS: dict[str, Callable[["Request"], bool]] = {
    "all": lambda r: True,
    "office": lambda r: within(str(r.who.address), "10.0.0.0/8"),
    "lab": lambda r: within(str(r.who.address), "192.168.0.0/16"),
    "SSL_ports": lambda r: r.port == 443,
    "Safe_ports": lambda r: r.port in (80, 443) or 8080 <= r.port <= 8090,
    "web": lambda r: r.port in (80, 443),
    "mine": lambda r: r.host in ("example.test", "8.8.8.8") or r.host.endswith(".example.test"),
    "exactly": lambda r: r.host == "other.test",
    "below": lambda r: r.host == "other.test" or r.host.endswith(".other.test"),
    "ci": lambda r: r.who.user == "ci",  # whoever has no password is asked for one, see `fits`
    "CONNECT": lambda r: not r.plain,
    "near": lambda r: within(r.leads_to, "93.184.216.0/24"),
}


@dataclass(frozen=True)
class Request:
    """What squid looks at."""

    who: Client
    host: str
    port: int
    plain: bool
    leads_to: str


@dataclass(frozen=True)
class Line:
    """One `http_access`."""

    allows: bool
    acls: tuple[str, ...]

    def fits(self, request: Request) -> bool | None:
        """None where squid asks for a password that is not there, and so refuses."""
        for acl in self.acls:
            if acl.removeprefix("!") == "ci" and request.who.user is None:
                return None
            if FITS[acl.removeprefix("!")](request) is acl.startswith("!"):
                return False
        return True


def within(address: str, network: str) -> bool:
    return ip_address(address) in ip_network(network)


def lines(*acls: str) -> st.SearchStrategy[list[Line]]:
    words = st.sampled_from([spelled for acl in acls for spelled in (acl, f"!{acl}")])
    line = st.builds(Line, st.booleans(), st.lists(words, max_size=3).map(tuple))
    # "All but these users" is no group: that is told, and not what is compared.
    return st.lists(line.filter(lambda each: "!ci" not in each.acls), max_size=5).filter(_denies_no_user)


def _denies_no_user(access: list[Line]) -> bool:
    return all(line.allows or "ci" not in line.acls for line in access)


TUNNELS_TO_SOME_PORTS = [Line(False, ("CONNECT", "!SSL_ports"))]
WITHOUT_ADDRESSES = st.builds(
    lambda first, rest: [*first, *rest],
    st.sampled_from([[], TUNNELS_TO_SOME_PORTS]),
    lines(*(name for name in FITS if name not in ("near", "CONNECT"))),
)


def naive(access: list[Line], request: Request) -> bool:
    """The first that fits; else the opposite of the last; without any, no. One without lists is none."""
    access = [line for line in access if line.acls]
    for line in access:
        fits = line.fits(request)
        if fits is not False:
            return fits is True and line.allows
    return bool(access) and not access[-1].allows


def imported(access: list[Line], breaks: Callable[[str], str] = NOT_BROKEN) -> Gate:
    text = ACLS + "".join(
        f"http_access {'allow' if line.allows else 'deny'} {' '.join(line.acls)}\n" for line in access
    )
    return gate(read_squid(text, "squid.conf", _no_file), breaks)


def _no_file(name: str) -> str:
    raise Unreadable(name)


def requests() -> Iterator[Request]:
    for who in CLIENTS:
        for port, plain in ASKED:
            for host in NAMES:
                yield Request(who, host, port, plain, "8.8.8.8")
            for host in LITERALS:
                yield Request(who, host, port, plain, host)


def disagreements(
    access: list[Line], breaks: Callable[[str], str] = NOT_BROKEN, ours_may_be_less: bool = False
) -> Iterator[tuple[Request, bool]]:
    ours = imported(access, breaks)
    asks = any(text.startswith("whoever has a password") for text in ours.texts(Effect.WIDER))
    for request in requests():
        expected = naive(access, request)
        permit = ours.decides(f"{request.host}:{request.port}", request.who, request.plain)
        if asks and request.who.user is None:
            continue  # until identity.required is set, as is told
        if is_http(permit) and not request.plain:
            continue  # a CONNECT that carries HTTP, as is told
        passes = permit is not None and permit.screen(address(request.leads_to)) is None
        if (passes and not expected) or (expected and not passes and not ours_may_be_less):
            yield request, passes


@given(WITHOUT_ADDRESSES)
@LOOK
def test_an_imported_file_decides_as_squid_would(access: list[Line]) -> None:
    assert list(disagreements(access)) == []


@given(lines(*FITS))
@LOOK
def test_with_addresses_and_methods_anywhere_nothing_passes_that_squid_refuses(access: list[Line]) -> None:
    assert list(disagreements(access, ours_may_be_less=True)) == []


@pytest.mark.parametrize(
    "fault",
    [
        lambda text: text.replace("    except:\n      hosts:", "    note: x\n    #"),
        lambda text: text.replace("ports: [443]", "ports: [443, 8443]"),
        lambda text: text.replace("    clients:", "    note: x  #"),
    ],
    ids=["order", "ports", "clients"],
)
def test_the_comparison_catches_a_planted_fault(fault: Callable[[str], str]) -> None:
    def shows(access: list[Line]) -> bool:
        return next(disagreements(access, fault), None) is not None

    assert is_caught(WITHOUT_ADDRESSES, shows)


def test_the_example_is_imported() -> None:
    ours = gate(read_squid((EXAMPLES / "squid.conf").read_text(), "squid.conf", _no_file))
    office, builder, ci = client("10.1.2.3"), client("10.9.0.5"), client("172.16.0.9", user="ci")
    assert ours.passes("example.com:443", office)
    assert ours.passes("a.b.example.com:443", office)
    assert not ours.passes("other.org:443", office)
    assert not ours.passes("www.example.com:25", office)
    assert ours.passes("packages.example.org:443", builder)
    assert not ours.passes("packages.example.org:443", office)
    assert ours.passes("other.org:443", ci)
    assert not ours.passes("x.tracker.test:443", ci)
    assert not ours.passes("10.0.0.7:443", ci)
    assert ours.passes("172.16.5.9:443", office)
    assert ours.texts(Effect.LEFT_OUT) == ours.texts(Effect.WIDER) == []


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ("dst 10.0.0.0/8", True),
        ("dst 10.0.0.0/8 8.8.8.0/24", True),
        ("dst 8.8.8.0/24", False),
        ("dst all", False),
        ("dstdomain 10.0.0.1 example.test", False),
    ],
)
def test_private_networks_that_names_may_lead_to_are_said_to_need_more(there: str, told: bool) -> None:
    text = f"acl there {there}\nhttp_access allow there\nhttp_access deny all\n"
    notes = read_squid(text, "squid.conf", _no_file).findings.lines(Effect.NOTE)
    assert ("squid.conf:2: names that lead there need addresses.allow in gateway.yaml" in notes) is told


def test_lists_in_files_are_read() -> None:
    text = 'acl many dstdomain "/etc/squid/many"\nhttp_access allow many\n'
    ours = gate(read_squid(text, "squid.conf", {"/etc/squid/many": "# ours\n.example.com\n\nother.test\n"}.__getitem__))
    assert ours.passes("www.example.com:443")
    assert ours.passes("other.test:443")
    assert "dstdomain .example.com (/etc/squid/many:2)" in ours.imported.findings.wildcards


@pytest.mark.parametrize(
    ("access", "left_out", "wider"),
    [
        ("acl bad url_regex x\nhttp_access deny bad\nhttp_access allow all", 0, 1),
        ("acl good url_regex x\nhttp_access allow good\nhttp_access deny all", 1, 0),
        ("acl good url_regex x\nacl ci proxy_auth ci\nhttp_access allow good ci\nhttp_access allow all", 0, 1),
        ("include /etc/squid/more.conf\nhttp_access deny all", 0, 1),
        ("ssl_bump splice all\nhttp_access deny all", 1, 0),
        ("ssl_bump bump all\nhttp_access deny all", 0, 1),
        ("ssl_bump splice known\nssl_bump terminate all\nhttp_access allow all", 1, 1),
        ("url_rewrite_program /usr/bin/squidGuard\nhttp_access allow all", 0, 1),
        ("adaptation_access filter allow all\nhttp_access allow all", 0, 1),
        ("redirect_program /usr/bin/squidGuard\nhttp_access allow all", 0, 1),
        ("reply_body_max_size 10 MB\nhttp_access allow all", 0, 1),
        ("reply_body_max_size none\nrequest_body_max_size 0 KB\nhttp_access allow all", 0, 0),
        ("request_header_access User-Agent deny all\nhttp_access allow all", 1, 0),
        ("request_header_access Host allow all\nhttp_access allow all", 0, 0),
        ("acl purge method PURGE\nhttp_access allow purge localhost\nhttp_access deny purge", 0, 0),
        ("follow_x_forwarded_for allow all\nhttp_access allow all", 0, 1),
        ("follow_x_forwarded_for deny all\nhttp_reply_access allow all\nhttp_access allow all", 0, 0),
        ("http_reply_access deny all\nadaptation_access filter deny all\nhttp_access allow all", 0, 1),
        ("acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all", 0, 1),
    ],
)
def test_what_cannot_be_carried_over_is_told_with_its_effect(access: str, left_out: int, wider: int) -> None:
    ours = gate(read_squid(access, "squid.conf", _no_file))
    found = len(ours.texts(Effect.LEFT_OUT)), len(ours.texts(Effect.WIDER))
    assert (min(found[0], 1), found[1]) == (min(left_out, 1), wider)


KNOWN = "acl known proxy_auth REQUIRED\nacl ci proxy_auth ci\nacl lan src 10.0.0.0/8\nacl other src 192.168.0.0/16\n"
AD = "external_acl_type group ttl=10 %LOGIN /usr/lib/group\nacl staff external group Staff\nacl lan src 10.0.0.0/8\n"
TOLD = "whoever has a password may; without identity.required in gateway.yaml whoever asks may"


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (f"{KNOWN}http_access allow ci\nhttp_access allow lan\nhttp_access deny all", ["s:6"]),
        (f"{KNOWN}http_access allow lan ci\nhttp_access allow other\nhttp_access deny all", []),
        (f"{KNOWN}http_access allow lan\nhttp_access allow ci\nhttp_access deny all", []),
        (f"{AD}http_access allow staff\nhttp_access allow lan\nhttp_access deny all", ["s:5"]),
        (f"{AD}http_access allow lan\nhttp_access allow staff\nhttp_access deny all", []),
    ],
)
def test_what_stands_behind_a_line_that_asks_for_a_password_is_for_those_who_have_one(
    text: str, places: list[str]
) -> None:
    wider = gate(read_squid(text, "s", _no_file)).imported.findings.having(Effect.WIDER)
    assert [(remark.place, remark.text) for remark in wider] == [(place, TOLD) for place in places]


def test_a_list_that_squid_declares_itself_may_be_added_to_or_be_of_another_kind_in_an_old_file() -> None:
    text = "acl localhost src 10.0.0.1\nacl manager proto cache_object\nhttp_access deny manager\n"
    ours = gate(read_squid(f"{text}http_access allow localhost\nhttp_access deny all\n", "s", _no_file))
    sources = ("127.0.0.1", "10.0.0.1", "10.0.0.2")
    assert [ours.passes("a.test:443", client(source)) for source in sources] == [True, True, False]


def test_what_stands_behind_the_file_of_a_list_is_not_read_and_that_is_told() -> None:
    text = 'acl a dstdomain "one" b.test "two"\nacl a dstdomain c.test\nhttp_access allow a\nhttp_access deny all\n'
    ours = gate(read_squid(text, "s", {"one": "a.test\n"}.__getitem__))
    assert [ours.passes(f"{name}.test:443") for name in "abc"] == [True, False, True]
    assert "acl a: squid reads nothing behind the file of a list" in ours.texts(Effect.NOTE)


def test_a_list_of_a_kind_that_is_not_carried_over_need_not_be_there() -> None:
    text = (
        'acl bad dstdom_regex "/gone"\nacl worse url_regex "/gone"\nhttp_access deny bad worse\nhttp_access allow all\n'
    )
    ours = gate(read_squid(text, "squid.conf", _no_file))
    assert ours.texts(Effect.WIDER) == ["http_access deny bad worse: bad is of kind dstdom_regex"]


def test_the_other_spelling_of_a_list_in_a_file_is_read_where_it_is_one() -> None:
    text = 'acl bad dstdomain parameters("/etc/squid/bad list")\nhttp_access deny bad\nhttp_access allow all\n'
    files = {"/etc/squid/bad list": ".bad.test\n"}
    on = f"configuration_includes_quoted_values on\n{text}"
    ours = gate(read_squid(on, "squid.conf", files.__getitem__))
    assert [ours.passes(f"{name}:443") for name in ("a.bad.test", "good.test")] == [False, True]
    assert gate(read_squid(text, "squid.conf", files.__getitem__)).passes("a.bad.test:443")  # in squid as well


def test_a_filter_by_names_in_tls_is_told_with_what_to_do() -> None:
    text = "acl ok ssl::server_name .a.test\nssl_bump peek all\nssl_bump splice ok\nssl_bump terminate all\n"
    ours = gate(read_squid(f"{text}http_access allow all\n", "squid.conf", _no_file))
    [told] = ours.texts(Effect.WIDER)
    assert told.endswith("ends connections by the name in TLS: narrow hosts to the names that it lets pass")


def test_what_no_line_covers_goes_by_the_last_line_also_where_that_was_left_out() -> None:
    text = "acl odd url_regex x\nacl a dstdomain a.test\nhttp_access deny a\nhttp_access allow odd\n"
    assert not gate(read_squid(text, "squid.conf", _no_file)).passes("b.test:443")


def test_of_lines_that_allow_the_same_one_is_kept_whatever_stands_between_them() -> None:
    access = [Line(True, ("mine",)), Line(False, ("exactly",)), Line(True, ("mine",))]
    assert list(disagreements(access)) == []


def test_a_line_without_lists_is_none_and_says_so() -> None:
    ours = gate(read_squid("acl a dstdomain a.test\nhttp_access allow a\nhttp_access allow\n", "s", _no_file))
    assert not ours.passes("b.test:443")
    assert "http_access allow: squid skips a line without lists" in ours.texts(Effect.NOTE)
    last = gate(read_squid("acl a dstdomain a.test\nhttp_access allow a\nhttp_access deny\n", "s", _no_file))
    assert not last.passes("b.test:443")


def test_lists_have_one_name_however_it_is_written() -> None:
    text = "acl Bad dstdomain a.test\nacl bad dstdomain b.test\nhttp_access deny BAD\nhttp_access allow ALL\n"
    ours = gate(read_squid(text, "squid.conf", _no_file))
    assert [ours.passes(f"{name}.test:443") for name in "abc"] == [False, False, True]
    assert ours.texts(Effect.WIDER) == []


def test_a_last_line_that_is_continued_into_nothing_counts() -> None:
    text = "acl a dstdomain a.test\nhttp_access deny a\nhttp_access deny all \\"
    assert not gate(read_squid(text, "squid.conf", _no_file)).passes("b.test:443")
    text = "acl a dstdomain a.test\nhttp_access deny a\nhttp_access allow a \\\n"
    assert not gate(read_squid(text, "squid.conf", _no_file)).passes("b.test:443")


def test_a_file_of_another_kind_is_no_squid_conf() -> None:
    with pytest.raises(Unreadable, match=r"^deployment\.yaml: holds no http_access, acl, include or http_port: is"):
        read_squid("kind: Deployment\n", "deployment.yaml", _no_file)


def test_long_lists_are_imported_in_a_moment() -> None:
    def listed(name: str) -> str:
        return "\n".join(f".d{number}.{name}" for number in range(2_000))

    files = {"good": listed("test"), "bad": listed("evil.test")}
    text = (
        'acl g dstdomain "good"\nacl b dstdomain "bad"\nhttp_access deny b\nhttp_access allow g\nhttp_access deny all\n'
    )
    imported = read_squid(text, "squid.conf", files.__getitem__)
    assert len(imported.names) >= 4_000
    assert len(imported.findings.wildcard_lines()) == 201


def test_a_list_of_thousands_of_networks_is_imported_in_a_moment() -> None:
    listed = "\n".join(f"93.{number >> 8}.{number & 255}.{number % 7}" for number in range(20_000))
    began = process_time()
    imported = read_squid('acl b dst "bad"\nhttp_access deny b\nhttp_access allow all\n', "s", lambda _: listed)
    assert process_time() - began < 5.0
    assert len(imported.names) == 1


def test_more_combinations_than_a_policy_should_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.migrate.sources.squid.access.MAX_BOXES", 50)
    many = "".join(
        f"acl p{n} port {n}\nacl d{n} dstdomain d{n}.test\nacl s{n} src 10.0.{n}.0/24\n" for n in range(1, 40)
    )
    denies = "".join(f"http_access deny p{n} d{n} s{n}\n" for n in range(1, 40))
    with pytest.raises(Unreadable, match="more than 50 rules"):
        read_squid(f"{many}{denies}http_access allow all\n", "squid.conf", _no_file)
