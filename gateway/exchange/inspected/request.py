"""One request under a rule that inspects: judged before it is forwarded, and what holds while it is.

    judge the request -> may it have secrets -> find them -> change its header -> count its content -> scrub its answer

A request that policy would refuse and report mode lets pass goes without secrets.
"""

from dataclasses import dataclass

from gateway.exchange.inlet import Outlet, RequestInlet
from gateway.exchange.inspected.changes import Changes
from gateway.exchange.inspected.outlets import ScrubbedOutlet, Upload, scrubbed
from gateway.exchange.plan import Plan
from gateway.exchange.scope import Judged
from gateway.exchange.upstream import UpstreamConnection
from gateway.model.decision import Deny, Permit, WouldDeny
from gateway.model.errors import InternalError, Refused, UpstreamError
from gateway.model.inspection.secret import Secret
from gateway.model.inspection.terms import Asked, HeaderValue, Inspection, NotAllowed, SecretName, comparable_name
from gateway.model.reasons import Reason
from gateway.model.record import ExchangeDraft
from gateway.model.roles import SecretStore
from gateway.net.stream import Stream
from gateway.policy.requests.scrubbing import Scrubber
from gateway.wire.http.messages import Delimiter, Response

_METHOD_AGAIN = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
_PATH_AGAIN = frozenset({"x-original-url", "x-rewrite-url"})
_IDENTITY = frozenset({"", "identity"})


def inspect_request(
    plan: Plan, judged: Judged, draft: ExchangeDraft, secrets: SecretStore, is_verified: bool
) -> "Inspected | None":
    """None: the rule does not look at requests. `is_verified`: the destination has proved, or has to prove before it is
    sent anything, over TLS to be who the permit names. Raises `Refused`, or `InternalError` for want of a secret."""
    permit = judged.permit
    inspection = permit.terms.inspection
    if inspection is None:
        return None
    _note(plan, inspection, draft)
    without = _changes(inspection, {})
    max_body = _judge(plan, permit, inspection, without, draft)
    inspected = Inspected(permit, draft, max_body, without, without)
    names = inspection.secrets
    if names and not _is_doubtful(permit, draft, is_verified):
        if not is_verified:
            raise Refused(_deny(permit, NotAllowed(Reason.SECRET_NEEDS_TLS, f"secret {names[0]}")))
        inspected.give({name: _find(name, judged, secrets) for name in names}, inspection)
    return inspected


@dataclass(slots=True)
class Inspected:
    """What holds while the request is forwarded and answered. `without` are the changes where no secret is given."""

    permit: Permit
    draft: ExchangeDraft
    max_body: int | None
    changes: Changes
    without: Changes
    _scrubs: tuple[bytes, ...] = ()

    def give(self, found: dict[str, Secret], inspection: Inspection) -> None:
        """Fill the secrets in."""
        self._scrubs = tuple([secret.reveal().encode("latin-1") for secret in found.values() if secret.scrub])
        changes = _changes(inspection, found)
        self.changes = changes.showing_echoes() if self._scrubs else changes
        self.draft.secrets = tuple(found)

    def changes_for(self, upstream: UpstreamConnection) -> Changes:
        """On the last step before it goes out: only a connection that is verified and that no rule would have refused
        carries a secret."""
        if self.changes is self.without:
            return self.without
        if not upstream.is_verified:
            raise InternalError(Reason.INTERNAL_ERROR, "a secret for a connection that is not verified")
        if any(not refusal.enforced for refusal in upstream.dialled.refused):
            self._withhold()
        return self.changes

    def _withhold(self) -> None:
        self.changes, self._scrubs, self.draft.secrets = self.without, (), ()

    # Content.

    def upload(self, stream: Stream, source: RequestInlet, is_chunked: bool) -> Upload:
        """To the destination."""
        max_body = None if self.permit.report else self.max_body
        return Upload(stream, source, is_chunked, max_body, self.changes.dropped)

    def check(self, up: Outlet) -> None:
        """Raise `Refused` if the request is larger than its entry allows."""
        if isinstance(up, Upload) and up.is_exceeded:
            raise Refused(_deny(self.permit, self._too_large()))

    def sum_up(self, up: Outlet) -> None:
        """In report mode what was too large has passed."""
        if self.permit.report and self.max_body is not None and up.size > self.max_body:
            self.draft.would_deny = self.draft.would_deny or WouldDeny(Reason.BODY_TOO_LARGE, self.permit.rule)

    def _too_large(self) -> NotAllowed:
        return NotAllowed(Reason.BODY_TOO_LARGE, f"more than {self.max_body} bytes")

    def told(self, response: Response) -> Response:
        """As the client may see its head. Raises `UpstreamError` for content that cannot be searched."""
        if not self._scrubs:
            return response
        codings = ",".join(response.values("content-encoding")).lower().split(",")
        if response.framing.delimiter is not Delimiter.NONE and not _IDENTITY.issuperset(map(str.strip, codings)):
            raise UpstreamError(Reason.RESPONSE_ENCODED, "it cannot be scrubbed")
        return scrubbed(response, Scrubber(self._scrubs))

    def download(self, stream: Stream, upstream: UpstreamConnection, is_chunked: bool) -> Outlet:
        """To the client."""
        if not self._scrubs:
            return Outlet(stream, upstream.inlet, is_chunked)
        return ScrubbedOutlet(stream, upstream.inlet, is_chunked, Scrubber(self._scrubs))


def _note(plan: Plan, inspection: Inspection, draft: ExchangeDraft) -> None:
    """What the rule's `log` asks for, and the content type."""
    request = plan.request
    draft.media_type = next(iter(request.values("content-type")), "").partition(";")[0].strip()
    if inspection.log_query:
        draft.query = plan.target.resource.partition("?")[2]
    if inspection.log_headers:
        chosen = [(comparable_name(name), value) for name, value in request.fields]
        draft.headers = tuple([field for field in chosen if field[0] in inspection.log_headers])


def _judge(plan: Plan, permit: Permit, inspection: Inspection, without: Changes, draft: ExchangeDraft) -> int | None:
    """The most bytes that the content may have. In report mode a refusal is noted."""
    if inspection.requests is None:
        return None
    verdict = inspection.requests.judge(_asked(plan, without.dropped))
    if not isinstance(verdict, NotAllowed):
        return verdict.max_body
    if not permit.report:
        raise Refused(_deny(permit, verdict))
    draft.would_deny = draft.would_deny or WouldDeny(verdict.reason, permit.rule)
    return None


def _asked(plan: Plan, dropped: frozenset[str]) -> Asked:
    """Of what goes on: a header that is dropped misleads nobody."""
    request, framing = plan.request, plan.request.framing
    names = {comparable_name(name) for name, _ in plan.passing} - dropped
    return Asked(
        method=request.method,
        path=plan.target.path,
        has_content=not framing.is_empty,
        media_types=tuple(request.values("content-type")),
        length=None if framing.delimiter is Delimiter.CHUNKED else framing.length,
        renames_method=not names.isdisjoint(_METHOD_AGAIN),
        renames_path=not names.isdisjoint(_PATH_AGAIN),
    )


def _deny(permit: Permit, verdict: NotAllowed) -> Deny:
    return Deny(verdict.reason, permit.generation, permit.rule, permit.groups, permit.also, verdict.detail)


def _is_doubtful(permit: Permit, draft: ExchangeDraft, is_verified: bool) -> bool:
    """Whether anything that policy would refuse was set aside: of the request, or of the tunnel that it came in."""
    tunnel = draft.connection.would_deny if is_verified else None
    return draft.would_deny is not None or permit.would_deny is not None or tunnel is not None


def _find(name: str, judged: Judged, secrets: SecretStore) -> Secret:
    """For the host that was permitted, and for the one that the request names."""
    permit = judged.permit
    found = [secrets.find(name, host, permit.groups) for host in (permit.authority.host, judged.named.host)]
    if found[0] is None or found[1] is None:
        raise InternalError(Reason.SECRET_UNAVAILABLE, f"secret {name}")
    return found[0]


def _changes(inspection: Inspection, found: dict[str, Secret]) -> Changes:
    """Values for which a secret is missing are left out; what the client says instead is dropped all the same."""
    dropped = inspection.remove | {comparable_name(value.name) for value in inspection.set}
    added = [(value.name, _text(value, found)) for value in inspection.set if found.keys() >= set(value.secrets)]
    return Changes(frozenset(dropped), tuple(added))


def _text(value: HeaderValue, found: dict[str, Secret]) -> str:
    return "".join([found[part.name].reveal() if isinstance(part, SecretName) else part for part in value.parts])
