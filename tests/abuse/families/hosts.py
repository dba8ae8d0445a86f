"""How a host is spelt: nobody gets anywhere by another spelling of a name, and what is no name is refused as such."""

from gateway.model.reasons import Reason
from tests.abuse.case import Case, connect, get, refused

_AUTHORITY, _REQUEST = Reason.MALFORMED_AUTHORITY, Reason.MALFORMED_REQUEST
_NO_RULE, _DENIED = Reason.NO_RULE, Reason.DENIED_BY_RULE
_3_2_2, _9_3_6 = "RFC 3986 section 3.2.2", "RFC 9110 section 9.3.6"
_REFUSED = (400, 403)

BY_RULE = tuple(
    refused("hosts", what, source, connect(f"{host}:<tls>"), _REFUSED, reason)
    for what, source, host, reason in (
        ("a name in capitals", "CVE-2022-24825", "FORBIDDEN.TEST", _NO_RULE),
        ("a denied name in mixed case with a dot", "CVE-2022-24825; CVE-2026-27588", "DENY.Wild.Test.", _DENIED),
        ("one trailing dot", "CVE-2022-24825", "forbidden.test.", _NO_RULE),
        ("a name that ends like a wildcard's", "tinyproxy#627 (CWE-697)", "evilwild.test", _NO_RULE),
        ("the apex of a wildcard", "smokescreen TestHostMatchesGlob", "wild.test", _NO_RULE),
        ("an allowed name as a prefix of another", "CWE-697", "allowed.test.forbidden.test", _NO_RULE),
        ("a wildcard's name inside another", "CWE-697", "a.wild.test.evil.test", _NO_RULE),
        ("an allowed name without its dot", "CWE-697: a dot in a regular expression", "allowedxtest", _NO_RULE),
        (
            "an allowed name with a letter before it",
            "CWE-697: an expression without its start",
            "xallowed.test",
            _NO_RULE,
        ),
        (
            "an allowed name with a letter behind it",
            "CWE-697: an expression without its end",
            "allowed.testx",
            _NO_RULE,
        ),
        ("a label below an allowed name", "smokescreen acl_test.go", "www.allowed.test", _NO_RULE),
        ("a homoglyph as A-label", "UTS #39", "xn--llowed-2cg.test", _NO_RULE),
        ("a single label", "smokescreen forceFQDN", "forbidden", _NO_RULE),
        ("localhost", "CVE-2025-23217", "localhost", _NO_RULE),
    )
)

NO_NAMES = tuple(
    refused("hosts", what, source, connect(f"{host}:<tls>"), _REFUSED, reason)
    for what, source, host, reason in (
        ("two trailing dots", "CVE-2022-24825", "forbidden.test..", _AUTHORITY),
        ("a dot in front", "RFC 1035 section 2.3.1", ".forbidden.test", _AUTHORITY),
        ("an empty label", "RFC 1035 section 2.3.1", "a..wild.test", _AUTHORITY),
        ("a name in brackets", "CVE-2022-29188", "[forbidden.test]", _AUTHORITY),
        ("an allowed name in brackets", "CVE-2022-29188", "[allowed.test]", _AUTHORITY),
        ("a percent-encoded dot", _3_2_2, "forbidden%2etest", _AUTHORITY),
        ("a percent-encoded letter", _3_2_2, "%66orbidden.test", _AUTHORITY),
        ("a percent-encoded NUL", "CVE-2009-2408 and kin", "allowed.test%00.forbidden.test", _AUTHORITY),
        (
            "an allowed name as userinfo",
            "RFC 9110 section 4.2.4; WHATWG URL",
            "allowed.test:80@forbidden.test",
            _AUTHORITY,
        ),
        ("an allowed name as fragment", "WHATWG URL", "forbidden.test#allowed.test", _AUTHORITY),
        ("an allowed name as query", "WHATWG URL", "forbidden.test?allowed.test", _AUTHORITY),
        ("an allowed name as path", "WHATWG URL", "forbidden.test/allowed.test", _AUTHORITY),
        ("a backslash between names", "WHATWG URL", "forbidden.test\\.allowed.test", _AUTHORITY),
        ("a comma between names", "gh-aw-firewall#1517", "allowed.test,forbidden.test", _AUTHORITY),
        ("a semicolon between names", "gh-aw-firewall#1517", "allowed.test;forbidden.test", _AUTHORITY),
        ("an asterisk", "a pattern taken for a name", "*.wild.test", _AUTHORITY),
        ("a name in UTF-8", "smokescreen ValidateDomainGlob", "b\xc3\xbccher.wild.test", _REQUEST),
        ("a full-width dot", "UTS #46", "deny\xef\xbc\x8ewild.test", _REQUEST),
        ("an ideographic full stop", "UTS #46", "deny\xe3\x80\x82wild.test", _REQUEST),
        ("a soft hyphen", "UTS #46", "de\xc2\xadny.wild.test", _REQUEST),
        ("a byte above 127", "RFC 9112 section 3", "forbidden\xff.test", _REQUEST),
        ("a NUL", "CVE-2009-2408 and kin", "allowed.test\0.forbidden.test", _REQUEST),
        ("a blank", "RFC 9112 section 3", "allowed.test forbidden.test", _REQUEST),
        ("a tab", "RFC 9112 section 3", "allowed.test\tforbidden.test", _REQUEST),
        ("a label of 64 octets", "RFC 1035 section 2.3.4", f"{'a' * 64}.wild.test", _AUTHORITY),
        ("a name of 256 octets", "RFC 1035 section 2.3.4", f"{'a.' * 123}wild.test", _AUTHORITY),
        ("a quoted name", "gh-aw-firewall#1517", '"allowed.test"', _AUTHORITY),
    )
)

PORTS = tuple(
    refused("hosts", what, source, connect(target), _REFUSED, _AUTHORITY)
    for what, source, target in (
        ("no port", _9_3_6, "allowed.test"),
        ("an empty port", _9_3_6, "allowed.test:"),
        ("port 0", "own", "allowed.test:0"),
        ("a port above 16 bits that wraps around", "own", "allowed.test:65979"),
        ("a signed port", "own", "allowed.test:+443"),
        ("a hexadecimal port", "own", "allowed.test:0x1bb"),
        ("a port with a zero in front", "own", "allowed.test:0443"),
        ("two ports", "own", "allowed.test:443:80"),
        ("a port by its name", "RFC 6335", "allowed.test:https"),
        ("only a port", _9_3_6, ":443"),
        ("a URL", _9_3_6, "http://forbidden.test:443"),
        ("a path", _9_3_6, "/"),
    )
)

URLS = tuple(
    refused("hosts", what, source, get(url), _REFUSED, reason)
    for what, source, url, reason in (
        ("a URL of a forbidden host in capitals", "CVE-2022-24825", "http://FORBIDDEN.Test:<web>/", _NO_RULE),
        (
            "a URL with a query that looks like userinfo",
            "WHATWG URL",
            "http://forbidden.test:<web>?@allowed.test/",
            _NO_RULE,
        ),
        (
            "a URL with an allowed name as password",
            "RFC 9110 section 4.2.4",
            "http://x:allowed.test@forbidden.test:<web>/",
            _AUTHORITY,
        ),
        (
            "a URL with a fragment that hides userinfo",
            "WHATWG URL",
            "http://forbidden.test:<web>#@allowed.test/",
            _REQUEST,
        ),
        ("a URL with a backslash", "WHATWG URL", "http://forbidden.test:<web>\\@allowed.test:<web>/", _REQUEST),
        ("a URL with a percent-encoded host", _3_2_2, "http://%66orbidden.test:<web>/", _AUTHORITY),
        ("a URL with an empty host", "RFC 9110 section 4.2.1", "http:///forbidden.test/", _REQUEST),
        ("a URL without slashes", "RFC 3986 section 3", "http:forbidden.test:<web>/", Reason.NOT_A_PROXY_REQUEST),
    )
)

CASES: tuple[Case, ...] = (*BY_RULE, *NO_NAMES, *PORTS, *URLS)
