"""Environment variables that configure the proxy and its authority, runtime by runtime.

Proxy variables are given in both cases: wget reads only the lower one, curl ignores HTTP_PROXY in capitals. A variable
that names a file of authorities replaces the runtime's own, so the file is the bundle, which holds the public ones too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from gateway.migrate.workloads.exemptions import Exemptions

ALL = "all"
USUAL_PASSWORD = "changeit"
"""Java's default password for a trust store, which holds no secret."""

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
"""aiohttp looks for the proxy of a WebSocket's own scheme."""
_SYSTEM_STORE_ONLY = ("apt", "wget")
_NO_TLS_TO_A_PROXY = ("grpc", "java", "wget")
_ABOUT: Mapping[str, str] = {
    "aws": "aws: credentials come from 169.254.169.254 (machines) and 169.254.170.23 (pods): --no-proxy what is used",
    "node": "node: proxy variables are read from 22.21 on, of 24 from 24.5 (fetch: 24.0); older ones need an agent of "
    "their own; an Agent that a program makes itself needs proxyEnv",
    "python": "python: aiohttp reads them with trust_env=True only",
    "java": "java: Maven takes its proxy from settings.xml",
}
_VALUE = re.compile(r"[!-~]+", re.ASCII)
_QUOTING = re.compile(r"""["'`\\$ ]""")


class InvalidSetup(ValueError):
    """An unknown runtime, or a value that cannot be put into a variable; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What clients need to know. `bundle` and `truststore` are paths where they run, None without inspection;
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
    """`http://host:port`, or `https://` for TLS to the gateway. Raises `InvalidSetup`."""
    try:
        proxy = urlsplit(url)
        whole = proxy.scheme in ("http", "https") and proxy.hostname and proxy.port and proxy.path in ("", "/")
    except ValueError as refusal:
        raise InvalidSetup(f"{url!r} is not the address of a proxy: {refusal}") from None
    if not whole or proxy.query or proxy.fragment or not _VALUE.fullmatch(url) or _QUOTING.search(url):
        raise InvalidSetup(f"{url!r} is not the address of a proxy such as http://egress-gateway:3128")
    return proxy._replace(path="")


def block_for(runtimes: Iterable[str], setup: Setup) -> Block:
    """The variables of these runtimes; `all` is every one. Raises `InvalidSetup`."""
    wanted = set(runtimes)
    unknown = wanted - set(RUNTIMES) - {ALL}
    if unknown:
        raise InvalidSetup(f"{min(unknown)!r} is not a runtime: {ALL}, {', '.join(RUNTIMES)}")
    for what, text in (("bundle", setup.bundle), ("trust store", setup.truststore), ("password", setup.password)):
        if text is not None and (not _VALUE.fullmatch(text) or _QUOTING.search(text)):
            raise InvalidSetup(f"the {what} {text!r} is empty, or contains blanks or quotes")
    chosen = [name for name in RUNTIMES if name in wanted or ALL in wanted]
    variables = dict(_variables(chosen, setup))
    return Block(variables, tuple(_remarks(chosen, setup)))


def _variables(chosen: list[str], setup: Setup) -> Iterator[tuple[str, str]]:
    if chosen != ["java"]:
        sockets = _OF_SOCKETS if "python" in chosen else ()
        for name in ("HTTP_PROXY", "HTTPS_PROXY", *sockets):
            yield from ((name, setup.proxy.geturl()), (name.lower(), setup.proxy.geturl()))
        yield from (("NO_PROXY", setup.exempt.no_proxy()), ("no_proxy", setup.exempt.no_proxy()))
    if "node" in chosen:
        yield "NODE_USE_ENV_PROXY", "1"
    if setup.bundle is not None:
        for runtime in chosen:
            yield from ((name, setup.bundle) for name in _AUTHORITY[runtime])
    if "java" in chosen:
        yield "JAVA_TOOL_OPTIONS", " ".join(_java(setup))


def _java(setup: Setup) -> Iterator[str]:
    for scheme in ("http", "https"):
        yield f"-D{scheme}.proxyHost={setup.proxy.hostname}"
        yield f"-D{scheme}.proxyPort={setup.proxy.port}"
    yield f"-Dhttp.nonProxyHosts={setup.exempt.non_proxy_hosts()}"
    if setup.truststore is not None:
        yield f"-Djavax.net.ssl.trustStore={setup.truststore}"
        yield "-Djavax.net.ssl.trustStoreType=PKCS12"
        yield f"-Djavax.net.ssl.trustStorePassword={setup.password}"


def _remarks(chosen: list[str], setup: Setup) -> Iterator[str]:
    if setup.exempt.networks:
        yield "networks in NO_PROXY: curl 7.86, requests, Go and Ruby read them; for the others name hosts or addresses"
    if setup.proxy.scheme == "https" and set(chosen) & set(_NO_TLS_TO_A_PROXY):
        yield f"{', '.join(_NO_TLS_TO_A_PROXY)}: speak no TLS to a proxy; give them an http:// one"
    yield from (_ABOUT[name] for name in chosen if name in _ABOUT)
    if setup.bundle is not None and set(chosen) & set(_SYSTEM_STORE_ONLY):
        yield f"wget, apt: no variable; mount {setup.bundle} over /etc/ssl/certs/ca-certificates.crt"
    if setup.bundle is not None and "php" in chosen:
        yield f"php: no variable; {setup.bundle} as curl.cainfo and openssl.cafile in php.ini"
    if "java" in chosen:
        yield from _java_remarks(setup)


def _java_remarks(setup: Setup) -> Iterator[str]:
    if setup.bundle is not None and setup.truststore is None:
        yield "java: cannot read PEM; --truststore names a PKCS #12 file (`egress-gateway ca truststore` makes one)"
    if setup.proxy.username is not None:
        text = "java: takes no credentials from options; programs need an Authenticator"
        yield f"{text}, and for HTTPS -Djdk.http.auth.tunneling.disabledSchemes="
    left = setup.exempt.beyond_java()
    if left:
        yield f"java: cannot exempt {', '.join(map(str, left))}; only networks of whole octets"
