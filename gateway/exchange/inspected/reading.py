"""What a rule's `inspect` makes of a request, whoever sends it: kept with the plan of the request."""

from dataclasses import dataclass

from gateway.exchange.plan import RequestPlan
from gateway.model.inspection.terms import Allowed, Asked, Inspection, NotAllowed, comparable_name
from gateway.wire.http.messages import Delimiter, Fields

_METHOD_OVERRIDES = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
_PATH_OVERRIDES = frozenset({"x-original-url", "x-rewrite-url"})
OVERRIDES = _METHOD_OVERRIDES | _PATH_OVERRIDES
"""Headers by which some origins override the method or path of a request."""
_ALLOWED = Allowed()


@dataclass(slots=True)
class Reading:
    """`is_enough`: with the verdict the rule is done, as it changes no header and no content follows. `kept` are the
    fields that are forwarded, without those that the rule removes or sets. `media_type`, `query` and `headers` are for
    the record."""

    inspection: Inspection
    verdict: Allowed | NotAllowed
    is_enough: bool
    kept: list[tuple[str, str]]
    media_type: str
    query: str
    headers: Fields


def read_request(plan: RequestPlan, inspection: Inspection) -> Reading:
    """The reading; the same object for the same plan and inspection."""
    known = plan.inspected
    if isinstance(known, Reading) and known.inspection is inspection:
        return known
    reading = plan.inspected = _read(plan, inspection)
    return reading


def _read(plan: RequestPlan, inspection: Inspection) -> Reading:
    named = [(comparable_name(field[0]), field) for field in plan.passing]
    kept = [(name, field) for name, field in named if name not in inspection.replaced]
    types = [field for name, field in named if name == "content-type"]
    told = tuple([value if name.lower() == "content-type" else "" for name, value in types])
    screen = inspection.requests
    # A length of 0 would not do: in HTTP/2 trailers may follow.
    has_content = plan.request.framing.delimiter is not Delimiter.NONE
    return Reading(
        inspection=inspection,
        verdict=_ALLOWED if screen is None else screen.judge(_asked(plan, told, {name for name, _ in kept})),
        is_enough=not (has_content or inspection.replaced or inspection.inspectors),
        kept=[field for _, field in kept],
        media_type=types[0][1].partition(";")[0].strip() if types else "",
        query=plan.target.resource.partition("?")[2] if inspection.log_query else "",
        headers=tuple([(name, field[1]) for name, field in named if name in inspection.log_headers]),
    )


def _asked(plan: RequestPlan, media_types: tuple[str, ...], names: set[str]) -> Asked:
    """`media_types` are empty for other spellings of Content-Type, which tell no type to origins that do not read them;
    `names` are those of the headers that go on: one that is dropped misleads nobody."""
    framing = plan.request.framing
    return Asked(
        method=plan.request.method,
        path=plan.path,
        has_content=not framing.is_empty,
        media_types=media_types,
        length=None if framing.delimiter is Delimiter.CHUNKED else framing.length,
        overrides_method=not names.isdisjoint(_METHOD_OVERRIDES),
        overrides_path=not names.isdisjoint(_PATH_OVERRIDES),
    )
