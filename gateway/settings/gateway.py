"""gateway.yaml: how the process runs. Every key with its default as written in the file; the empty file is valid.

What stands here is parsed and checked; whether its feature exists yet is another matter (compile/available.py).
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr

from gateway.model.decision import Timeouts
from gateway.settings.inspecting.sections import InspectorSettings
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
    PolicySource,
    Size,
    Store,
    Text,
    UrlPath,
    Version,
)
from gateway.settings.section import Section, key
from gateway.settings.sections.identity import IdentitySettings, KubernetesSettings
from gateway.settings.source.places import Document, MarkedMapping

POLICY_FILE = "policy.yaml"


def _one_is_a_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class TlsSettings(Section):
    """TLS of a listener towards its clients."""

    cert: FilePath = Field(description="Certificate chain, PEM.")
    private_key: FilePath = Field(alias="key", description="Private key, PEM.")
    client_ca: FilePath | None = key(None, "CA certificates that client certificates are checked with.")
    crl: FilePath | None = key(None, "Revoked client certificates.")
    client_cert: Literal["optional", "required"] = key("optional", "Whether a client must show a certificate.")


class ProxyProtocolSettings(Section):
    """PROXY protocol in front of a listener."""

    trusted: Annotated[tuple[Cidr, ...], Field(min_length=1)] = Field(
        description="Senders whose header is required; from everyone else it is refused."
    )


class ListenerSettings(Section):
    """One listening socket."""

    name: Label = key("proxy", "Stands in records and metrics; unique.")
    bind: Bind = key("[::]:3128", "Address and port. A wildcard IPv6 address takes IPv4 too.")
    mode: Literal["explicit", "transparent", "dns", "socks5"] = key("explicit", "How clients speak to it.")
    tls: TlsSettings | None = key(None, "TLS towards clients.")
    proxy_protocol: ProxyProtocolSettings | None = key(None, "PROXY protocol from trusted senders.")

    @property
    def files(self) -> tuple[Path, ...]:
        """Certificates and keys: they are read again when they change, though a listener itself stays as it is."""
        if self.tls is None:
            return ()
        named = self.tls.cert, self.tls.private_key, self.tls.client_ca, self.tls.crl
        return tuple(file for file in named if file is not None)


class AddressSettings(Section):
    """Which addresses may be dialled beyond, and which not although they are, global unicast."""

    allow: tuple[Cidr, ...] = key([], "Special-purpose networks that may be dialled.")
    deny: tuple[Cidr, ...] = key([], "Networks that are never dialled.")


class ClusterSettings(Section):
    """The cluster around: its names should not reach an egress gateway."""

    domains: tuple[Domain, ...] = key(["cluster.local"], "In-cluster names end in one of these.")
    cidrs: tuple[Cidr, ...] = key([], "Pod and service networks.")


class SecretSettings(Section):
    """A credential that the gateway adds and no workload holds."""

    file: FilePath = Field(description="Holds the value.")
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)] = Field(description="Where it may be sent.")
    clients: Annotated[tuple[Label, ...], Field(min_length=1)] | None = key(None, "Groups that may use it.")
    scrub: Flag = key(False, "Mask it in answers that echo it.")


class ClientCertificateSettings(Section):
    """A certificate that the gateway shows to destinations which ask for one, and no workload holds."""

    cert: FilePath = Field(description="Certificate chain, PEM.")
    private_key: FilePath = Field(alias="key", description="Private key, PEM.")
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)] = Field(description="To whom it may be shown.")
    clients: Annotated[tuple[Label, ...], Field(min_length=1)] | None = key(None, "Groups that may use it.")


class CacheSettings(Section):
    """Answers of name servers that are kept."""

    size: Count = key(50_000, "Names.")
    min_ttl: DurationOrZero = key("1s", "Kept at least this long.")
    max_ttl: DurationOrZero = key("1h", "Kept at most this long.")
    serve_stale: DurationOrZero = key("0s", "How long an expired answer serves while servers fail.")


class ResolverTlsSettings(Section):
    """What a name server has to prove inside TLS."""

    server_name: Domain | None = key(None, "Of the servers' certificates; null for each server's own address.")
    ca: FilePath | None = key(None, "CA certificates to believe, PEM; null for the system's.")


class ResolverSettings(Section):
    """How names become addresses."""

    servers: Annotated[tuple[NameServer, ...], Field(min_length=1)] = key(
        ["system"],
        "`system` (/etc/resolv.conf), IP, IP:port or [IPv6]:port. The port is the transport's: 53, 853, 443.",
    )
    transport: Literal["udp", "dot", "doh"] = key(
        "udp", "UDP with TCP fallback, or encrypted (RFC 7858, RFC 8484) without any."
    )
    tls: ResolverTlsSettings | None = key(None, "With dot and doh: whom to believe.")
    path: UrlPath = key("/dns-query", "With doh: of the resource on the servers.")
    timeout: Duration = key("2s", "One try; timeouts.dns is the whole.")
    cache: CacheSettings = Field(default_factory=CacheSettings, description="Kept answers.")
    family: Literal["any", "ipv4", "ipv6"] = key("any", "Which addresses are asked for and dialled.")


class InspectionSettings(Section):
    """The CA that signs for inspected destinations."""

    ca_cert: FilePath = Field(description="CA certificate, PEM.")
    ca_key: FilePath = Field(description="CA key, PEM.")
    leaf_validity: Duration = key("7d", "Of the certificates that are made.")
    cache: Count = key(10_000, "Certificates kept.")


class LimitStoreSettings(Section):
    """Where limits are counted."""

    store: Store = key("memory", "`memory`, or `redis://...` for all replicas together.")
    on_store_failure: Literal["local", "deny", "allow"] = key("local", "While the store does not answer.")
    replicas: OptionalCount = key(None, "How many gateways share the limits until the store says so.")


class StageTimeouts(Section):
    """How long each stage after the verdict may take."""

    dns: Duration = key("5s", "Resolving a name, all tries together.")
    connect: Duration = key("10s", "Reaching the destination.")
    client_hello: Duration = key("10s", "The client's first bytes after the 200.")
    tls_handshake: Duration = key("10s", "A TLS handshake of ours.")
    idle: Duration = key("1h", "A tunnel in which nothing moves.")
    lifetime: OptionalDuration = key(None, "A tunnel as a whole; null for no end.")

    def over(self, base: Timeouts) -> Timeouts:
        """`base` with what was written here put over it."""
        return replace(base, **{stage: getattr(self, stage) for stage in self.model_fields_set})


class TimeoutSettings(StageTimeouts):
    """How long each stage may take."""

    head: Duration = key("10s", "From accept to the end of the request head.")


class BoundSettings(Section):
    """How much a client may make the gateway hold."""

    head: Size = key("64KiB", "A request head.")
    client_hello: Size = key("64KiB", "A TLS ClientHello.")
    tunnels: AutoCount = key("auto", "Open tunnels; `auto` follows the limit of descriptors.")
    tunnels_per_client: Count = key(2_000, "Open tunnels of one client.")
    memory: AutoSize = key("auto", "Of one process; `auto` follows the container's limit. Nobody new above 90 %.")


class RotateSettings(Section):
    """When a log file is set aside."""

    size: Size | None = key(None, "Before it grows larger.")
    every: Literal["hour", "day"] | None = key(None, "At the end of a UTC hour or day.")
    keep: Count = key(7, "How many set aside files there may be.")
    gzip: Flag = key(True, "Compress them.")


class AccessLogSettings(Section):
    """One sink of connection records."""

    path: OutputPath = key("-", "A file, or `-` for standard output.")
    format: Literal["json", "text", "envoy", "squid", "vpc"] = key("json", "How a record is written.")
    layout: Literal["default", "istio", "json"] = key("default", "With envoy: Envoy's own line, Istio's, or JSON.")
    fields: Annotated[tuple[FlowField, ...], Field(min_length=1)] | None = key(
        None, "With vpc: its fields, of versions 2 to 5; null for version 2's."
    )
    window: Literal["1m", "10m"] = key("1m", "With vpc: over how long flows are gathered.")
    rotate: RotateSettings | None = key(None, "When the file is set aside; null for never.")


AccessLogs = Annotated[
    tuple[AccessLogSettings, ...], BeforeValidator(_one_is_a_list, tuple[AccessLogSettings, ...] | AccessLogSettings)
]


class OtlpSettings(Section):
    """OpenTelemetry."""

    endpoint: CollectorUrl | None = key(
        None, "Base address of the collector; null for what OTEL_EXPORTER_OTLP_ENDPOINT says."
    )
    protocol: Literal["http", "grpc"] | None = key(
        None, "How to speak to it; null for what OTEL_EXPORTER_OTLP_PROTOCOL says, else http."
    )
    sample: Annotated[float, Field(strict=True, ge=0, le=1)] = key(0.01, "Share of connections that are traced.")
    always_sample: tuple[Literal["denied", "error"], ...] = key(["denied", "error"], "Traced in any case.")
    signals: Annotated[tuple[Literal["traces", "metrics", "logs"], ...], Field(min_length=1)] = key(
        ["traces", "metrics"], "What is told; logs are every record."
    )


class MetricsSettings(Section):
    """What /metrics says."""

    also: tuple[Literal["istio", "hubble"], ...] = key([], "Whose names the counts have besides ours.")


class TelemetrySettings(Section):
    """What is told about connections."""

    name: Text | None = key(None, "Our member in Proxy-Status; the host name unless given.")
    access_log: AccessLogs = key(
        [{"path": "-", "format": "json"}], "Sinks of connection records; a single mapping is accepted too."
    )
    metrics: MetricsSettings = Field(default_factory=MetricsSettings, description="What /metrics says.")
    otlp: OtlpSettings | None = key(None, "OpenTelemetry.")


class AdminSettings(Section):
    """The operators' port."""

    bind: Bind = key("127.0.0.1:9128", "Serves everything.")
    token_file: FilePath | None = key(None, "Holds the bearer token; needed unless `bind` is loopback.")
    health: OptionalBind = key(None, "Serves health and metrics and nothing else.")


class DrainSettings(Section):
    """How the gateway ends."""

    timeout: DurationOrZero = key("30s", "How long open tunnels may go on after SIGTERM.")


class GatewaySettings(Section):
    """gateway.yaml, whole."""

    version: Version = key(1, "Version of this file's form.")
    listeners: Annotated[tuple[ListenerSettings, ...], Field(min_length=1)] = key(
        [{"name": "proxy", "bind": "[::]:3128"}], "Listening sockets."
    )
    policy: PolicySource = key(POLICY_FILE, "A file, a directory, or `kubernetes`.")
    identity: IdentitySettings = Field(default_factory=IdentitySettings, description="How clients are recognised.")
    kubernetes: KubernetesSettings = Field(default_factory=KubernetesSettings, description="The API server.")
    addresses: AddressSettings = Field(default_factory=AddressSettings, description="Which addresses may be dialled.")
    cluster: ClusterSettings = Field(default_factory=ClusterSettings, description="In-cluster names and networks.")
    secrets: dict[Label, SecretSettings] = key({}, "Credentials that the gateway adds.")
    client_certificates: dict[Label, ClientCertificateSettings] = key({}, "Certificates that the gateway shows.")
    resolver: ResolverSettings = Field(default_factory=ResolverSettings, description="How names become addresses.")
    inspection: InspectionSettings | None = key(None, "The CA for inspected destinations.")
    inspectors: dict[Label, InspectorSettings] = key({}, "What looks at content, by the names that rules use.")
    limits: LimitStoreSettings = Field(default_factory=LimitStoreSettings, description="Where limits are counted.")
    timeouts: TimeoutSettings = Field(default_factory=TimeoutSettings, description="How long each stage may take.")
    bounds: BoundSettings = Field(default_factory=BoundSettings, description="How much a client may make us hold.")
    http_parser: Literal["auto", "httptools", "h11"] = key("auto", "What parses request heads.")
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings, description="Records, metrics, traces.")
    admin: AdminSettings = Field(default_factory=AdminSettings, description="The operators' port.")
    workers: AutoCount = key(1, "Processes; `auto` is one a CPU.")
    drain: DrainSettings = Field(default_factory=DrainSettings, description="How the gateway ends.")
    on_reload: Literal["keep", "drain", "close"] = key("keep", "Tunnels that a new policy forbids.")
    compat: Literal["smokescreen"] | None = key(None, "Answer like another proxy.")

    # Not part of the file: where it was read from, so that later findings have their place.
    _document: Document = PrivateAttr(default_factory=lambda: Document("gateway.yaml", MarkedMapping(1)))

    def read_from(self, document: Document) -> Self:
        """The same, knowing where it was read."""
        self._document = document
        return self

    @property
    def document(self) -> Document:
        """The file as data with lines."""
        return self._document

    @property
    def files(self) -> tuple[Path, ...]:
        """The files whose change changes the settings: this one and what it names, but for the policy."""
        users = () if self.identity.basic is None else (self.identity.basic.htpasswd,)
        tls = self.resolver.tls
        authorities = () if tls is None or tls.ca is None else (tls.ca,)
        listeners = (file for each in self.listeners for file in each.files)
        inspection = () if self.inspection is None else (self.inspection.ca_cert, self.inspection.ca_key)
        shown = (file for each in self.client_certificates.values() for file in (each.cert, each.private_key))
        return (Path(self._document.file), *users, *authorities, *listeners, *inspection, *shown)

    @property
    def policy_is_named(self) -> bool:
        """Whether somebody chose the policy's path: then it must be there."""
        return "policy" in self.model_fields_set
