"""Sockets bound to a source address that the rule names (`source:`).

IP_BIND_ADDRESS_NO_PORT puts off the choice of the port until `connect`, so that each destination has the whole range of
local ports for itself (ip(7)).
"""

import errno
import socket

from gateway.model.addresses import Address
from gateway.model.errors import InternalError
from gateway.model.reasons import Reason
from gateway.net.addresses.original_destination import IP_TRANSPARENT

_IP_BIND_ADDRESS_NO_PORT = 24


def open_from(address: Address, foreign: bool) -> socket.socket:
    """A TCP socket bound to `address` and to no port yet; `foreign` addresses belong to other machines
    (IP_TRANSPARENT). Raises `InternalError` if the address is not available or descriptors ran out."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            if foreign:
                sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
            sock.bind((str(address), 0))
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise _translated(error, address) from error
    return sock


def _translated(error: OSError, address: Address) -> InternalError:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return InternalError(Reason.DESCRIPTORS_EXHAUSTED, f"source {address}: {error.strerror}")
    why = {
        errno.EADDRNOTAVAIL: "this machine does not have the address",
        errno.EPERM: "`source: client` needs CAP_NET_ADMIN or CAP_NET_RAW",
    }.get(error.errno or 0, error.strerror or str(error))
    return InternalError(Reason.SOURCE_UNAVAILABLE, f"source {address}: {why}")
