"""Fatal TLS alerts in the clear (RFC 8446 section 6) that refuse a hello: after the 200 no HTTP is spoken."""

from typing import Final


def _fatal(description: int) -> bytes:
    """One record of type alert (21), in the legacy version that every client takes, level fatal (2)."""
    return bytes((21, 3, 3, 0, 2, 2, description))


ACCESS_DENIED: Final = _fatal(49)
DECODE_ERROR: Final = _fatal(50)
NO_APPLICATION_PROTOCOL: Final = _fatal(120)
"""RFC 7301 section 3.2."""
