"""A record as a log record of OTLP, with the ids of its span."""

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from gateway.model.record import Draft, ExchangeDraft
from gateway.telemetry.exchanges import record_of
from gateway.telemetry.otlp.attributes import attributes_of_log
from gateway.telemetry.otlp.spans import SCOPE, nanoseconds
from gateway.telemetry.otlp.tracing import Numbers


def log_of(
    draft: Draft | ExchangeDraft, ended_at: float, numbers: Numbers, is_traced: bool, resource: Resource
) -> ReadableLogRecord:
    """`ended_at` is monotonic, as in the draft."""
    record = record_of(draft, ended_at)
    instant = nanoseconds(draft.started_time + ended_at - draft.started_at)
    flags = TraceFlags(TraceFlags.SAMPLED if is_traced else TraceFlags.DEFAULT)
    context = SpanContext(numbers.trace, numbers.span, False, flags)
    warns = "reason" in record
    log = LogRecord(
        timestamp=instant,
        observed_timestamp=instant,
        context=set_span_in_context(NonRecordingSpan(context)),
        severity_text="WARN" if warns else "INFO",
        severity_number=SeverityNumber.WARN if warns else SeverityNumber.INFO,
        body=str(record.get("reason", record["ended"])),
        attributes=attributes_of_log(record),
        event_name="egress.connection" if isinstance(draft, Draft) else "egress.request",
    )
    return ReadableLogRecord(log, resource, SCOPE)
