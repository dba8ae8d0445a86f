"""What a rule's `inspect` compiles to, and what is wrong with one that cannot mean what it says."""

import time
from pathlib import Path
from textwrap import indent

import pytest

from gateway.intercept.authority import create_authority
from gateway.model.inspection.terms import Allowed, Asked, HeaderValue, Inspection, SecretName
from gateway.settings.gateway import GatewaySettings, InspectionSettings
from gateway.settings.load import load_policy, with_policy
from gateway.settings.problems import ConfigErrors
from tests.settings.texts import compile_text, write

SETTINGS = GatewaySettings.model_validate(
    {
        "secrets": {
            "key": {"file": "key", "hosts": ["api.example", "*.api.example"]},
            "team": {"file": "team", "hosts": ["api.example"], "clients": ["a", "b"]},
        },
        "client_certificates": {
            "own": {"cert": "c", "key": "k", "hosts": ["api.example"], "clients": ["a"]},
        },
        "inspectors": {"keys": {"secrets": {}}, "types": {"media": {}}},
    },
    context={"directory": Path()},
)
GROUPS = "clients: {a: {match: [{user: a}]}, b: {match: [{user: b}]}, c: {match: [{user: c}]}}\n"


def policy(inspect: str, hosts: str = "[api.example]", more: str = "") -> str:
    return f"{GROUPS}rules:\n  - name: r\n    hosts: {hosts}\n    inspect: {inspect}\n{indent(more, '    ')}"


def inspection(inspect: str) -> Inspection:
    terms = compile_text(policy(inspect), settings=SETTINGS).policy.rules[0].terms
    assert terms.inspection is not None
    return terms.inspection


def problems(text: str) -> list[str]:
    try:
        compile_text(text, settings=SETTINGS)
    except ConfigErrors as refusal:
        return [str(problem).removeprefix("policy.yaml:") for problem in refusal.problems]
    return []


def bearer(secret: str) -> str:
    return '{headers: {set: {Authorization: "Bearer ${secret:%s}"}}}' % secret  # noqa: UP031  braces of two kinds


def test_an_empty_one_lets_everything_pass() -> None:
    assert inspection("{}") == Inspection()


def test_all_of_it() -> None:
    compiled = inspection(
        "{requests: [{methods: [GET], paths: [/a/**]}, {content_types: [Text/*], max_body: 1KiB}],"
        ' headers: {set: {X-Key: "k ${secret:key}${secret:key}.", A_b: "1"}, remove: [X_Old]},'
        " log: {headers: [User-Agent], query: true}}"
    )
    assert compiled.requests is not None
    assert compiled.requests.judge(Asked("GET", "/a/b")) == Allowed()
    assert compiled.requests.judge(Asked("PUT", "/", True, ("text/x",), 9)) == Allowed(1024)
    assert compiled.set == (
        HeaderValue("X-Key", ("k ", SecretName("key"), SecretName("key"), ".")),
        HeaderValue("A_b", ("1",)),
    )
    assert compiled.secrets == ("key",)
    assert compiled.remove == {"x-old"}
    assert (compiled.log_headers, compiled.log_query) == (("user-agent",), True)


def test_a_rule_with_a_secret_passes_no_trace_even_where_it_allows_all() -> None:
    requests = inspection(bearer("key")).requests
    assert requests is not None
    assert requests.judge(Asked("GET", "//any")) == Allowed()
    assert not isinstance(requests.judge(Asked("TRACE", "/")), Allowed)


@pytest.mark.parametrize(
    ("inspect", "path", "problem"),
    [
        (
            "{requests: [{}]}",
            "requests[0]",
            "an empty entry would allow every request: remove requests, or say which are allowed",
        ),
        (
            "{requests: [{methods: [get]}]}",
            "requests[0].methods[0]",
            '"get" is not a method: write it in capitals, such as GET',
        ),
        ("{requests: [{methods: [CONNECT]}]}", "requests[0].methods[0]", "CONNECT is never passed on"),
        (
            "{requests: [{paths: [/a, /b*]}]}",
            "requests[0].paths[1]",
            '"/b*": a star stands for whole segments: * for one, ** for any number',
        ),
        (
            "{requests: [{content_types: [json]}]}",
            "requests[0].content_types[0]",
            '"json" is not type/subtype or type/* without parameters',
        ),
        ("{headers: {}}", "headers", "changes nothing: it needs set or remove"),
        ('{headers: {set: {"X Y": a}}}', 'headers.set["X Y"]', '"X Y" is not the name of a header'),
        ("{headers: {set: {Host: a}}}", "headers.set.Host", "Host is set by the gateway alone"),
        ("{headers: {remove: [Content_Length]}}", "headers.remove[0]", "Content_Length is set by the gateway alone"),
        ("{headers: {set: {X-Egress-A: a}}}", "headers.set.X-Egress-A", "X-Egress-A is set by the gateway alone"),
        (
            "{headers: {set: {X-A: a}, remove: [x_a]}}",
            "headers.remove[0]",
            "x_a is named twice (case, - and _ make no difference)",
        ),
        ('{headers: {set: {X-A: "${env:HOME}"}}}', "headers.set.X-A", "only ${secret:name} can be filled in"),
        ('{headers: {set: {X-A: "a\\nb"}}}', "headers.set.X-A", "must be printable ASCII without blanks at its ends"),
        ("{log: {headers: [Cookie]}}", "log.headers[0]", "Cookie may hold a credential"),
    ],
)
def test_what_cannot_mean_what_it_says_is_told_by_its_place(inspect: str, path: str, problem: str) -> None:
    assert problems(policy(inspect)) == [f"5: rules[0].inspect.{path}: {problem}"]


def test_a_header_that_holds_a_secret_is_never_recorded() -> None:
    text = '{headers: {set: {X-Key: "${secret:key}"}}, log: {headers: [x_key]}}'
    assert problems(policy(text)) == ["5: rules[0].inspect.log.headers[0]: x_key may hold a credential"]


PLACE = "5: rules[0].inspect.headers.set.Authorization: the secret "


@pytest.mark.parametrize(
    ("secret", "hosts", "more", "problem"),
    [
        ("kye", "[api.example]", "", "'kye' is not declared in gateway.yaml, did you mean 'key'?"),
        (
            "key",
            "[x.api.example, other.example]",
            "",
            "'key' may not be sent to other.example: gateway.yaml says to which hosts",
        ),
        ("key", '["*.example"]', "", "'key' may not be sent to *.example: gateway.yaml says to which hosts"),
        (
            "team",
            '[".api.example"]',
            "clients: [a]",
            "'team' may not be sent to *.api.example: gateway.yaml says to which hosts",
        ),
        ("key", "[api.example]", "cidrs: [192.0.2.1]", "'key' may only be sent to names, and this rule has cidrs"),
        ("team", "[api.example]", "", "'team' is only for the clients a, b: the rule may have no others"),
        (
            "team",
            "[api.example]",
            "clients: [a, c]",
            "'team' is only for the clients a, b: the rule may have no others",
        ),
        ("key", "[api.example]", "protocol: http", "'key' is only sent over TLS, and this rule carries none"),
        ("key", "[api.example]", "ports: [80]", "'key' is only sent over TLS, and this rule carries none"),
    ],
)
def test_a_secret_goes_nowhere_but_where_it_may(secret: str, hosts: str, more: str, problem: str) -> None:
    assert problems(policy(bearer(secret), hosts, more)) == [PLACE + problem]


@pytest.mark.parametrize(
    ("secret", "hosts", "more"),
    [
        ("key", '[api.example, ".x.api.example"]', ""),
        ("key", '["*.api.example"]', "ports: [443, 8443]"),
        ("team", "[api.example]", "clients: [b]"),
        ("team", "[api.example]", "clients: [a, b]\nprotocol: tls\nports: any"),
        ("team", "[other.example]", "action: deny"),
    ],
)
def test_and_goes_there(secret: str, hosts: str, more: str) -> None:
    assert problems(policy(bearer(secret), hosts, more)) == []


@pytest.mark.parametrize(
    ("name", "hosts", "more", "problem"),
    [
        ("won", "[api.example]", "clients: [a]", "'won' is not declared in gateway.yaml, did you mean 'own'?"),
        ("own", "[x.example]", "clients: [a]", "'own' may not be sent to x.example: gateway.yaml says to which hosts"),
        ("own", "[api.example]", "", "'own' is only for the clients a: the rule may have no others"),
        (
            "own",
            "[api.example]",
            "clients: [a]\nports: [80]",
            "'own' is only sent over TLS, and this rule carries none",
        ),
    ],
)
def test_nor_does_a_client_certificate(name: str, hosts: str, more: str, problem: str) -> None:
    place = "5: rules[0].inspect.client_certificate: the client certificate "
    assert problems(policy(f"{{client_certificate: {name}}}", hosts, more)) == [place + problem]


def test_a_client_certificate_is_named() -> None:
    text = policy("{client_certificate: own}", more="clients: [a]")
    terms = compile_text(text, settings=SETTINGS).policy.rules[0].terms
    assert terms.inspection == Inspection(client_certificate="own")


def test_plain_http_beside_tls_is_warned_of() -> None:
    compiled = compile_text(policy(bearer("key"), more="ports: [80, 443]"), settings=SETTINGS)
    problem = "its secrets go over TLS only: requests in plain HTTP, which it carries as well, are refused"
    assert compiled.warnings == (f"policy.yaml:5: rules[0].inspect: {problem}",)


def test_the_authorities_of_a_destination_are_read_with_the_policy(tmp_path: Path) -> None:
    text = "rules: [{name: r, hosts: [a.example], ports: [80], inspect: {upstream_ca: ca.pem}}]"
    path = write(tmp_path, "policy.yaml", text)
    with pytest.raises(ConfigErrors) as refusal:
        load_policy(with_policy(GatewaySettings(), path))
    where = f"{path}:1: rules[0].inspect.upstream_ca"
    assert str(refusal.value) == f"{where}: {tmp_path}/ca.pem cannot be read: No such file or directory"
    write(tmp_path, "ca.pem", "PEM")
    with pytest.raises(ConfigErrors, match=r"ca\.pem holds no CA certificate in PEM form"):
        load_policy(with_policy(GatewaySettings(), path))
    certificate = create_authority("corp", time.time())[0].decode()
    write(tmp_path, "ca.pem", certificate)
    loaded = load_policy(with_policy(GatewaySettings(), path))
    assert tmp_path / "ca.pem" in loaded.files
    terms = loaded.policy.rules[0].terms
    assert terms.inspection == Inspection(upstream_ca=certificate)


@pytest.mark.parametrize("keys", ["protocol: tls", "ports: [443]", "ports: [80, 443]", "protocol: auto"])
def test_what_can_be_tls_needs_an_authority_that_signs(tmp_path: Path, keys: str) -> None:
    path = write(
        tmp_path, "policy.yaml", f"rules:\n  - name: r\n    hosts: [a.example]\n    inspect: {{}}\n    {keys}\n"
    )
    settings = with_policy(GatewaySettings(), path)
    with pytest.raises(ConfigErrors, match=r"policy\.yaml:4: rules\[0\]\.inspect: needs an authority: set"):
        load_policy(settings)
    inspection = InspectionSettings.model_validate({"ca_cert": "c", "ca_key": "k"}, context={"directory": tmp_path})
    assert load_policy(settings.model_copy(update={"inspection": inspection})).policy.rules


@pytest.mark.parametrize("keys", ["protocol: http", "ports: [80]"])
def test_it_is_there_for_plain_http(tmp_path: Path, keys: str) -> None:
    text = f"rules:\n  - name: r\n    hosts: [a.example]\n    inspect: {{}}\n    {keys}\n"
    assert load_policy(with_policy(GatewaySettings(), write(tmp_path, "policy.yaml", text))).policy.rules


def test_a_rule_names_inspectors_that_are_declared() -> None:
    assert inspection("{inspectors: [keys, types]}").inspectors == ("keys", "types")
    assert problems(policy("{inspectors: [keys, kays]}")) == [
        "5: rules[0].inspect.inspectors[1]: the inspector 'kays' is not declared in gateway.yaml, did you mean 'keys'?"
    ]
    assert problems(policy("{inspectors: [keys, keys]}")) == [
        "5: rules[0].inspect.inspectors[1]: the inspector 'keys' is named twice"
    ]
