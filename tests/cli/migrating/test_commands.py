"""`import`, `env` and `network-policy` as users start them."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.migrate.workloads.exemptions import LOCAL
from tests.cli.test_main import gateway
from tests.migrate.judging import EXAMPLES

COMPLETE = {"squid": "squid.conf", "istio": "istio.yaml", "network-policy": "network-policy.yaml"}
INCOMPLETE = {"smokescreen": "smokescreen.yaml", "cilium": "cilium.yaml"}


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize(("source", "file"), [*COMPLETE.items(), *INCOMPLETE.items()])
def test_what_is_printed_is_a_policy_that_check_takes(source: str, file: str, tmp_path: Path) -> None:
    status, text, said = run("import", source, str(EXAMPLES / file))
    assert status == (1 if source in INCOMPLETE else 0), said
    assert ("left out" in said) == (source in INCOMPLETE)
    policy = tmp_path / "policy.yaml"
    policy.write_text(text)
    status, summary, said = run("check", str(policy))
    assert status == 0, said
    assert f"{policy}: ok" in summary
    assert run("import", source, str(EXAMPLES / file), "--accept")[:2] == (0, text)


def test_what_would_be_wider_is_printed_only_if_accepted(tmp_path: Path) -> None:
    conf = tmp_path / "squid.conf"
    conf.write_text("acl bad url_regex x\nhttp_access deny bad\nhttp_access allow all\n")
    status, text, said = run("import", "squid", str(conf))
    assert (status, text) == (1, "")
    assert f"wider: {conf}:2: http_access deny bad: bad is of kind url_regex" in said
    status, text, _ = run("import", "squid", str(conf), "--accept")
    assert status == 0
    assert "# WIDER than the source" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "iptables", "x"), "SOURCE is one of smokescreen, squid, istio"),
        (("import", "istio", "/nowhere.yaml"), "/nowhere.yaml cannot be read: No such file or directory"),
        (("import", "squid", "a", "b"), "squid is one file"),
        (
            ("import", "smokescreen", str(EXAMPLES / "smokescreen.yaml"), "--ports", "0"),
            '--ports: "0": ports go from 1 to',
        ),
        (
            ("import", "smokescreen", str(EXAMPLES / "smokescreen.yaml"), "--role", "x"),
            "--role is user or namespace, not 'x'",
        ),
        (("import", "squid", "x", "--ports", "80"), "--ports, --role and --inspect are for smokescreen"),
        (("import", "smokescreen", "/dev/null"), "/dev/null: is empty"),
        (("import", "network-policy", "/dev/null"), "/dev/null: holds no NetworkPolicy\n"),
        (
            ("import", "istio", str(EXAMPLES / "network-policy.yaml")),
            "holds no ServiceEntry or Sidecar or AuthorizationPolicy, only NetworkPolicy of networking.k8s.io/v1",
        ),
        (
            ("import", "cilium", str(EXAMPLES / "smokescreen.yaml")),
            "holds no CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy, only an object without kind",
        ),
        (("import", "squid", str(EXAMPLES / "cilium.yaml")), "holds no http_access, acl, include or http_port"),
        (("import", "smokescreen", str(EXAMPLES / "istio.yaml")), "holds 5 documents, not one"),
        (("env", "-o", "xml"), "-o is shell, dotenv, kubernetes, json, not 'xml'"),
        (("env", "--proxy", "gw"), "'gw' is not the address of a proxy"),
        (("env", "--no-proxy", "a b"), "'a b' is not a name, address or network"),
        (("env", "--cluster-domain", "a b"), "the cluster domain 'a b' is not a name such as cluster.local"),
        (("env", "--ca", ""), "the bundle '' is empty, or contains blanks or quotes"),
        (("network-policy", "-n", "X"), "'X' is not the name of a namespace"),
        (("network-policy", "-n", "x", "--resolver", "y"), "'y' is not an address"),
        (("ca", "truststore", "/nowhere.pem"), "/nowhere.pem"),
    ],
)
def test_what_cannot_be_taken_is_status_2_with_a_line(arguments: tuple[str, ...], message: str) -> None:
    status, text, said = run(*arguments)
    assert (status, text) == (2, "")
    assert message in said


def test_a_manifest_may_come_by_standard_input(tmp_path: Path) -> None:
    with (EXAMPLES / "network-policy.yaml").open() as text:
        ended = gateway(tmp_path, "import", "network-policy", "-", stdin=text)
    assert ended.returncode == 0, ended.stderr
    assert "# Imported from network-policy: -." in ended.stdout
    assert "# -:" in ended.stdout


def test_files_that_squid_conf_includes_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "20-allow.conf").write_text("http_access allow partner\n")
    (tmp_path / "conf.d" / "10-acl.conf").write_text("acl partner dstdomain partner.test\n")
    conf = tmp_path / "squid.conf"
    conf.write_text(f"include {tmp_path}/conf.d/*.conf\nhttp_access deny all\n")
    status, text, said = run("import", "squid", str(conf))
    assert status == 0, said
    assert [rule["hosts"] for rule in yaml.safe_load(text)["rules"]] == [["partner.test"]]


def test_roles_can_be_namespaces_and_ports_be_narrowed() -> None:
    acl = str(EXAMPLES / "smokescreen.yaml")
    policy = yaml.safe_load(run("import", "smokescreen", acl, "--role", "namespace", "--ports", "80,443")[1])
    assert policy["clients"]["billing"]["match"] == [{"namespace": "billing"}]
    assert {tuple(rule["ports"]) for rule in policy["rules"] if "ports" in rule} == {(80, 443)}


def test_the_environment_of_a_container_exempts_the_api_server() -> None:
    status, text, _ = run("env", "-o", "kubernetes", "--runtime", "curl")
    [value] = {entry["value"] for entry in yaml.safe_load(text)["env"] if entry["name"].lower() == "no_proxy"}
    assert status == 0
    assert "$(KUBERNETES_SERVICE_HOST)" in value
    assert ".svc.cluster.local" in value


def test_outside_of_a_cluster_only_what_is_named_is_exempt() -> None:
    _, text, _ = run("env", "-o", "json", "--cluster-domain", "", "--no-proxy", "corp.test")
    assert json.loads(text)["NO_PROXY"] == ",".join((*LOCAL, ".corp.test", "corp.test"))


def test_the_lock_is_a_manifest() -> None:
    status, text, _ = run("network-policy", "--namespace", "payments", "--port", "3128", "--port", "3129")
    policy = yaml.safe_load(text)
    assert status == 0
    assert [port["port"] for port in policy["spec"]["egress"][1]["ports"]] == [3128, 3129]


@pytest.mark.parametrize("command", ["import", "env", "network-policy"])
def test_help_says_how_it_ends(command: str) -> None:
    status, text, _ = run(command, "--help")
    assert status == 0
    assert "Status 0" in text
