"""Where a connection was going, as far as loopback can tell; real redirection is in tests/lab."""

import socket
import subprocess
import sys

import pytest

from gateway.model.addresses import parse_address
from gateway.net.addresses.original_destination import IP_TRANSPARENT, accept_any_destination, original_destination
from tests.helpers.requirements import require, require_root


@pytest.mark.parametrize(
    ("bind", "host"), [("127.0.0.1", "127.0.0.1"), ("::", "127.0.0.1"), ("::", "::1")], ids=["IPv4", "mapped", "IPv6"]
)
def test_nobody_captured_it_so_it_was_going_where_it_arrived(bind: str, host: str) -> None:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.create_server((bind, 0), family=family, dualstack_ipv6=bind == "::") as server:
        port = server.getsockname()[1]
        with socket.create_connection((host, port)):
            accepted, _ = server.accept()
            with accepted:
                assert original_destination(accepted) == (parse_address(host), port)


def test_a_connection_that_is_gone_was_going_nowhere() -> None:
    sock = socket.socket()
    sock.close()
    assert original_destination(sock) is None


@pytest.mark.privileged
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_socket_accepts_connections_for_other_addresses(family: socket.AddressFamily) -> None:
    require_root()
    with socket.socket(family) as sock:
        assert accept_any_destination(sock)
        assert sock.getsockopt(socket.SOL_IP, IP_TRANSPARENT) == 1


@pytest.mark.privileged
def test_without_the_privilege_it_is_told_and_no_error() -> None:
    require_root()
    code = (
        "import socket\n"
        "from gateway.net.addresses.original_destination import accept_any_destination\n"
        "print(accept_any_destination(socket.socket()))"
    )
    drop = [require("capsh"), "--drop=cap_net_admin,cap_net_raw", "--", "-c", 'exec "$0" "$@"']
    done = subprocess.run([*drop, sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "False\n", done.stderr
