"""`inspect.requests`: the first entry that a request matches allows it; without one it is denied.

An entry matches by method, path and content type. One with methods matches no request with a header that overrides the
method; one with paths matches none whose path is ambiguous or overridden by a header. Where all but the content type
match, the refusal says so. The size of the content is not matched: the entry that allows a request says how much it may
carry.
"""

from dataclasses import dataclass, field

from gateway.model.inspection.terms import Allowed, Asked, NotAllowed
from gateway.model.reasons import Reason
from gateway.policy.requests.paths import AmbiguousPath, PathPattern, PathSet, read_path
from gateway.policy.requests.types import media_types


@dataclass(frozen=True, slots=True)
class RequestRule:
    """One entry; an empty `methods`, `paths` or `content_types` fits all. `content_types` are `type/subtype` or
    `type/*` in lower case; `max_body` in bytes."""

    methods: frozenset[str] = frozenset()
    paths: tuple[PathPattern, ...] = ()
    content_types: frozenset[str] = frozenset()
    max_body: int | None = None


@dataclass(frozen=True, slots=True)
class RequestRules:
    """Fulfils `RequestScreen`. `allows_trace`: a TRACE may pass. It must not where secrets are added, which its answer
    would hold."""

    entries: tuple[RequestRule, ...]
    allows_trace: bool = True
    _paths: PathSet = field(init=False, repr=False, compare=False)
    _accepts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        paths = PathSet([pattern for entry in self.entries for pattern in entry.paths])
        bits = iter(paths.accepts)
        accepts = tuple(sum(next(bits) for _ in entry.paths) for entry in self.entries)
        object.__setattr__(self, "_paths", paths)
        object.__setattr__(self, "_accepts", accepts)

    def judge(self, asked: Asked) -> Allowed | NotAllowed:
        """See `RequestScreen`."""
        if asked.method == "TRACE" and not self.allows_trace:
            return NotAllowed(Reason.REQUEST_DENIED, "TRACE where a secret is added: its answer would hold it")
        found, doubt = self._match(asked)
        fits_but_for_its_type = False
        for entry, accepts in zip(self.entries, self._accepts, strict=True):
            if entry.methods and (asked.method not in entry.methods or asked.overrides_method):
                continue
            if entry.paths and not found & accepts:
                continue
            if _has_type(entry, asked):
                return _measured(entry, asked)
            fits_but_for_its_type = True
        if fits_but_for_its_type:
            return NotAllowed(Reason.MEDIA_TYPE_DENIED, "no entry of requests has the content type")
        return NotAllowed(Reason.REQUEST_DENIED, doubt or "no entry of requests has the method and the path")

    def _match(self, asked: Asked) -> tuple[int, str]:
        """The bits of the patterns that match, and why none does if origins could read the request differently."""
        doubt = "a header that some read as the method" if asked.overrides_method else ""
        if not any(self._accepts):
            return 0, doubt
        if asked.overrides_path:
            return 0, "a header that some read as the path"
        try:
            return self._paths.match_all(read_path(asked.path)), doubt
        except AmbiguousPath as why:
            return 0, f"ambiguous path: {why}"


def _measured(entry: RequestRule, asked: Asked) -> Allowed | NotAllowed:
    if entry.max_body is not None and asked.length is not None and asked.length > entry.max_body:
        return NotAllowed(Reason.BODY_TOO_LARGE, f"{asked.length} bytes, at most {entry.max_body}")
    return Allowed(entry.max_body)


def _has_type(entry: RequestRule, asked: Asked) -> bool:
    """Whether the type is one of the entry's. Without content none is needed; several count as none (RFC 9110 section
    8.3)."""
    if not entry.content_types or not asked.has_content:
        return True
    types = media_types(asked.media_types)
    if len(types) != 1:
        return False
    media_type = types[0]
    return media_type in entry.content_types or f"{media_type.partition('/')[0]}/*" in entry.content_types
