"""`check` says everything at once, where it stands, and ends with 0 or 1."""

import time
from pathlib import Path

import pytest

from gateway.cli.check import check_files, is_gateway_file
from tests.helpers.certificates import DAY, Authority
from tests.settings.texts import write

RULE = "rules: [{name: a, hosts: [x.example]}]"


def test_a_good_policy_is_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "any.yaml", RULE)
    assert check_files([path])
    assert capsys.readouterr() == (f"{path}: ok, 1 rule, 0 groups\n", "")


def test_every_problem_is_a_line_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path, "any.yaml", "rules:\n  - name: a\n    hosts: ['[brackets].example', a..b]\n    inspect: {}\n"
    )
    assert not check_files([path])
    out, err = capsys.readouterr()
    assert out == f"{path}: 2 problems\n"
    assert [line.split(": ")[:2] for line in err.splitlines()] == [
        [f"{path}:3", "rules[0].hosts[0]"],
        [f"{path}:3", "rules[0].hosts[1]"],
    ]


def test_a_key_whose_feature_does_not_exist_yet_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "any.yaml", "rules:\n  - name: a\n    hosts: [x.example]\n    via: proxy\n")
    assert not check_files([path])
    assert capsys.readouterr().err == f"{path}:4: rules[0].via: is not available yet\n"


def test_settings_are_checked_with_the_policy_and_the_users_that_they_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "users", "alice:plain\n")
    write(tmp_path, "mine.yaml", "rules: [{name: a}]")
    path = write(tmp_path, "settings.yaml", "listeners: []\n")
    assert not check_files([path])
    assert capsys.readouterr().err == f"{path}:1: listeners: must not be empty\n"
    write(tmp_path, "settings.yaml", "policy: mine.yaml\nidentity: {basic: {htpasswd: users}}\n")
    assert not check_files([path])
    assert [line.split(": ")[0] for line in capsys.readouterr().err.splitlines()] == [
        f"{tmp_path}/users:1",
        f"{tmp_path}/mine.yaml:1",
    ]


def test_warnings_and_notes_are_told_and_forgiven(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "any.yaml", "rules: [{name: a, hosts: [bücher.example], ports: [22]}]")
    assert check_files([path])
    out, err = capsys.readouterr()
    assert err.startswith(f"warning: {path}:1: rules[0].ports: 22 (SSH)")
    assert out == (
        f"note: {path}:1: rules[0].hosts[0]: bücher.example is xn--bcher-kva.example\n"
        f"{path}: ok, 1 rule, 0 groups, 1 warning\n"
    )


def test_rules_that_have_expired_or_soon_will_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tomorrow, next_year = (time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86400)) for days in (1, 365))
    rules = [
        f"  - {{name: {day}, hosts: [x{day}.example], expires: {day}}}" for day in ("2020-01-31", tomorrow, next_year)
    ]
    path = write(tmp_path, "any.yaml", "\n".join(["rules:", *rules]))
    assert check_files([path])
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        f"warning: {path}:2: rule 2020-01-31 has expired (2020-01-31): remove it, or give it a later day",
        f"warning: {path}:3: rule {tomorrow} expires soon: {tomorrow} is its last day",
    ]
    assert out == f"{path}: ok, 3 rules, 0 groups, 2 warnings\n"


def test_a_directory_is_one_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "a.yaml", "clients: {g: {match: [{user: u}]}}")
    write(tmp_path, "b.yaml", "rules: [{name: a, clients: [g], hosts: [x.example]}]")
    assert check_files([tmp_path])
    assert capsys.readouterr().out == f"{tmp_path}: ok, 1 rule, 1 group\n"


def test_a_policy_is_judged_with_the_settings_here_or_with_those_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "policy.yaml", "rules: [{name: a, hosts: [x.example], inspect: {}}]")
    assert not check_files([Path("policy.yaml")])
    assert "needs an authority" in capsys.readouterr().err
    write(tmp_path, "other.yaml", "inspection: {ca_cert: not-here.crt, ca_key: not-here.key}")
    assert check_files([Path("policy.yaml")], Path("other.yaml"))
    (tmp_path / "other.yaml").rename(tmp_path / "gateway.yaml")
    assert check_files([Path("policy.yaml")])


def test_all_files_are_checked_even_after_a_bad_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, good = write(tmp_path, "bad.yaml", "rules: ["), write(tmp_path, "good.yaml", RULE)
    assert not check_files([bad, tmp_path / "gone.yaml", good])
    out, err = capsys.readouterr()
    assert [line.split(": ")[1] for line in out.splitlines()] == ["1 problem", "1 problem", "ok, 1 rule, 0 groups"]
    assert len(err.splitlines()) == 2


def test_without_a_name_the_settings_here_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "policy.yaml", RULE)
    assert check_files([])
    assert capsys.readouterr().out == "defaults, as there is no gateway.yaml here: ok, 1 rule, 0 groups\n"
    write(tmp_path, "gateway.yaml", "")
    assert check_files([])
    assert capsys.readouterr().out == "gateway.yaml: ok, 1 rule, 0 groups\n"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.yaml", "listeners: []", True),
        ("gateway.yaml", "rules: []", False),
        ("x.yaml", "mode: report", False),
        ("my-gateway.yaml", "", True),
        ("x.yaml", "version: 1", False),
        ("gateway.yaml", "a: [", True),
        ("x.yaml", "a: [", False),
    ],
)
def test_the_content_tells_which_kind_of_file_it_is(tmp_path: Path, name: str, text: str, expected: bool) -> None:
    assert is_gateway_file(write(tmp_path, name, text)) is expected


def test_authorities_for_name_servers_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "policy.yaml", "rules: []")
    (tmp_path / "ca.pem").write_text("")
    file = write(tmp_path, "gateway.yaml", "resolver: {transport: dot, tls: {ca: ca.pem}}")
    assert not check_files([file])
    assert "gateway.yaml:1: resolver.tls.ca: " in capsys.readouterr().err


def test_certificates_and_keys_are_checked_with_the_settings_that_name_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "tls.crt", "nothing")
    write(tmp_path, "tls.key", "nothing").chmod(0o666)
    path = write(tmp_path, "gateway.yaml", "version: 1\nlisteners: [{tls: {cert: tls.crt, key: tls.key}}]\n")
    assert not check_files([path])
    problem = f"{tmp_path}/tls.key has mode 0666: a private key needs 0640 or less (chmod 0640)"
    assert capsys.readouterr().err == f"{path}:2: listeners[0].tls.key: {problem}\n"


@pytest.mark.parametrize(("token", "why"), [(None, "No such file or directory"), ("\n", "is empty")])
def test_a_token_that_a_start_would_refuse_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], token: str | None, why: str
) -> None:
    if token is not None:
        (tmp_path / "token").write_text(token)
    write(tmp_path, "users", "x")
    path = write(tmp_path, "gateway.yaml", "admin:\n  token_file: token\nidentity: {basic: {htpasswd: users}}\n")
    assert not check_files([path])
    users, told = capsys.readouterr().err.splitlines()
    assert users.startswith(f"{tmp_path}/users:1: ")
    assert told == f"{path}:2: admin.token_file: {tmp_path}/token: {why}"


def test_what_a_start_would_refuse_of_the_environment_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "policy.yaml", RULE)
    text = "policy: policy.yaml\ntelemetry: {otlp: {endpoint: 'http://collector:4318'}}\n"
    path = write(tmp_path, "gateway.yaml", text)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json")
    assert not check_files([path])
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: http/json is not supported: use grpc or http/protobuf",
        "OTEL_EXPORTER_OTLP_TIMEOUT: 0 is no time: use seconds, more than 0 and up to 86400",
    ]
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert check_files([path])


def test_certificates_that_have_expired_or_soon_will_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority("any")
    listeners = []
    for name, days in (("gone", -1), ("soon", 2), ("later", 5)):
        cert, key = authority.leaf(dns=["gw.test"], valid=(-9 * DAY, days * DAY)).write(tmp_path, name)
        listeners.append(f"  - {{name: {name}, bind: '127.0.0.1:0', tls: {{cert: {cert}, key: {key}}}}}")
    write(tmp_path, "policy.yaml", RULE)
    path = write(tmp_path, "gateway.yaml", "\n".join(["listeners:", *listeners]))
    assert check_files([path])
    out, err = capsys.readouterr()
    assert out == f"{path}: ok, 1 rule, 0 groups, 2 warnings\n"
    assert [line.partition(" at ")[0] for line in err.splitlines()] == [
        "warning: listener gone: its certificate has expired",
        "warning: listener soon: its certificate ends soon,",
    ]
