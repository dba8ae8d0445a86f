"""Run inside a network namespace of its own: a machine with loopback, two local ports and no route to anywhere.

Prints the records as JSON. `python -m tests.flows.narrow_network FOLDER`
"""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, echo
from tests.helpers.raw_client import RawClient, status_of

NOWHERE = "203.0.113.9"


def main(folder: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with ExitStack() as stack:
        origin = stack.enter_context(Origin(echo))
        ports = [origin.port]
        policy = {"rules": [{"name": "ip", "cidrs": ["127.0.0.1/32", NOWHERE], "ports": ports, "protocol": "tcp"}]}
        settings = {"addresses": {"allow": ["127.0.0.0/8", NOWHERE]}}
        gateway = stack.enter_context(GatewayProcess(folder, policy, settings))
        # Clients come from another address and name their ports, so that only the gateway's own dials use them up.
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40001")
        statuses = []
        for number, host in enumerate([NOWHERE, "127.0.0.1", "127.0.0.1", "127.0.0.1"]):
            client = stack.enter_context(RawClient(gateway.port, source="127.0.0.2", source_port=50_000 + number))
            statuses.append(status_of(client.connect(f"{host}:{origin.port}")))
        records = gateway.wait_for_records(2, status=502)
        print(json.dumps({"statuses": statuses, "visits": len(origin.visits), "records": records}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
