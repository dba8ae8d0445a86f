"""One request under a rule that inspects: judged before it is forwarded, changed and counted while it is.

    judge the request -> may it have secrets -> find them -> change its header -> count its content -> scrub its answer

A request that only report mode lets pass gets no secrets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.exchange.inlet import Inlet, Outlet, Sink
from gateway.exchange.inspected.outlets import ScrubbedOutlet, Upload, scrubbed
from gateway.exchange.inspected.reading import Reading, read_request
from gateway.exchange.inspected.watched import Wait, Watched
from gateway.exchange.plan import RequestPlan
from gateway.exchange.scope import Judged
from gateway.exchange.upstream import UpstreamSide
from gateway.model.decision import Permit, WouldDeny
from gateway.model.errors import InternalError, Refused, UpstreamError
from gateway.model.inspection.secret import Secret
from gateway.model.inspection.terms import HeaderValue, Inspection, NotAllowed, SecretName, comparable_name
from gateway.model.inspection.watching import Watchers
from gateway.model.reasons import Reason
from gateway.model.record import ExchangeDraft, Seen
from gateway.model.roles import SecretStore
from gateway.policy.requests.scrubbing import Scrubber
from gateway.wire.http.messages import Delimiter, Request, Response
from gateway.wire.http2.heads import Unindexed

_IDENTITY = frozenset({"", "identity"})
# Codings of content, of messages within it (gRPC, Connect), and of instances (RFC 3229).
_CODINGS = ("content-encoding", "grpc-encoding", "connect-content-encoding", "im")
_HIDES_ECHOES = frozenset(
    {"accept-encoding", "range", "if-range", "grpc-accept-encoding", "connect-accept-encoding", "a-im"}
)
_SHOWS_ECHOES = ("Accept-Encoding", "identity")
_NO_SECRETS: Mapping[str, Secret] = {}


def inspect_request(
    inspection: Inspection,
    plan: RequestPlan,
    judged: Judged,
    draft: ExchangeDraft,
    secrets: SecretStore,
    is_secure: bool,
) -> "Inspected | None":
    """Judge a request, and find its secrets. None: the rule demands nothing more. `is_secure` as in `Scope`. Raises
    `Refused`, or `InternalError` if a secret is missing."""
    permit = judged.permit
    reading = read_request(plan, inspection)
    seen = draft.seen = Seen(reading.media_type, reading.query, reading.headers)
    max_body = _max_body(reading, permit, draft)
    if reading.is_enough:
        return None
    given = _NO_SECRETS
    if inspection.secrets and not _is_doubtful(judged, draft):
        if not is_secure:
            raise Refused(permit.denial(Reason.SECRET_NEEDS_TLS, f"secret {inspection.secrets[0]}"))
        given = {name: _find(name, judged, secrets) for name in inspection.secrets}
    return Inspected(permit, draft, seen, reading, max_body, given)


@dataclass(slots=True)
class Inspected:
    """What a rule demands while the request is forwarded and answered."""

    _permit: Permit
    _draft: ExchangeDraft
    _seen: Seen
    _reading: Reading
    _max_body: int | None
    _given: Mapping[str, Secret]
    _watched: Watched | None = None
    _upload: Upload | None = None

    def begin_watch(self, watchers: Watchers, ring: Callable[[], None], wait: Wait) -> Watched | None:
        """None: the rule names no inspectors."""
        names = self._reading.inspection.inspectors
        if names:
            watch = watchers.watch(names, ring, self._permit.report)
            self._seen.said = watch.said
            self._watched = Watched(watch, self._permit, self._draft, wait)
        return self._watched

    def fields_for(self, upstream: UpstreamSide) -> list[tuple[str, str]] | None:
        """The fields to send over this connection; None: the client's. To be asked just before they are sent: only a
        connection that is verified, and that no rule would have refused, carries a secret."""
        if not self._reading.inspection.replaced:
            return None
        if self._given:
            if not upstream.is_verified:
                raise InternalError(Reason.INTERNAL_ERROR, "a secret for a connection that is not verified")
            if self._was_set_aside(upstream):
                self._given = _NO_SECRETS
            else:
                self._seen.secrets = self._reading.inspection.secrets
        fields = [*self._reading.kept, *self._set_fields()]
        if not self._masked_values():
            return fields
        return [*[field for field in fields if comparable_name(field[0]) not in _HIDES_ECHOES], _SHOWS_ECHOES]

    def _was_set_aside(self, upstream: UpstreamSide) -> bool:
        """Whether report mode has let a dialled address, or an inspector's objection, pass."""
        if self._watched is not None and self._watched.objects:
            return True
        return any(not refusal.enforced for refusal in upstream.dialled.refused)

    def _set_fields(self) -> list[tuple[str, str]]:
        """Those that the rule sets, but for values whose secret is withheld."""
        given, inspection = self._given, self._reading.inspection
        complete = len(given) == len(inspection.secrets)
        return [(value.name, _text(value, given)) for value in inspection.set if complete or not value.secrets]

    def _masked_values(self) -> list[bytes]:
        """The secrets that are masked in responses."""
        return [secret.reveal().encode("latin-1") for secret in self._given.values() if secret.scrub]

    # Content.

    def upload(self, stream: Sink, source: Inlet[Request], is_chunked: bool) -> Outlet:
        """The outlet for content to the destination."""
        max_body = None if self._permit.report else self._max_body
        watched, replaced = self._watched, self._reading.inspection.replaced
        upload = self._upload = Upload(stream, source, is_chunked, max_body, replaced, watched is not None)
        return upload if watched is None else watched.up(upload)

    def check(self) -> None:
        """Raise `Refused` if the request is larger than its entry allows, or if inspectors object."""
        if self._upload is not None and self._upload.is_exceeded:
            raise Refused(self._permit.denial(Reason.BODY_TOO_LARGE, f"more than {self._max_body} bytes"))
        if self._watched is not None:
            self._watched.check()

    @property
    def is_sent(self) -> bool:
        """Whether all that arrived of the request was sent on, its end included."""
        is_cut = self._upload is not None and self._upload.is_exceeded
        return not is_cut and (self._watched is None or self._watched.is_sent)

    def note_excess(self, up: Outlet) -> None:
        """Note that report mode let too large a request pass."""
        if self._permit.report and self._max_body is not None and up.size > self._max_body:
            self._draft.would_deny = self._draft.would_deny or WouldDeny(Reason.BODY_TOO_LARGE, self._permit.rule)

    def scrub_head(self, response: Response) -> Response:
        """The response's head as the client may see it. Raises `UpstreamError` for content that cannot be searched."""
        masked = self._masked_values()
        if not masked:
            return response
        codings = ",".join([value for name in _CODINGS for value in response.values(name)]).lower().split(",")
        if response.framing.delimiter is not Delimiter.NONE and not _IDENTITY.issuperset(map(str.strip, codings)):
            raise UpstreamError(Reason.RESPONSE_ENCODED, "it cannot be scrubbed")
        return scrubbed(response, Scrubber(masked))

    def download(self, stream: Sink, source: Inlet[Response], is_chunked: bool) -> Outlet:
        """The outlet for content to the client."""
        masked = self._masked_values()
        if masked:
            down: Outlet = ScrubbedOutlet(stream, source, is_chunked, Scrubber(masked))
        else:
            down = Outlet(stream, source, is_chunked)
        return down if self._watched is None else self._watched.down(down, masked)


def _max_body(reading: Reading, permit: Permit, draft: ExchangeDraft) -> int | None:
    """The most bytes that the content may have. Raises `Refused`, which report mode turns into a note."""
    verdict = reading.verdict
    if not isinstance(verdict, NotAllowed):
        return verdict.max_body
    if not permit.report:
        raise Refused(permit.denial(*verdict))
    draft.would_deny = draft.would_deny or WouldDeny(verdict.reason, permit.rule)
    return None


def _is_doubtful(judged: Judged, draft: ExchangeDraft) -> bool:
    """Whether report mode set a refusal aside: of the request, or of the tunnel that it came in."""
    return judged.is_doubtful or draft.would_deny is not None or judged.permit.would_deny is not None


def _find(name: str, judged: Judged, secrets: SecretStore) -> Secret:
    """The secret, if it is for the host that was permitted as well as for the one that the request names. Raises
    `InternalError`."""
    permit, named = judged.permit, judged.named.host
    found = secrets.find(name, permit.authority.host, permit.groups)
    if found is None or (named != permit.authority.host and secrets.find(name, named, permit.groups) is None):
        raise InternalError(Reason.SECRET_UNAVAILABLE, f"secret {name}")
    return found


def _text(value: HeaderValue, given: Mapping[str, Secret]) -> str:
    text = "".join([given[part.name].reveal() if isinstance(part, SecretName) else part for part in value.parts])
    return Unindexed(text) if value.secrets else text
