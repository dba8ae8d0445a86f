"""How many TCP segments a connection sent and received, as the kernel counts them (tcp(7), `TCP_INFO`)."""

import socket
import struct

from gateway.net.stream import Stream

_SEGMENTS = struct.Struct("=2I")  # tcpi_segs_out, tcpi_segs_in
_OFFSET = 136  # of them in struct tcp_info, Linux 4.2 and later


def segments_of(stream: Stream) -> tuple[int, int] | None:
    """Sent and received so far, those without payload included; None if the connection is gone or the kernel is too old
    to tell."""
    if stream.is_lost:
        return None
    try:
        sock = stream.transport.get_extra_info("socket")
        told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _OFFSET + _SEGMENTS.size)
    except OSError:
        return None
    if len(told) < _OFFSET + _SEGMENTS.size:
        return None
    sent, received = _SEGMENTS.unpack_from(told, _OFFSET)
    return sent, received
