"""gateway.yaml: how the process runs. Every key has its default as written in the file; an empty file is valid.

Keys are checked one by one here; compile/checks.py knows which fit together, compile/available.py which work yet.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr

from gateway.model.decision import Timeouts
from gateway.settings.leaves import (
    AutoCount,
    AutoSize,
    Bind,
    Cidr,
    CollectorUrl,
    Count,
    Domain,
    Duration,
    DurationOrZero,
    FilePath,
    Flag,
    FlowField,
    Host,
    Label,
    NameServer,
    OptionalBind,
    OptionalCount,
    OptionalDuration,
    OutputPath,
    PolicyLocation,
    Share,
    Size,
    Store,
    Text,
    UrlPath,
    Version,
)
from gateway.settings.section import Section, key
from gateway.settings.sections.identity import IdentitySettings, KubernetesSettings
from gateway.settings.sections.inspectors import InspectorSettings
from gateway.settings.source.places import Document, MarkedMapping

POLICY_FILE = "policy.yaml"


def _one_is_a_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class TlsSettings(Section):
    """TLS of a listener towards its clients."""

    cert: FilePath = Field(description="Certificate chain, PEM.")
    private_key: FilePath = Field(alias="key", description="Private key, PEM.")
    client_ca: FilePath | None = key(None, "CA certificates by which client certificates are checked, PEM.")
    crl: FilePath | None = key(None, "Certificate revocation lists for client certificates, PEM.")
    client_cert: Literal["optional", "required"] = key("optional", "Whether a client must present a certificate.")

    @property
    def files(self) -> dict[str, Path]:
        """Those that are named, by their keys."""
        named = {"cert": self.cert, "key": self.private_key, "client_ca": self.client_ca, "crl": self.crl}
        return {name: file for name, file in named.items() if file is not None}


class ProxyProtocolSettings(Section):
    """PROXY protocol in front of a listener."""

    trusted: Annotated[tuple[Cidr, ...], Field(min_length=1)] = Field(
        description="Senders from which a header is required; from everyone else it is refused."
    )


class ListenerSettings(Section):
    """One listening socket."""

    name: Label = key("proxy", "Its name in records and metrics; unique.")
    bind: Bind = key("[::]:3128", "Address and port. A wildcard IPv6 address accepts IPv4 too.")
    mode: Literal["explicit", "transparent", "dns", "socks5"] = key("explicit", "How clients use it.")
    tls: TlsSettings | None = key(None, "TLS towards clients.")
    proxy_protocol: ProxyProtocolSettings | None = key(None, "PROXY protocol from trusted senders.")

    @property
    def files(self) -> tuple[Path, ...]:
        """Certificates and keys: they are read again when they change, though a listener itself stays as it is."""
        return () if self.tls is None else tuple(self.tls.files.values())


class AddressSettings(Section):
    """Exceptions to the rule that global unicast addresses, and only those, may be dialled."""

    allow: tuple[Cidr, ...] = key([], "Special-purpose networks that may be dialled.")
    deny: tuple[Cidr, ...] = key([], "Networks that are never dialled.")


class ClusterSettings(Section):
    """The cluster around the gateway: its names should not reach an egress gateway."""

    domains: tuple[Domain, ...] = key(["cluster.local"], "Domains of in-cluster names.")
    cidrs: tuple[Cidr, ...] = key([], "Pod and service networks.")


class SecretSettings(Section):
    """A credential that the gateway adds to requests, so that no workload needs it."""

    file: FilePath = Field(description="The file that holds the value.")
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)] = Field(description="Hosts to which it may be sent.")
    clients: Annotated[tuple[Label, ...], Field(min_length=1)] | None = key(None, "Groups that may use it; else all.")
    scrub: Flag = key(False, "Mask it in answers that echo it.")


class ClientCertificateSettings(Section):
    """A certificate that the gateway presents to destinations that ask for one, so that no workload needs it."""

    cert: FilePath = Field(description="Certificate chain, PEM.")
    private_key: FilePath = Field(alias="key", description="Private key, PEM.")
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)] = Field(description="Hosts to which it may be presented.")
    clients: Annotated[tuple[Label, ...], Field(min_length=1)] | None = key(None, "Groups that may use it; else all.")


class CacheSettings(Section):
    """The cache of name servers' answers."""

    size: Count = key(50_000, "Largest number of names.")
    min_ttl: DurationOrZero = key("1s", "Answers are cached at least this long.")
    max_ttl: DurationOrZero = key("1h", "Answers are cached at most this long.")
    serve_stale: DurationOrZero = key("0s", "How long an expired answer is used while name servers fail.")


class ResolverTlsSettings(Section):
    """How the certificates of name servers are verified."""

    server_name: Domain | None = key(None, "The name in their certificates; null for each server's own address.")
    ca: FilePath | None = key(None, "CA certificates to trust, PEM; null for the system's.")


class ResolverSettings(Section):
    """How names become addresses."""

    servers: Annotated[tuple[NameServer, ...], Field(min_length=1)] = key(
        ["system"],
        "`system` (/etc/resolv.conf), IP, IP:port or [IPv6]:port. Default ports: 53, with dot 853, with doh 443.",
    )
    transport: Literal["udp", "dot", "doh"] = key(
        "udp", "UDP with TCP as its fallback, or encrypted (RFC 7858, RFC 8484) without a fallback."
    )
    tls: ResolverTlsSettings | None = key(None, "With dot and doh: which certificates to trust.")
    path: UrlPath = key("/dns-query", "With doh: the path of the resource on the servers.")
    timeout: Duration = key("2s", "For one try; timeouts.dns bounds all tries together.")
    cache: CacheSettings = Field(default_factory=CacheSettings, description="The cache of answers.")
    family: Literal["any", "ipv4", "ipv6"] = key("any", "Which addresses are asked for and dialled.")


class InspectionSettings(Section):
    """The CA that signs for inspected destinations."""

    ca_cert: FilePath = Field(description="CA certificate, PEM.")
    ca_key: FilePath = Field(description="CA key, PEM.")
    leaf_validity: Duration = key("7d", "How long the certificates that it signs are valid.")
    cache: Count = key(10_000, "Largest number of certificates that are kept.")


class LimitStoreSettings(Section):
    """Where limits are counted."""

    store: Store = key("memory", "`memory`, or `redis://...` to count over all replicas.")
    on_store_failure: Literal["local", "deny", "allow"] = key("local", "What happens while the store does not answer.")
    replicas: OptionalCount = key(None, "How many gateways share the limits, until the store says so.")


class StageTimeouts(Section):
    """How long each stage after the verdict may take."""

    dns: Duration = key("5s", "Resolving a name, all tries together.")
    connect: Duration = key("10s", "Reaching the destination.")
    client_hello: Duration = key("10s", "Waiting for the client's first bytes after the 200.")
    tls_handshake: Duration = key("10s", "A TLS handshake of the gateway's.")
    idle: Duration = key("1h", "How long nothing may move in a tunnel.")
    lifetime: OptionalDuration = key(None, "A tunnel as a whole; null for no limit.")

    def over(self, base: Timeouts) -> Timeouts:
        """`base`, overridden by what was written here."""
        return replace(base, **{stage: getattr(self, stage) for stage in self.model_fields_set})


class TimeoutSettings(StageTimeouts):
    """How long each stage may take."""

    head: Duration = key("10s", "From accept to the end of the request head.")


class BoundSettings(Section):
    """How much a client may make the gateway hold."""

    head: Size = key("64KiB", "Largest request head.")
    client_hello: Size = key("64KiB", "Largest TLS ClientHello.")
    tunnels: AutoCount = key("auto", "Most open tunnels; `auto` follows the descriptor limit.")
    tunnels_per_client: Count = key(2_000, "Most open tunnels of one client.")
    memory: AutoSize = key(
        "auto", "Memory of one process; `auto` is the container's limit. Above 90 % no new connection is admitted."
    )


class RotateSettings(Section):
    """When a log file is rotated."""

    size: Size | None = key(None, "Before it grows larger than this.")
    every: Literal["hour", "day"] | None = key(None, "At the end of each UTC hour or day.")
    keep: Count = key(7, "How many rotated files are kept.")
    gzip: Flag = key(True, "Compress rotated files.")


class AccessLogSettings(Section):
    """One sink of connection and request records."""

    path: OutputPath = key("-", "A file, or `-` for standard output.")
    format: Literal["json", "text", "envoy", "squid", "vpc"] = key("json", "How a record is written.")
    layout: Literal["default", "istio", "json"] = key("default", "With envoy: Envoy's own line, Istio's, or JSON.")
    fields: Annotated[tuple[FlowField, ...], Field(min_length=1)] | None = key(
        None, "With vpc: its fields, of versions 2 to 5; null for those of version 2."
    )
    window: Literal["1m", "10m"] = key("1m", "With vpc: the time over which flows are aggregated.")
    rotate: RotateSettings | None = key(None, "When the file is rotated; null for never.")


AccessLogs = Annotated[
    tuple[AccessLogSettings, ...], BeforeValidator(_one_is_a_list, tuple[AccessLogSettings, ...] | AccessLogSettings)
]


class OtlpSettings(Section):
    """OpenTelemetry."""

    endpoint: CollectorUrl | None = key(
        None, "Base URL of the collector; null for what OTEL_EXPORTER_OTLP_ENDPOINT says."
    )
    protocol: Literal["http", "grpc"] | None = key(
        None, "The protocol; null for what OTEL_EXPORTER_OTLP_PROTOCOL says, else http."
    )
    sample: Share = key(0.01, "The share of connections that are traced.")
    always_sample: tuple[Literal["denied", "error"], ...] = key(["denied", "error"], "What is always traced.")
    signals: Annotated[tuple[Literal["traces", "metrics", "logs"], ...], Field(min_length=1)] = key(
        ["traces", "metrics"], "What is exported; logs are all records."
    )


class MetricsSettings(Section):
    """What /metrics exposes."""

    also: tuple[Literal["istio", "hubble"], ...] = key([], "The same counts under these names as well.")


class TelemetrySettings(Section):
    """Records, metrics and traces."""

    name: Text | None = key(None, "The gateway's name in Proxy-Status; null for the host name.")
    access_log: AccessLogs = key(
        [{"path": "-", "format": "json"}], "Sinks of records; a single mapping is accepted too."
    )
    metrics: MetricsSettings = Field(default_factory=MetricsSettings, description="What /metrics exposes.")
    otlp: OtlpSettings | None = key(None, "OpenTelemetry.")


class AdminSettings(Section):
    """The operators' port."""

    bind: Bind = key("127.0.0.1:9128", "Serves everything.")
    token_file: FilePath | None = key(None, "The file with the bearer token; needed unless `bind` is loopback.")
    health: OptionalBind = key(None, "Serves only health, metrics and the authorities to trust.")


class DrainSettings(Section):
    """How the gateway shuts down."""

    timeout: DurationOrZero = key("30s", "How long open tunnels may go on after SIGTERM.")


class GatewaySettings(Section):
    """The whole of gateway.yaml."""

    version: Version = key(1, "Version of this file's format.")
    listeners: Annotated[tuple[ListenerSettings, ...], Field(min_length=1)] = key(
        [{"name": "proxy", "bind": "[::]:3128"}], "Listening sockets."
    )
    policy: PolicyLocation = key(POLICY_FILE, "A file, a directory, or `kubernetes`.")
    identity: IdentitySettings = Field(default_factory=IdentitySettings, description="How clients are recognised.")
    kubernetes: KubernetesSettings = Field(default_factory=KubernetesSettings, description="The API server.")
    addresses: AddressSettings = Field(default_factory=AddressSettings, description="Which addresses may be dialled.")
    cluster: ClusterSettings = Field(default_factory=ClusterSettings, description="In-cluster names and networks.")
    secrets: dict[Label, SecretSettings] = key({}, "Credentials that the gateway adds.")
    client_certificates: dict[Label, ClientCertificateSettings] = key({}, "Certificates that the gateway presents.")
    resolver: ResolverSettings = Field(default_factory=ResolverSettings, description="How names become addresses.")
    inspection: InspectionSettings | None = key(None, "The CA for inspected destinations.")
    inspectors: dict[Label, InspectorSettings] = key({}, "Inspectors of content, by the names that rules use.")
    limits: LimitStoreSettings = Field(default_factory=LimitStoreSettings, description="Where limits are counted.")
    timeouts: TimeoutSettings = Field(default_factory=TimeoutSettings, description="How long each stage may take.")
    bounds: BoundSettings = Field(default_factory=BoundSettings, description="How much a client may make us hold.")
    http_parser: Literal["auto", "httptools", "h11"] = key("auto", "What parses request heads.")
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings, description="Records, metrics, traces.")
    admin: AdminSettings = Field(default_factory=AdminSettings, description="The operators' port.")
    workers: AutoCount = key(1, "Processes; `auto` is one per CPU.")
    drain: DrainSettings = Field(default_factory=DrainSettings, description="How the gateway shuts down.")
    on_reload: Literal["keep", "drain", "close"] = key("keep", "What happens to tunnels that a new policy forbids.")
    compat: Literal["smokescreen"] | None = key(None, "Answer like another proxy.")

    # Not part of the file: where it was read from, so that later findings can name their place.
    _document: Document = PrivateAttr(default_factory=lambda: Document("gateway.yaml", MarkedMapping(1)))

    def read_from(self, document: Document) -> Self:
        """This object, which from now on knows where it was read."""
        self._document = document
        return self

    @property
    def document(self) -> Document:
        """The file as data with lines."""
        return self._document

    @property
    def files(self) -> tuple[Path, ...]:
        """The files to watch for a reload: this one and those that it names, except the policy's."""
        users = () if self.identity.basic is None else (self.identity.basic.htpasswd,)
        tls = self.resolver.tls
        authorities = () if tls is None or tls.ca is None else (tls.ca,)
        listeners = (file for each in self.listeners for file in each.files)
        inspection = () if self.inspection is None else (self.inspection.ca_cert, self.inspection.ca_key)
        shown = (file for each in self.client_certificates.values() for file in (each.cert, each.private_key))
        return (Path(self._document.file), *users, *authorities, *listeners, *inspection, *shown)

    @property
    def policy_is_named(self) -> bool:
        """Whether the policy's path was configured; if so it must exist."""
        return "policy" in self.model_fields_set
