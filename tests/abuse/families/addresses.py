"""Addresses in place of names: in no spelling does one lead anywhere that no rule names."""

from gateway.model.reasons import Reason
from tests.abuse.case import Case, connect, get, refused

_NO_RULE, _AUTHORITY = Reason.NO_RULE, Reason.MALFORMED_AUTHORITY
_ACL = "gh-aw-firewall#137; agent-glovebox#1248"
_INET_ATON = "inet_aton; CPython getaddrinfo"
_CLOUDS = "ECS, EKS, Azure, Alibaba, OCI: where credentials are served"

LITERALS = tuple(
    refused("addresses", what, source, connect(f"{host}:<tls>"), (400, 403), reason)
    for what, source, host, reason in (
        ("an internal address", _ACL, "127.0.0.2", _NO_RULE),
        ("the address behind an allowed name", _ACL, "127.0.0.1", _NO_RULE),
        ("an internal address with a dot", _INET_ATON, "127.0.0.2.", _AUTHORITY),
        ("an address of two parts", _INET_ATON, "127.2", _AUTHORITY),
        ("an address of three parts", _INET_ATON, "127.0.2", _AUTHORITY),
        ("an address as one number", _INET_ATON, "2130706434", _AUTHORITY),
        ("an address in hexadecimal", _INET_ATON, "0x7f.0.0.2", _AUTHORITY),
        ("an address as one hexadecimal number", _INET_ATON, "0x7f000002", None),
        ("an address in octal", _INET_ATON, "0177.0.0.2", _AUTHORITY),
        ("an address with a leading zero", "CVE-2021-29921", "127.0.0.02", _AUTHORITY),
        ("an address with a part above 255", _INET_ATON, "127.0.0.258", _AUTHORITY),
        ("an address of five parts", _INET_ATON, "127.0.0.0.2", _AUTHORITY),
        ("this host", "CVE-2025-24354", "0.0.0.0", _NO_RULE),
        ("0", _INET_ATON, "0", _AUTHORITY),
        ("full-width digits", "UTS #46", "\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.2", Reason.MALFORMED_REQUEST),
        ("IPv6 loopback", "CVE-2026-42339", "[::1]", _NO_RULE),
        ("IPv6 loopback in full", "CVE-2026-42339", "[0:0:0:0:0:0:0:1]", _NO_RULE),
        ("the unspecified IPv6 address", "CVE-2026-42339", "[::]", _NO_RULE),
        ("IPv4 mapped into IPv6", "CVE-2024-24806 and kin", "[::ffff:127.0.0.2]", _NO_RULE),
        ("IPv4 mapped, in hexadecimal", "CVE-2024-24806 and kin", "[::ffff:7f00:2]", _NO_RULE),
        ("IPv4-compatible IPv6", "RFC 4291 section 2.5.5.1", "[::127.0.0.2]", _NO_RULE),
        ("NAT64 of an internal address", "smokescreen#277", "[64:ff9b::7f00:2]", _NO_RULE),
        ("6to4 of an internal address", "smokescreen#277", "[2002:7f00:2::]", _NO_RULE),
        ("Teredo", "RFC 4380", "[2001:0:7f00:2::1]", _NO_RULE),
        ("link-local IPv6 with a zone", "RFC 6874", "[fe80::1%25lo]", _AUTHORITY),
        ("a unique local address", "RFC 4193", "[fd00:ec2::254]", _NO_RULE),
        ("IPv6 without brackets", "RFC 3986 section 3.2.2", "::1", _AUTHORITY),
        ("IPv6 with two double colons", "RFC 4291 section 2.2", "[1::2::3]", _AUTHORITY),
        ("a future address", "RFC 3986 section 3.2.2", "[v1.fe80::a]", _AUTHORITY),
        ("IPv4 in brackets", "RFC 3986 section 3.2.2", "[127.0.0.2]", _AUTHORITY),
        ("broadcast", "RFC 919", "255.255.255.255", _NO_RULE),
        ("multicast", "RFC 5771", "224.0.0.1", _NO_RULE),
        ("private space", "RFC 1918", "10.0.0.1", _NO_RULE),
        ("shared address space", "RFC 6598", "100.64.0.1", _NO_RULE),
    )
)

METADATA = tuple(
    refused(
        "addresses",
        f"metadata at {host} by {'CONNECT' if tunnel else 'GET'}",
        _CLOUDS,
        connect(f"{host}:80") if tunnel else get(f"http://{host}/latest/meta-data/"),
        (400, 403),
        _NO_RULE,
    )
    for host in (
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "[fd00:ec2::254]",
    )
    for tunnel in (True, False)
)

CASES: tuple[Case, ...] = (*LITERALS, *METADATA)
