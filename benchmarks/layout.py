"""Names, addresses and ports of a run. They are fixed, because a run has its own network."""

from pathlib import Path

HERE = Path(__file__).parent
HELLOS = (HERE / "hellos" / "curl-517.bin", HERE / "hellos" / "chromium-1825.bin")

TARGET = "origin.test"
DENIED = "denied.test"
ORIGIN = "127.0.0.1"
PROXY_PORT = 3128
CAPTURED_PORT = 3129
ADMIN_PORT = 9128
COLLECTOR_PORT = 4318
# Several ports, to spread the proxy's own TIME_WAIT sockets towards the origin. All are below the ephemeral range.
TLS_PORTS = (20001, 20008)
ECHO_PORTS = (20011, 20018)
BULK_PORTS = (20021, 20028)
HTTP_PORTS = (20031, 20038)
DENIED_PORTS = (443, 443)  # nobody listens there, so that a proxy that dials them fails
TCP_PORTS = (ECHO_PORTS[0], BULK_PORTS[1])

CLIENTS = "127.1.0.0/16"
GROUPS = 10
HOSTS_PER_GROUP = 4
RULES = 1000


def group_network(group: int) -> str:
    """The clients of one group, as the load generator chooses their addresses."""
    return f"127.1.{group}.0/24"


def hosts_file() -> str:
    """`/etc/hosts` of the run. Clients have names as well, because squid looks them up and would pay for a failure."""
    clients = (
        f"127.1.{group}.{host} client-{group}-{host}.test\n"
        for group in range(GROUPS)
        for host in range(1, HOSTS_PER_GROUP + 1)
    )
    return f"127.0.0.1 localhost\n{ORIGIN} {TARGET}\n" + "".join(clients)
