"""Which variables each runtime is given."""

import pytest

from gateway.migrate.workloads.exemptions import read_exemptions
from gateway.migrate.workloads.variables import ALL, RUNTIMES, Block, InvalidSetup, Setup, block_for, read_proxy

PROXY = read_proxy("http://gw:3128/")


def block(
    *runtimes: str, bundle: str | None = "/ca.pem", truststore: str | None = None, proxy: str = "http://gw:3128"
) -> Block:
    return block_for(runtimes, Setup(read_proxy(proxy), read_exemptions(None, []), bundle, truststore))


def test_proxies_are_told_in_both_cases() -> None:
    said = block("curl").variables
    assert {said[name] for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")} == {"http://gw:3128"}
    assert said["NO_PROXY"] == said["no_proxy"]


@pytest.mark.parametrize(
    ("runtime", "names"),
    [
        ("curl", {"SSL_CERT_FILE", "CURL_CA_BUNDLE"}),
        ("python", {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"}),
        ("node", {"NODE_EXTRA_CA_CERTS", "npm_config_cafile"}),
        ("git", {"GIT_SSL_CAINFO"}),
        ("aws", {"AWS_CA_BUNDLE"}),
        ("deno", {"DENO_CERT"}),
        ("grpc", {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"}),
    ],
)
def test_a_runtime_is_told_of_the_bundle_by_its_own_names(runtime: str, names: set[str]) -> None:
    assert {name for name, value in block(runtime).variables.items() if value == "/ca.pem"} == names


def test_without_inspection_nobody_is_told_of_a_bundle() -> None:
    said = block(ALL, bundle=None).variables
    assert not [name for name, value in said.items() if "pem" in value]
    assert said["NODE_USE_ENV_PROXY"] == "1"


def test_all_is_every_runtime() -> None:
    every = block(*RUNTIMES, truststore="/t.p12")
    assert block(ALL, truststore="/t.p12") == every
    assert "-Djavax.net.ssl.trustStore=/t.p12" in every.variables["JAVA_TOOL_OPTIONS"]


def test_java_alone_is_given_its_options_alone() -> None:
    assert list(block("java").variables) == ["JAVA_TOOL_OPTIONS"]


def test_what_no_variable_can_do_is_said() -> None:
    remarks = " ".join(block(ALL, proxy="https://u:p@gw:3128").remarks)
    for word in (
        *("ca-certificates.crt", "truststore", "Authenticator", "grpc, java, wget: speak no TLS to a proxy"),
        *("169.254.169.254", "proxyEnv", "trust_env", "settings.xml", "/ca.pem as curl.cainfo", "disabledSchemes="),
    ):
        assert word in remarks


def test_each_runtime_is_told_of_itself_alone() -> None:
    assert [remark.partition(":")[0] for remark in block("aws", "php", "python").remarks] == ["aws", "python", "php"]
    assert block("go", proxy="https://gw:3128").remarks == ()


@pytest.mark.parametrize(
    "url", ["gw:3128", "ftp://gw:1", "http://gw", "http://gw:3128/x", "http://g'w:1", "http://gw:99999"]
)
def test_what_is_no_proxy_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetup, match="is not the address of a proxy"):
        read_proxy(url)


@pytest.mark.parametrize("path", ["/a b", "/a'b", "/a$(x)"])
def test_a_path_that_a_shell_would_read_is_refused(path: str) -> None:
    with pytest.raises(InvalidSetup, match="blanks or quotes"):
        block(ALL, bundle=path)


def test_an_unknown_runtime_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidSetup, match="'perl' is not a runtime: all, apt"):
        block("perl")
