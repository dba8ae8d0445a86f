"""Spans, made afterwards with the instants at which things happened: none exists while a connection lives."""

import random
from collections.abc import Iterator

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gateway.model.record import Draft, ExchangeDraft
from gateway.telemetry.exchanges import record_of
from gateway.telemetry.otlp.attributes import (
    Attributes,
    attributes_of_span,
    attributes_of_stage,
    is_error,
    span_name,
)
from gateway.telemetry.otlp.stages import Stage, stages_of
from gateway.telemetry.otlp.tracing import Numbers
from gateway.telemetry.version import own_version

SCOPE = InstrumentationScope("egress-gateway", own_version())

_NANOSECONDS = 1_000_000_000
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def spans_of(
    draft: Draft | ExchangeDraft, ended_at: float, numbers: Numbers, resource: Resource
) -> Iterator[ReadableSpan]:
    """Its own span, then those of its stages. `ended_at` is monotonic, as in the draft."""
    record = record_of(draft, ended_at)
    context = _context(numbers.trace, numbers.span)
    parent = None if numbers.parent is None else _context(numbers.trace, numbers.parent, numbers.is_remote)
    whole = Stage(
        span_name(record),
        draft.started_time,
        draft.started_time + ended_at - draft.started_at,
        failed=is_error(record),
    )
    stages = list(stages_of(draft, ended_at))
    attributes = attributes_of_span(record, [stage.name for stage in stages])
    if isinstance(draft, ExchangeDraft):
        attributes["url.scheme"] = "http" if draft.connection.tls is None else "https"
    yield _span(whole, attributes, context, parent, SpanKind.SERVER, resource)
    for stage in stages:
        attributes = attributes_of_stage(stage.name, record)
        if stage.failed and "reason" in record:
            attributes["error.type"] = record["reason"]
        kind = SpanKind.CLIENT if stage.name in ("dns", "dial") else SpanKind.INTERNAL
        own = _context(numbers.trace, random.getrandbits(64) or 1)
        yield _span(stage, attributes, own, context, kind, resource)


def _span(
    stage: Stage,
    attributes: Attributes,
    context: SpanContext,
    parent: SpanContext | None,
    kind: SpanKind,
    resource: Resource,
) -> ReadableSpan:
    return ReadableSpan(
        stage.name,
        context,
        parent,
        resource,
        attributes,
        kind=kind,
        status=Status(StatusCode.ERROR if stage.failed else StatusCode.UNSET),
        start_time=nanoseconds(stage.began),
        end_time=nanoseconds(max(stage.began, stage.ended)),
        instrumentation_scope=SCOPE,
    )


def nanoseconds(unix_seconds: float) -> int:
    """Instants as OTLP has them."""
    return int(unix_seconds * _NANOSECONDS)


def _context(trace: int, span: int, is_remote: bool = False) -> SpanContext:
    return SpanContext(trace, span, is_remote, _SAMPLED)
