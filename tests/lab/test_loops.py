"""Two gateways, each of which sends what it dials through the other."""

import socket
from pathlib import Path

import pytest

from tests.helpers.gateway import GatewayProcess
from tests.lab.bed import routes
from tests.lab.network import GATEWAY, HOME, network

pytestmark = pytest.mark.privileged

FAR = "198.51.100.9"
BOUND = 20
POLICY = {"rules": [{"name": "far", "cidrs": [FAR], "ports": [443], "protocol": "tcp"}]}
SETTINGS = {
    "listeners": [{"name": "proxy", "bind": "[::]:15001", "mode": "transparent"}],
    "bounds": {"tunnels_per_client": BOUND},
    "addresses": {"allow": [FAR]},
}


def test_a_loop_ends_where_one_gateway_has_too_many_connections_of_the_other(tmp_path: Path) -> None:
    """As docs/routing.md says: nobody but the operator can prevent it, and it leaves nothing open."""
    folders = tmp_path / "one", tmp_path / "other"
    for folder in folders:
        folder.mkdir()
    with (
        network() as laid,
        GatewayProcess(folders[0], POLICY, SETTINGS, prefix=laid.gateway.prefix) as one,
        GatewayProcess(folders[1], POLICY, SETTINGS, prefix=laid.world.prefix) as other,
    ):
        for machine, towards, interfaces in (
            (laid.gateway, HOME[0], ("in1", "out")),
            (laid.world, GATEWAY[0], ("wire",)),
        ):
            machine.run("ip", "route", "add", "default", "via", towards)
            named = [word for interface in interfaces for word in ("-i", interface)]
            assert routes(machine, "apply", "redirect", "--port", "15001", *named).returncode == 0
        with laid.pod1.entered():
            client = socket.create_connection((FAR, 443), 60)
        client.sendall(b"anybody there?")
        with client, pytest.raises(ConnectionResetError):
            client.recv(1)
        of_one, of_other = (each.wait_for_records(BOUND + 1) for each in (one, other))
    assert {record["reason"] for record in of_one} <= {"upstream_reset", "connection_refused"}
    assert [record["reason"] for record in of_other].count("too_many_tunnels_of_client") == 1
    assert (len(of_one), len(of_other)) == (BOUND + 1, BOUND + 1)
    assert {record["client_address"] for record in of_other} == {GATEWAY[0]}
