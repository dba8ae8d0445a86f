"""policy.yaml: every key of a rule, a group and a limit in its written form.

A key is either absent or has a value: an empty one (`hosts:`) is an error, because nobody can tell what it meant.
Whatever depends on more than one key is checked in compile/checks.py.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema, field_validator

from gateway.model.addresses import parse_address
from gateway.model.decision import OF_THE_CLIENT, EchRule, ProxyVersion, Resolve, SniRule, Source
from gateway.model.intent import Protocol
from gateway.policy.rules import Action, Mode
from gateway.settings.gateway import StageTimeouts
from gateway.settings.leaves import (
    Burst,
    ByteBudget,
    ByteRate,
    Cidr,
    Count,
    Duration,
    FilePath,
    Flag,
    Host,
    Label,
    LastDay,
    Port,
    Rate,
    Size,
    Text,
    Version,
)
from gateway.settings.problems import BadValue, show_value
from gateway.settings.section import Section

Hosts = Annotated[tuple[Host, ...], Field(min_length=1)]
Cidrs = Annotated[tuple[Cidr, ...], Field(min_length=1)]
Labels = Annotated[tuple[Label, ...], Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]


def _any_is_a_list(value: Any) -> Any:
    return [value] if value == "any" else value


Ports = Annotated[
    tuple[Port, ...],
    Field(min_length=1),
    BeforeValidator(_any_is_a_list, Annotated[tuple[Port, ...], Field(min_length=1)] | Literal["any"]),
]


class PolicySection(Section):
    """A mapping of policy.yaml."""

    @field_validator("*", mode="before")
    @classmethod
    def _has_a_value(cls, value: Any) -> Any:
        if value is None:
            raise BadValue("has no value: give it one or leave the key out")
        return value


def _parse_spiffe(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("spiffe://") or len(value) == len("spiffe://"):
        raise BadValue(f'{show_value(value)} is not a SPIFFE ID such as "spiffe://cluster.local/ns/payments/sa/api"')
    if "*" in value.removesuffix("/*"):
        raise BadValue(f'{value!r}: a star stands last, as in "spiffe://cluster.local/ns/payments/*"')
    return value


Spiffe = Annotated[
    str, PlainValidator(_parse_spiffe), WithJsonSchema({"type": "string", "pattern": r"^spiffe://[^*]+(?:/\*)?$"})
]


class MatchSettings(PolicySection):
    """One way to be a member: all keys must match."""

    cidr: Cidr | None = Field(None, description="The client's address is in this network.")
    user: Text | None = Field(None, description="The user that Basic credentials name.")
    namespace: Text | None = Field(None, description="Kubernetes namespace.")
    service_account: Text | None = Field(None, description="Kubernetes service account; needs namespace.")
    labels: Annotated[dict[Text, Text], Field(min_length=1)] | None = Field(
        None, description="Pod labels, all of which must be there; needs namespace."
    )
    namespace_labels: Annotated[dict[Text, Text], Field(min_length=1)] | None = Field(
        None, description="Labels of the namespace, all of which must be there."
    )
    spiffe: Spiffe | None = Field(None, description="SPIFFE ID; may end in /*.")


class LimitSettings(PolicySection):
    """One limit: what is counted and what happens beyond."""

    connections: Rate | None = Field(None, description="New tunnels and requests' connections.")
    requests: Rate | None = Field(None, description="Requests, where they are seen.")
    concurrent: Count | None = Field(None, description="Open tunnels.")
    bandwidth: ByteRate | None = Field(None, description="Bytes per second.")
    bytes: ByteBudget | None = Field(None, description="Bytes in each UTC hour or day.")
    burst: Burst | None = Field(None, description="What may come at once; one second's worth, or 1 with queue.")
    key: Annotated[tuple[Literal["rule", "group", "client", "host"], ...], Field(min_length=1)] = Field(
        ("rule",), description="What has a count of its own."
    )
    on_limit: Literal["reject", "queue"] = Field("reject", description="Answer 429, or wait.")
    max_wait: Duration | None = Field(None, description="Longest wait with on_limit: queue.")
    direction: Literal["both", "up", "down"] = Field("both", description="Which bytes bandwidth and bytes count.")
    mode: Mode = Field(Mode.ENFORCE, description="report: count and record, never refuse.")


class UseLimitSettings(LimitSettings):
    """A limit, or the use of a quota."""

    use: Label | None = Field(None, description="The quota that is spent.")


class GroupSettings(PolicySection):
    """A named group of workloads."""

    match: Annotated[tuple[MatchSettings, ...], Field(min_length=1)] = Field(description="Any entry makes a member.")
    mode: Mode | None = Field(None, description="Enforce or report for this group; else the top level's mode.")
    limits: Annotated[tuple[UseLimitSettings, ...], Field(min_length=1)] | None = Field(
        None, description="Hold for all that the group does."
    )


class ExceptSettings(PolicySection):
    """What is taken out of one rule."""

    hosts: Hosts = Field((), description="Names.")
    cidrs: Cidrs = Field((), description="Networks.")
    clients: Labels = Field((), description="Groups.")


class BreakerSettings(PolicySection):
    """Stop asking a destination that fails."""

    failures: Count = Field(5, description="Failures in a window that open it.")
    window: Duration = Field(10.0, description="The window.", json_schema_extra={"default": "10s"})
    open: Duration = Field(30.0, description="How long it stays open.", json_schema_extra={"default": "30s"})


class RequestSettings(PolicySection):
    """One kind of request that is allowed."""

    methods: Texts | None = Field(None, description="Methods; all unless given.")
    paths: Texts | None = Field(None, description="Paths, `*` for a segment, `**` for any number.")
    content_types: Texts | None = Field(None, description="Media types of the body.")
    max_body: Size | None = Field(None, description="Largest body.")


class HeaderSettings(PolicySection):
    """What is changed in request headers."""

    set: Annotated[dict[Text, Text], Field(min_length=1)] | None = Field(None, description="Name to value.")
    remove: Texts | None = Field(None, description="Names.")


class RequestLogSettings(PolicySection):
    """What an exchange's record tells besides."""

    headers: Texts | None = Field(None, description="Request headers.")
    query: Flag = Field(False, description="The query string.")


class InspectSettings(PolicySection):
    """TLS is ended here and requests are judged."""

    requests: Annotated[tuple[RequestSettings, ...], Field(min_length=1)] | None = Field(
        None, description="The first match allows; none denies; key absent allows all."
    )
    headers: HeaderSettings | None = Field(None, description="Changes to request headers.")
    inspectors: Labels = Field((), description="Of gateway.yaml, which look at heads and content.")
    upstream_ca: Text | None = Field(None, description="CA file inside the policy's directory.")
    client_certificate: Label | None = Field(None, description="Of gateway.yaml, shown to the destination.")
    log: RequestLogSettings | None = Field(None, description="What records tell besides.")


def _false_is_none(value: Any) -> Any:
    return None if value is False else value


class TraceSettings(PolicySection):
    """What the destination learns of our traces."""

    propagate: Literal["never"] = Field("never", description="No trace context leaves.")


def _parse_source(value: object) -> Source:
    if value == "client":
        return OF_THE_CLIENT
    texts = value if isinstance(value, list) else [value]
    addresses = [address for text in texts if isinstance(text, str) and (address := parse_address(text)) is not None]
    if not addresses or len(addresses) < len(texts):
        raise BadValue("must be an address, a list of addresses, or client")
    if len(set(addresses)) < len(addresses):
        raise BadValue("has an address twice")
    return Source(tuple(addresses))


SourceAddresses = Annotated[
    Source,
    PlainValidator(_parse_source),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    ),
]


class RuleSettings(PolicySection):
    """One rule."""

    name: Label = Field(description="Unique in its file; the full name is `file#rule`.")
    clients: Labels = Field((), description="Groups; everyone unless given.")
    hosts: Hosts = Field((), description="Names and patterns.")
    hosts_file: FilePath | None = Field(None, description="A file of such entries, one a line.")
    cidrs: Cidrs = Field((), description="Networks of address literals.")
    cidrs_file: FilePath | None = Field(None, description="A file of networks, one a line.")
    except_: ExceptSettings | None = Field(None, alias="except", description="What is taken out of this rule.")
    within: Cidrs = Field((), description="Resolved addresses must be in one of these networks.")
    ports: Ports = Field((), description="Ports, ranges, or any. Default 443 on an allow, every port on a deny.")
    action: Action = Field(Action.ALLOW, description="What happens to what matches.")
    mode: Mode | None = Field(None, description="Enforce or report, before what the groups say.")
    protocol: Protocol | None = Field(None, description="First bytes. Default tls on 443, http on 80, else auto.")
    sni: SniRule = Field(SniRule.MATCH, description="How the TLS name is compared with the CONNECT name.")
    ech: EchRule = Field(EchRule.OUTER, description="Whether Encrypted Client Hello is let through.")
    resolve: Resolve = Field(Resolve.GATEWAY, description="Whose answer counts in transparent mode.")
    private: Cidrs = Field((), description="Special-purpose networks to which this rule's names may resolve.")
    public_suffix: Flag = Field(False, description="Patterns over a whole public suffix are meant.")
    limits: Annotated[tuple[UseLimitSettings, ...], Field(min_length=1)] | None = Field(
        None, description="Limits of this rule."
    )
    honour_retry_after: Flag = Field(False, description="A destination's 429 or 503 closes the bucket.")
    breaker: BreakerSettings | None = Field(None, description="Stop asking a destination that fails.")
    inspect: Annotated[InspectSettings | None, BeforeValidator(_false_is_none, InspectSettings | Literal[False])] = (
        Field(None, description="End TLS here and judge requests; false says that it is not wanted.")
    )
    via: Text | None = Field(None, description="An upstream proxy.")
    source: SourceAddresses | None = Field(None, description="Addresses to dial from.")
    proxy_protocol: ProxyVersion | None = Field(None, description="Header sent to the destination.")
    timeouts: StageTimeouts | None = Field(None, description="Instead of gateway.yaml's; its head is over by then.")
    trace: TraceSettings | None = Field(None, description="What the destination learns of our traces.")
    note: Text | None = Field(None, description="For people.")
    expires: LastDay | None = Field(None, description="Last UTC day on which an allow rule holds.")


class PolicyFile(PolicySection):
    """One file of a policy."""

    version: Version = Field(1, description="Version of this file's form.")
    mode: Mode = Field(Mode.ENFORCE, description="report: refusals are recorded and set aside.")
    clients: dict[Label, GroupSettings] = Field({}, description="Named groups of workloads.")
    quotas: dict[Label, LimitSettings] = Field({}, description="Limits shared by every rule that uses them.")
    rules: tuple[RuleSettings, ...] = Field((), description="Order never matters.")
