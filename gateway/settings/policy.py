"""policy.yaml: every key of a rule, a group and a limit in its written form.

A key is either absent or has a value: an empty one (`hosts:`) is an error, because nobody can tell what was meant.
Whatever depends on more than one key is checked in compile/checks.py.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema, field_validator

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
    Texts,
    Version,
)
from gateway.settings.problems import BadValue, show_value
from gateway.settings.section import Section

Hosts = Annotated[tuple[Host, ...], Field(min_length=1)]
Cidrs = Annotated[tuple[Cidr, ...], Field(min_length=1)]
Labels = Annotated[tuple[Label, ...], Field(min_length=1)]


def _any_is_a_list(value: Any) -> Any:
    return [value] if value == "any" else value


Ports = Annotated[
    tuple[Port, ...],
    Field(min_length=1),
    BeforeValidator(_any_is_a_list, Annotated[tuple[Port, ...], Field(min_length=1)] | Literal["any"]),
]


def _refuse_null(schema: dict[str, Any]) -> None:
    """Take null out of the JSON Schema of each key: it is only the default of an absent one."""
    for name, value in schema.get("properties", {}).items():
        choices = [choice for choice in value.get("anyOf", ()) if choice != {"type": "null"}]
        if len(choices) == 1:
            rest = {key: each for key, each in value.items() if key != "anyOf"}
            schema["properties"][name] = {**choices[0], **rest}
        elif choices:
            value["anyOf"] = choices


class PolicySection(Section):
    """A mapping of policy.yaml."""

    model_config = ConfigDict(json_schema_extra=_refuse_null)

    @field_validator("*", mode="before")
    @classmethod
    def _has_a_value(cls, value: Any) -> Any:
        if value is None:
            raise BadValue("has no value: give it one, or remove the key")
        return value


def _parse_spiffe(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("spiffe://") or len(value) == len("spiffe://"):
        raise BadValue(f'{show_value(value)} is not a SPIFFE ID such as "spiffe://cluster.local/ns/payments/sa/api"')
    if "*" in value.removesuffix("/*"):
        raise BadValue(f'{value!r}: a star is the last segment, as in "spiffe://cluster.local/ns/payments/*"')
    return value


Spiffe = Annotated[
    str, PlainValidator(_parse_spiffe), WithJsonSchema({"type": "string", "pattern": r"^spiffe://[^*]+(?:/\*)?$"})
]


class MatchSettings(PolicySection):
    """One way to be a member: all of its keys must match."""

    cidr: Cidr | None = Field(None, description="The client's address is in this network.")
    user: Text | None = Field(None, description="The user that Basic credentials name.")
    namespace: Text | None = Field(None, description="Kubernetes namespace.")
    service_account: Text | None = Field(None, description="Kubernetes service account; needs namespace.")
    labels: Annotated[dict[Text, Text], Field(min_length=1)] | None = Field(
        None, description="Pod labels, all of which must match; needs namespace."
    )
    namespace_labels: Annotated[dict[Text, Text], Field(min_length=1)] | None = Field(
        None, description="Labels of the namespace, all of which must match."
    )
    spiffe: Spiffe | None = Field(None, description="SPIFFE ID; may end in /*.")


class LimitSettings(PolicySection):
    """One limit: what it counts, and what happens beyond it."""

    connections: Rate | None = Field(None, description="Rate of new tunnels, and of connections for requests.")
    requests: Rate | None = Field(None, description="Rate of requests: plain HTTP, and what is inspected.")
    concurrent: Count | None = Field(None, description="Open tunnels.")
    bandwidth: ByteRate | None = Field(None, description="Bytes per second.")
    bytes: ByteBudget | None = Field(None, description="Bytes in each UTC hour or day.")
    burst: Burst | None = Field(
        None, description="What may come at once. Default: one second's worth, or 1 with on_limit: queue."
    )
    key: Annotated[tuple[Literal["rule", "group", "client", "host"], ...], Field(min_length=1)] = Field(
        ("rule",), description="What is counted separately: each rule, group, client or host."
    )
    on_limit: Literal["reject", "queue"] = Field("reject", description="Answer 429, or wait.")
    max_wait: Duration | None = Field(None, description="Longest wait with on_limit: queue.")
    direction: Literal["both", "up", "down"] = Field("both", description="Which bytes bandwidth and bytes count.")
    mode: Mode = Field(Mode.ENFORCE, description="report: count and record, never refuse.")


class UseLimitSettings(LimitSettings):
    """A limit, or the use of a quota."""

    use: Label | None = Field(None, description="The quota to use.")


class GroupSettings(PolicySection):
    """A named group of workloads."""

    match: Annotated[tuple[MatchSettings, ...], Field(min_length=1)] = Field(
        description="A client that matches any entry is a member."
    )
    mode: Mode | None = Field(None, description="Enforce or report for this group. Default: the top level's mode.")
    limits: Annotated[tuple[UseLimitSettings, ...], Field(min_length=1)] | None = Field(
        None, description="Limits for all that the group does."
    )


class ExceptSettings(PolicySection):
    """What one rule does not apply to."""

    hosts: Hosts = Field((), description="Host names and patterns.")
    cidrs: Cidrs = Field((), description="Networks.")
    clients: Labels = Field((), description="Groups.")


class BreakerSettings(PolicySection):
    """A circuit breaker, which stops asking a destination that fails."""

    failures: Count = Field(5, description="Failures within a window that open it.")
    window: Duration = Field(10.0, description="Length of the window.", json_schema_extra={"default": "10s"})
    open: Duration = Field(30.0, description="How long it stays open.", json_schema_extra={"default": "30s"})


class RequestSettings(PolicySection):
    """One kind of request that is allowed."""

    methods: Texts | None = Field(None, description="Methods. Default: all.")
    paths: Texts | None = Field(None, description="Paths; `*` is one segment, `**` any number. Default: all.")
    content_types: Texts | None = Field(None, description="Media types of the body. Default: all.")
    max_body: Size | None = Field(None, description="Largest body.")


class HeaderSettings(PolicySection):
    """Changes to request headers."""

    set: Annotated[dict[Text, Text], Field(min_length=1)] | None = Field(
        None, description="Values by header name; ${secret:name} is filled in."
    )
    remove: Texts | None = Field(None, description="Header names.")


class RequestLogSettings(PolicySection):
    """What else the records of requests contain."""

    headers: Texts | None = Field(None, description="Request headers.")
    query: Flag = Field(False, description="The query string.")


class InspectSettings(PolicySection):
    """TLS is terminated here, and requests are judged."""

    requests: Annotated[tuple[RequestSettings, ...], Field(min_length=1)] | None = Field(
        None, description="Which requests are allowed: those that match any entry. Default: all."
    )
    headers: HeaderSettings | None = Field(None, description="Changes to request headers.")
    inspectors: Labels = Field((), description="Inspectors of gateway.yaml, which look at heads and content.")
    upstream_ca: Text | None = Field(None, description="CA file inside the policy's directory.")
    client_certificate: Label | None = Field(
        None, description="Client certificate of gateway.yaml to present to the destination."
    )
    log: RequestLogSettings | None = Field(None, description="What else the records of requests contain.")


def _false_is_none(value: Any) -> Any:
    return None if value is False else value


class TraceSettings(PolicySection):
    """Whether the destination gets trace context."""

    propagate: Literal["never"] = Field("never", description="No trace context is sent.")


def _parse_source(value: object) -> Source:
    if value == "client":
        return OF_THE_CLIENT
    texts = value if isinstance(value, list) else [value]
    addresses = [address for text in texts if isinstance(text, str) and (address := parse_address(text)) is not None]
    if not addresses or len(addresses) < len(texts):
        raise BadValue("must be an address, a list of addresses, or client")
    if len(set(addresses)) < len(addresses):
        raise BadValue("names an address twice")
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
    clients: Labels = Field((), description="Groups. Default: everyone.")
    hosts: Hosts = Field((), description="Host names and patterns.")
    hosts_file: FilePath | None = Field(None, description="A file of such entries, one per line.")
    cidrs: Cidrs = Field((), description="Networks, for destinations that are named by address.")
    cidrs_file: FilePath | None = Field(None, description="A file of networks, one per line.")
    except_: ExceptSettings | None = Field(None, alias="except", description="What this rule does not apply to.")
    within: Cidrs = Field((), description="Resolved addresses must be in one of these networks.")
    ports: Ports = Field((), description="Ports, ranges, or any. Default: 443 on an allow, every port on a deny.")
    action: Action = Field(Action.ALLOW, description="What happens to what matches.")
    mode: Mode | None = Field(None, description="Enforce or report; takes precedence over the groups' modes.")
    protocol: Protocol | None = Field(
        None, description="What the client's first bytes must be. Default: tls on 443, http on 80, else auto."
    )
    sni: SniRule = Field(SniRule.MATCH, description="How the name in TLS is compared with the CONNECT name.")
    ech: EchRule = Field(EchRule.OUTER, description="Whether Encrypted Client Hello is let through.")
    resolve: Resolve = Field(Resolve.GATEWAY, description="Whose DNS answer counts in transparent mode.")
    private: Cidrs = Field((), description="Special-purpose networks to which this rule's names may resolve.")
    public_suffix: Flag = Field(False, description="Confirms patterns over a whole public suffix.")
    limits: Annotated[tuple[UseLimitSettings, ...], Field(min_length=1)] | None = Field(
        None, description="Limits of this rule."
    )
    honour_retry_after: Flag = Field(
        False,
        description="After a destination's 429 or 503 with Retry-After, answer 429 for as long instead of asking it.",
    )
    breaker: BreakerSettings | None = Field(None, description="Stop asking a destination that fails.")
    inspect: Annotated[InspectSettings | None, BeforeValidator(_false_is_none, InspectSettings | Literal[False])] = (
        Field(None, description="Terminate TLS here and judge requests; false is the default, written out.")
    )
    via: Text | None = Field(None, description="An upstream proxy.")
    source: SourceAddresses | None = Field(None, description="Addresses to dial from.")
    proxy_protocol: ProxyVersion | None = Field(None, description="PROXY protocol header sent to the destination.")
    timeouts: StageTimeouts | None = Field(None, description="Override those of gateway.yaml.")
    trace: TraceSettings | None = Field(None, description="Whether the destination gets trace context.")
    note: Text | None = Field(None, description="A remark for people.")
    expires: LastDay | None = Field(None, description="Last UTC day on which an allow rule holds.")


class PolicyFile(PolicySection):
    """One file of a policy."""

    version: Version = Field(1, description="Version of this file's format.")
    mode: Mode = Field(Mode.ENFORCE, description="report: record what would be refused, and let it pass.")
    clients: dict[Label, GroupSettings] = Field({}, description="Named groups of workloads.")
    quotas: dict[Label, LimitSettings] = Field({}, description="Limits shared by every rule that uses them.")
    rules: tuple[RuleSettings, ...] = Field((), description="Rules; their order never matters.")
