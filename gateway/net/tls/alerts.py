"""What it means that a destination ends TLS with an alert: in the handshake, or, as TLS 1.3 has it for a certificate of
ours, right after it (RFC 8446 sections 4.4.2.4 and 6.2).
"""

from gateway.model.errors import UpstreamError
from gateway.model.reasons import Reason

_WANTS_ONE = "certificate required"
_NAME_FOR_NONE = "bad certificate"  # TLS 1.2 has no better one, and many servers of TLS 1.3 send it, too


def refused_with(alert: str, shows: bool = True) -> UpstreamError:
    """`alert` is OpenSSL's name for it. `shows`: we presented a certificate, which it may not accept."""
    if alert == _WANTS_ONE or (alert == _NAME_FOR_NONE and not shows):
        return UpstreamError(Reason.UPSTREAM_WANTS_CERTIFICATE, alert)
    return UpstreamError(Reason.UPSTREAM_TLS_ALERT, alert)
