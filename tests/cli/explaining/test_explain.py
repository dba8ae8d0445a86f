"""`explain` gives the gateway's own verdict, with what decides it and what would change it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from gateway.cli.explaining.explain import explain_url
from gateway.cli.explaining.question import Unanswerable
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import load_policy, with_policy
from tests.settings.texts import write

POLICY = """\
    clients:
      payments: {match: [{cidr: 10.20.0.0/16, user: ci}]}
      pods: {match: [{namespace: n, service_account: s}]}
      mesh: {match: [{spiffe: "spiffe://cluster.local/*"}]}
      watched: {mode: report, match: [{cidr: 10.9.0.0/16}]}
    rules:
      - {name: web, hosts: ["*.example.com"]}
      - {name: api, hosts: [api.example.com], clients: [payments]}
      - {name: pods-only, hosts: [pods.test], clients: [pods], note: of team pods}
      - {name: mesh-only, hosts: [mesh.test], clients: [mesh]}
      - {name: plain, hosts: [plain.test], ports: [80]}
      - {name: old, hosts: [old.test], expires: 2020-01-01}
      - {name: not-this, hosts: ["*.wide.test"], except: {hosts: [x.wide.test]}}
      - {name: net, cidrs: [192.0.2.0/24, 127.0.0.0/8]}
      - {name: no-paste, hosts: [.paste.test], action: deny, note: "ask security\\n  first"}
      - name: judged
        hosts: [judged.test]
        ports: [80]
        inspect: {requests: [{methods: [GET], paths: [/v1/*]}, {methods: [POST], max_body: 1KiB}]}
      - {name: lent, hosts: [lent.test], expires: 2999-12-31}
      - {name: tried, hosts: [tried.test], ports: [80], mode: report, inspect: {requests: [{methods: [HEAD]}]}}
    """


class Explained:
    """What was printed, and the verdict."""

    def __init__(self, allowed: bool, out: str, err: str) -> None:
        self.allowed = allowed
        self.out = out
        self.err = err
        self.lines = [line.strip() for line in out.splitlines()]

    def line(self, name: str) -> str:
        """The rest of the first line that begins with `name`."""
        return next(line.removeprefix(name).strip() for line in self.lines if line.startswith(name))


Ask = Callable[..., Explained]


@pytest.fixture
def explain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "policy.yaml", POLICY)

    def ask(url: str, client: str | None = None, source: str | None = None, method: str | None = None) -> Explained:
        allowed = explain_url(url, None, None, client, source, method)
        return Explained(allowed, *capsys.readouterr())

    return ask


def test_an_allow_names_the_rule_with_its_line(explain: Ask) -> None:
    answer = explain("https://a.example.com/path?query")
    assert answer.allowed
    assert answer.lines[0] == "allow  CONNECT a.example.com:443"
    assert answer.line("rule") == "policy.yaml#web (policy.yaml:7)"
    assert answer.line("terms") == "first bytes tls, sni match, ech outer"
    assert not [line for line in answer.lines if line.startswith("note")]
    assert answer.line("groups") == "none"


def test_a_group_is_asked_for_by_its_name(explain: Ask) -> None:
    answer = explain("api.example.com:443", client="payments")
    assert answer.line("rule") == "policy.yaml#api (policy.yaml:8)"
    assert answer.line("client") == "10.20.0.0, user ci"
    assert answer.line("groups") == "payments"
    assert explain("pods.test", client="pods").allowed
    assert explain("mesh.test", client="mesh").allowed
    assert not explain("mesh.test").allowed


def test_a_user_and_an_address_are_asked_for_as_such(explain: Ask) -> None:
    assert explain("api.example.com", client="ci", source="10.20.3.4").line("rule").startswith("policy.yaml#api")
    assert explain("api.example.com", client="ci", source="10.21.3.4").line("rule").startswith("policy.yaml#web")


def test_a_request_and_a_tunnel_to_port_80_are_different_questions(explain: Ask) -> None:
    assert explain("http://plain.test/").lines[0] == "allow  http request plain.test:80"
    assert explain("http://plain.test/", method="CONNECT").lines[0] == "allow  CONNECT plain.test:80"
    refused = explain("http://a.example.com:443/")
    assert not refused.allowed
    assert refused.line("reason").startswith("protocol_mismatch")


def test_a_deny_rule_is_named_with_the_way_out(explain: Ask) -> None:
    answer = explain("www.paste.test:8443")
    assert not answer.allowed
    assert answer.line("rule") == "policy.yaml#no-paste (policy.yaml:15)"
    assert answer.line("note") == "ask security first"
    assert "except: {hosts: [www.paste.test]}" in answer.lines


@pytest.mark.parametrize(
    ("url", "nearly"),
    [
        ("a.example.com:8443", "policy.yaml#web (policy.yaml:7): for port 443 only"),
        ("pods.test", "policy.yaml#pods-only (policy.yaml:9): for pods only (of team pods)"),
        ("old.test", "policy.yaml#old (policy.yaml:12): has expired"),
        ("x.wide.test", "policy.yaml#not-this (policy.yaml:13): excepts this destination or client"),
        ("192.0.2.9:80", "policy.yaml#net (policy.yaml:14): for port 443 only"),
    ],
)
def test_without_a_rule_the_ones_that_nearly_applied_are_named(explain: Ask, url: str, nearly: str) -> None:
    answer = explain(url)
    assert not answer.allowed
    assert answer.line("reason").startswith("no_rule")
    assert answer.line("nearly") == nearly


@pytest.mark.parametrize(
    "url", ["new.test", "new.test:22", "http://new.test/", "192.0.2.9:8443", "[2001:db8::1]:443", "1e5", "null"]
)
def test_what_it_says_would_allow_it_does(explain: Ask, tmp_path: Path, url: str) -> None:
    answer = explain(url)
    assert not answer.allowed
    write(tmp_path, "policy.yaml", answer.out[answer.out.index("rules:") :])
    assert load_policy(with_policy(GatewaySettings(), tmp_path / "policy.yaml")).warnings == ()
    assert explain(url).allowed


def test_what_would_allow_it_is_for_the_groups_of_who_asks_and_not_for_everyone(explain: Ask) -> None:
    answer = explain("new.test", client="payments")
    (added,) = yaml.safe_load(answer.out[answer.out.index("rules:") :])["rules"]
    assert added == {"name": "allow-new-test", "clients": ["payments"], "hosts": ["new.test"]}


def test_a_rule_that_has_expired_is_what_to_change_and_one_that_will_says_when(explain: Ask) -> None:
    refused = explain("old.test")
    expired = "# in the rule policy.yaml#old (policy.yaml:12), which has expired"
    assert refused.lines[-1] == f"{expired}: set `expires` to a later day, or remove it"
    assert explain("lent.test").line("expires") == "2999-12-31 is the rule's last day (UTC)"
    assert not [line for line in explain("a.example.com").lines if line.startswith("expires")]


def test_nothing_is_proposed_for_an_address_that_no_rule_can_open(explain: Ask) -> None:
    answer = explain("224.0.0.1:443")
    assert not answer.allowed
    assert answer.lines[-1].startswith("No rule can allow it: ")
    assert "rules:" not in answer.out


def test_an_address_is_screened_as_it_would_be_before_a_dial(explain: Ask) -> None:
    assert explain("192.0.2.9").line("address") == "may be dialled"
    refused = explain("127.0.0.9:443")
    assert not refused.allowed
    assert refused.lines[0] == "deny  CONNECT 127.0.0.9:443"
    assert refused.line("address").startswith("refused: ")


def test_report_mode_is_told(explain: Ask) -> None:
    answer = explain("www.paste.test", source="10.9.0.1")
    assert answer.allowed
    assert answer.line("report").startswith("passes in report mode only, else denied_by_rule by policy.yaml#no-paste")


def test_a_name_in_unicode_is_asked_for_in_ascii(explain: Ask) -> None:
    assert explain("https://bücher.example").lines[0] == "deny  CONNECT xn--bcher-kva.example:443"


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("ftp://x.test", None),
        ("x.test:99999", None),
        ("user@x.test:443", None),
        ("https://", None),
        ("3221225993:443", None),
        ("a b", None),
        ("☃.\u0378", None),
        ("x.test", "10.0.0"),
    ],
)
def test_a_question_without_sense_has_no_answer(explain: Ask, url: str, source: str | None) -> None:
    with pytest.raises(Unanswerable):
        explain(url, source=source)


@pytest.mark.parametrize(
    ("url", "method", "allowed", "request_line"),
    [
        ("http://judged.test/v1/a?b=/c", None, True, "allowed"),
        ("http://judged.test/v1/a", "post", True, "allowed, with at most 1024 bytes of content"),
        ("http://judged.test/v1/a/b", "GET", False, "request_denied: no entry of requests has the method and the path"),
        ("http://judged.test", None, False, "request_denied: no entry of requests has the method and the path"),
        ("http://judged.test/v1/a%2fb", None, False, "request_denied: ambiguous path: an escaped separator or control"),
        ("http://tried.test/", None, True, "passes in report mode only, else request_denied: no entry of requests has"),
    ],
)
def test_a_request_is_judged_where_the_rule_looks_at_requests(
    explain: Ask, url: str, method: str | None, allowed: bool, request_line: str
) -> None:
    explained = explain(url, method=method)
    assert explained.allowed is allowed
    assert explained.line("request ").startswith(request_line)


def test_a_tunnel_alone_is_no_request(explain: Ask) -> None:
    explained = explain("http://judged.test:80/v2", method="CONNECT")
    assert explained.allowed
    assert not [line for line in explained.lines if line.startswith("request")]


def test_a_client_that_is_nearly_a_group_is_doubted(explain: Ask) -> None:
    answer = explain("https://api.example.com", client="payment")
    assert answer.line("client") == "127.0.0.1, user payment"
    assert answer.err.startswith("warning: --client: no group is called 'payment', did you mean 'payments'?")
    assert explain("https://api.example.com", client="bob").err == ""


def test_a_client_that_its_address_keeps_out_of_the_group_is_doubted(explain: Ask) -> None:
    answer = explain("https://api.example.com", client="watched", source="10.20.0.1")
    assert answer.line("groups") == "none"
    assert answer.err == "warning: --client: from this address it is no member of 'watched'\n"
    assert explain("https://api.example.com", client="watched", source="10.9.0.1").err == ""


def test_that_there_is_no_policy_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not explain_url("x.example", None, None, None, None, None)
    assert capsys.readouterr().err == "warning: policy.yaml: there is no policy, everything is denied\n"
