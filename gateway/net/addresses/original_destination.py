"""Where a captured connection was on its way to before it was routed here.

REDIRECT rewrites the destination, and connection tracking remembers the original (netfilter's SO_ORIGINAL_DST and
IP6T_SO_ORIGINAL_DST, both 80). TPROXY rewrites nothing: the accepted socket's own name is the destination. A connection
that was not captured has no other original, and its own name is an address on which this gateway listens.
"""

import errno
import socket

from gateway.model.addresses import parse_address, unpack_address
from gateway.model.record import Destination

IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
_ORIGINAL_DST = 80
_SIZE_OF = {socket.AF_INET: 16, socket.AF_INET6: 28}
_UNTRACKED = (errno.ENOENT, errno.EOPNOTSUPP, errno.ENOPROTOOPT)


def accept_any_destination(sock: socket.socket) -> bool:
    """Let TPROXY hand over connections for addresses that are not this machine's; before `bind`. False without the
    privilege (CAP_NET_ADMIN or CAP_NET_RAW): then only REDIRECT reaches the socket."""
    try:
        sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    except PermissionError:
        return False
    return True


def original_destination(sock: socket.socket) -> Destination | None:
    """The address and port that the client dialled; None if the connection is gone already."""
    try:
        name = sock.getsockname()
        own = _destination(name[0], name[1])
        level = socket.IPPROTO_IP if own is not None and own[0].version == 4 else socket.IPPROTO_IPV6
        family = socket.AF_INET if level == socket.IPPROTO_IP else socket.AF_INET6
        return _tracked(sock, level, family) or own
    except OSError:
        return None


def _tracked(sock: socket.socket, level: int, family: socket.AddressFamily) -> Destination | None:
    """What connection tracking remembers; None where it does not know the connection."""
    try:
        answer = sock.getsockopt(level, _ORIGINAL_DST, _SIZE_OF[family])
    except OSError as error:
        if error.errno in _UNTRACKED:
            return None
        raise
    port = int.from_bytes(answer[2:4], "big")
    return unpack_address(answer[4:8] if family == socket.AF_INET else answer[8:24]), port


def _destination(text: str, port: int) -> Destination | None:
    address = parse_address(text.partition("%")[0])
    return None if address is None else (address, port)
