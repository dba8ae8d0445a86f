"""Environment variables that configure the proxy and its authority, runtime by runtime.

Proxy variables are given in both cases: wget reads the lower one only, curl ignores HTTP_PROXY in capitals. A variable
that names a file of authorities replaces the runtime's own, so the file is the bundle that holds the public ones as
well.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from gateway.migrate.workloads.exemptions import Exemptions

ALL = "all"
USUAL_PASSWORD = "changeit"
"""Java's usual password for its trust store, which holds no secret."""

_AUTHORITY: Mapping[str, tuple[str, ...]] = {
    "apt": (),
    "aws": ("AWS_CA_BUNDLE",),
    "curl": ("SSL_CERT_FILE", "CURL_CA_BUNDLE"),
    "deno": ("DENO_CERT",),
    "dotnet": ("SSL_CERT_FILE",),
    "elixir": ("HEX_CACERTS_PATH",),
    "gcloud": ("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",),
    "git": ("GIT_SSL_CAINFO",),
    "go": ("SSL_CERT_FILE",),
    "grpc": ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",),
    "java": (),
    "node": ("NODE_EXTRA_CA_CERTS", "npm_config_cafile"),
    "php": (),
    "python": ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"),
    "ruby": ("SSL_CERT_FILE", "BUNDLE_SSL_CA_CERT"),
    "rust": ("SSL_CERT_FILE", "CARGO_HTTP_CAINFO"),
    "wget": (),
}
RUNTIMES = tuple(_AUTHORITY)
_OF_SOCKETS = ("WS_PROXY", "WSS_PROXY")
"""aiohttp uses the proxy of a WebSocket's own scheme."""
_SYSTEM_STORE_ONLY = ("apt", "wget")
_NO_TLS_TO_A_PROXY = ("grpc", "java", "wget")
_ABOUT: Mapping[str, str] = {
    "aws": "aws: credentials come from 169.254.169.254 (machines) and 169.254.170.23 (pods): --no-proxy what is used",
    "node": "node: 22.21 for fetch and 24.5 for http read proxy variables, older ones need an agent of their own; "
    "an Agent that a program makes itself needs proxyEnv",
    "python": "python: aiohttp reads them with trust_env=True only",
    "java": "java: Maven takes its proxy from settings.xml",
}
_VALUE = re.compile(r"[!-~]+", re.ASCII)
_QUOTING = re.compile(r"""["'`\\$ ]""")


class NoVariables(ValueError):
    """A value cannot stand in a variable; the text says what and why."""


@dataclass(frozen=True, slots=True)
class Told:
    """What clients are to know. `bundle` and `truststore` are paths where they run, None without inspection;
    `truststore` is PKCS #12, for Java."""

    proxy: SplitResult
    exempt: Exemptions
    bundle: str | None = None
    truststore: str | None = None
    password: str = USUAL_PASSWORD


@dataclass(frozen=True, slots=True)
class Block:
    """Variables in order, and comments about them."""

    variables: Mapping[str, str]
    remarks: tuple[str, ...]


def read_proxy(url: str) -> SplitResult:
    """`http://host:port`, or `https://` for TLS to the gateway. Raises `NoVariables`."""
    try:
        proxy = urlsplit(url)
        whole = proxy.scheme in ("http", "https") and proxy.hostname and proxy.port and proxy.path in ("", "/")
    except ValueError as refusal:
        raise NoVariables(f"{url!r} is no address of a proxy: {refusal}") from None
    if not whole or proxy.query or proxy.fragment or not _VALUE.fullmatch(url) or _QUOTING.search(url):
        raise NoVariables(f"{url!r} is no address of a proxy such as http://egress-gateway:3128")
    return proxy._replace(path="")


def block_for(runtimes: Iterable[str], told: Told) -> Block:
    """The variables of these runtimes; `all` is every one. Raises `NoVariables`."""
    wanted = set(runtimes)
    unknown = wanted - set(RUNTIMES) - {ALL}
    if unknown:
        raise NoVariables(f"{min(unknown)!r} is no runtime: {ALL}, {', '.join(RUNTIMES)}")
    for what, text in (("bundle", told.bundle), ("trust store", told.truststore), ("password", told.password)):
        if text is not None and (not _VALUE.fullmatch(text) or _QUOTING.search(text)):
            raise NoVariables(f"the {what} {text!r} is empty, or holds blanks or quotes")
    chosen = [name for name in RUNTIMES if name in wanted or ALL in wanted]
    variables = dict(_variables(chosen, told))
    return Block(variables, tuple(_remarks(chosen, told)))


def _variables(chosen: list[str], told: Told) -> Iterator[tuple[str, str]]:
    if chosen != ["java"]:
        sockets = _OF_SOCKETS if "python" in chosen else ()
        for name in ("HTTP_PROXY", "HTTPS_PROXY", *sockets):
            yield from ((name, told.proxy.geturl()), (name.lower(), told.proxy.geturl()))
        yield from (("NO_PROXY", told.exempt.no_proxy()), ("no_proxy", told.exempt.no_proxy()))
    if "node" in chosen:
        yield "NODE_USE_ENV_PROXY", "1"
    if told.bundle is not None:
        for runtime in chosen:
            yield from ((name, told.bundle) for name in _AUTHORITY[runtime])
    if "java" in chosen:
        yield "JAVA_TOOL_OPTIONS", " ".join(_java(told))


def _java(told: Told) -> Iterator[str]:
    for scheme in ("http", "https"):
        yield f"-D{scheme}.proxyHost={told.proxy.hostname}"
        yield f"-D{scheme}.proxyPort={told.proxy.port}"
    yield f"-Dhttp.nonProxyHosts={told.exempt.non_proxy_hosts()}"
    if told.truststore is not None:
        yield f"-Djavax.net.ssl.trustStore={told.truststore}"
        yield "-Djavax.net.ssl.trustStoreType=PKCS12"
        yield f"-Djavax.net.ssl.trustStorePassword={told.password}"


def _remarks(chosen: list[str], told: Told) -> Iterator[str]:
    if told.exempt.networks:
        yield "networks in NO_PROXY: curl 7.86, requests, Go and Ruby read them; for the others name hosts or addresses"
    if told.proxy.scheme == "https" and set(chosen) & set(_NO_TLS_TO_A_PROXY):
        yield f"{', '.join(_NO_TLS_TO_A_PROXY)}: speak no TLS to a proxy; give them an http:// one"
    yield from (_ABOUT[name] for name in chosen if name in _ABOUT)
    if told.bundle is not None and set(chosen) & set(_SYSTEM_STORE_ONLY):
        yield f"wget, apt: no variable; mount {told.bundle} over /etc/ssl/certs/ca-certificates.crt"
    if told.bundle is not None and "php" in chosen:
        yield f"php: no variable; {told.bundle} as curl.cainfo and openssl.cafile in php.ini"
    if "java" in chosen:
        yield from _java_remarks(told)


def _java_remarks(told: Told) -> Iterator[str]:
    if told.bundle is not None and told.truststore is None:
        yield "java: cannot read PEM; --truststore names a PKCS #12 file (`egress-gateway ca truststore` makes one)"
    if told.proxy.username is not None:
        text = "java: takes no credentials from options; programs need an Authenticator"
        yield f"{text}, and for HTTPS -Djdk.http.auth.tunneling.disabledSchemes="
    left = told.exempt.beyond_java()
    if left:
        yield f"java: cannot exempt {', '.join(map(str, left))}; octets only"
