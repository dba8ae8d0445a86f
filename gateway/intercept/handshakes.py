"""The handshakes on both sides of an inspected tunnel, and what their failures mean."""

import ssl
from collections.abc import Sequence

from gateway.model.errors import DownstreamError, UpstreamError
from gateway.model.reasons import Reason
from gateway.model.roles import Deadlines
from gateway.net.stream import Stream
from gateway.net.tls.alerts import refused_with
from gateway.net.tls.contexts import HTTP_1_1, HTTP_2
from gateway.net.tls.transport import Resumption, TlsFailed, start_tls

# X509_V_ERR_ of OpenSSL (x509_vfy.h), as far as operators can act on them.
_VERDICTS = {
    9: Reason.UPSTREAM_CERTIFICATE_NOT_YET_VALID,
    10: Reason.UPSTREAM_CERTIFICATE_EXPIRED,
    2: Reason.UPSTREAM_CERTIFICATE_UNTRUSTED,  # no issuer
    20: Reason.UPSTREAM_CERTIFICATE_UNTRUSTED,  # no issuer here
    21: Reason.UPSTREAM_CERTIFICATE_UNTRUSTED,  # nothing but the leaf
    19: Reason.UPSTREAM_CERTIFICATE_UNTRUSTED,  # a root that is not ours
    18: Reason.UPSTREAM_CERTIFICATE_SELF_SIGNED,
    62: Reason.UPSTREAM_CERTIFICATE_NAME_MISMATCH,
    64: Reason.UPSTREAM_CERTIFICATE_NAME_MISMATCH,  # an address
    66: Reason.UPSTREAM_CERTIFICATE_WEAK,  # key of the leaf
    67: Reason.UPSTREAM_CERTIFICATE_WEAK,  # key of an authority
    68: Reason.UPSTREAM_CERTIFICATE_WEAK,  # digest of a signature
}
RIGHT_AFTER_SECONDS = 1.0

_ABOUT_OUR_CERTIFICATE = frozenset(
    {
        "unknown ca",
        "bad certificate",
        "certificate unknown",
        "certificate expired",
        "certificate revoked",
        "access denied",  # a valid one that is not accepted (RFC 8446 section 6.2)
        "unsupported certificate",
    }
)


def alpn_for_destination(offered: Sequence[str]) -> tuple[str, ...]:
    """The protocols to offer to the destination for a client that offers these (RFC 7301); none if it offers none. For
    a client that offers only HTTP/2, HTTP/1.1 is offered as well: docs/decisions/0016-http2.md. Raises
    `DownstreamError` if the client offers nothing that is inspected."""
    if not offered:
        return ()
    if HTTP_2 in offered:
        return (HTTP_2, HTTP_1_1)
    if HTTP_1_1 not in offered:
        raise DownstreamError(Reason.ALPN_UNSUPPORTED, "the client offers " + ", ".join(map(repr, offered[:8])))
    return (HTTP_1_1,)


def alpn_for_client(offered: Sequence[str], taken: str | None) -> tuple[str, ...]:
    """What the client, which `offered` these, may choose from after the destination has `taken` one: the same if
    possible. If the destination took none there is none, except for a client that speaks only HTTP/2."""
    if taken is not None and taken in offered:
        return (taken,)
    if taken is None and (not offered or HTTP_1_1 in offered):
        return ()
    return tuple([each for each in (HTTP_2, HTTP_1_1) if each in offered])


async def handshake_upstream(
    stream: Stream,
    context: ssl.SSLContext,
    name: str,
    resumption: Resumption,
    presents: bool,
    deadlines: Deadlines,
    seconds: float,
) -> ssl.SSLObject:
    """Have the destination prove to be `name`, a host or an address. `presents`: the context has a certificate of ours.
    Raises `UpstreamError`; then the stream is to be closed."""
    try:
        with deadlines.within(seconds, lambda: UpstreamError(Reason.UPSTREAM_TLS_TIMEOUT, _too_slow(seconds))):
            return await start_tls(stream, context, False, name, resumption)
    except TlsFailed as failure:
        raise _upstream_error(failure, presents) from failure


async def handshake_downstream(
    stream: Stream, context: ssl.SSLContext, deadlines: Deadlines, seconds: float
) -> ssl.SSLObject:
    """Have the client accept our certificate. Raises `DownstreamError`; by then an alert was sent where TLS has one."""
    if stream.is_lost or stream.has_ended:
        raise DownstreamError(Reason.CLIENT_CLOSED, "before it was answered")
    try:
        with deadlines.within(seconds, lambda: DownstreamError(Reason.TLS_HANDSHAKE_TIMEOUT, _too_slow(seconds))):
            return await start_tls(stream, context, server_side=True)
    except TlsFailed as failure:
        if failure.gone:
            raise DownstreamError(Reason.CLIENT_REJECTED_CERTIFICATE, "closed right after our certificate") from failure
        rejects = failure.alert in _ABOUT_OUR_CERTIFICATE
        reason = Reason.CLIENT_REJECTED_CERTIFICATE if rejects else Reason.TLS_HANDSHAKE_FAILED
        raise DownstreamError(reason, failure.detail) from failure


def left_without_request(alert: str | None, seconds: float) -> DownstreamError | None:
    """Why a client left so long after its handshake without a request; None for no known reason. `alert` is the one
    that it sent. Some clients check our certificate after the handshake, and leave with or without an alert."""
    if alert in _ABOUT_OUR_CERTIFICATE:
        return DownstreamError(Reason.CLIENT_REJECTED_CERTIFICATE, f"alert {alert} after the handshake")
    if alert is not None:
        return DownstreamError(Reason.DOWNSTREAM_RESET, f"alert {alert} after the handshake")
    if seconds > RIGHT_AFTER_SECONDS:
        return None
    return DownstreamError(Reason.CLIENT_REJECTED_CERTIFICATE, "closed right after the handshake, without a request")


def _upstream_error(failure: TlsFailed, presents: bool) -> UpstreamError:
    if failure.alert is not None and not failure.certificate:
        return refused_with(failure.alert, presents)
    reason = Reason.UPSTREAM_TLS_FAILED
    if failure.gone:
        reason = Reason.CONNECTION_TERMINATED
    elif failure.certificate:
        reason = _VERDICTS.get(failure.verdict, Reason.UPSTREAM_CERTIFICATE_INVALID)
    return UpstreamError(reason, failure.detail)


def _too_slow(seconds: float) -> str:
    return f"not over in {seconds:g} s"
