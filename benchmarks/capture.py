"""Redirects what the load generator dials to the gateway's transparent listener, in the benchmark's own network."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import layout
from benchmarks.isolation import Unusable

_TABLE = """
table ip captured {{
    chain output {{
        type nat hook output priority -100; policy accept;
        ip saddr {clients} tcp dport {first}-{last} redirect to :{port}
    }}
}}
"""


@contextmanager
def captured(ports: tuple[int, int]) -> Iterator[None]:
    """While the block runs, what clients dial on these ports goes to the listener; what the gateway dials does not."""
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if nft is None:
        raise Unusable("nft is missing: apt-get install --no-install-recommends nftables")
    table = _TABLE.format(clients=layout.CLIENTS, first=ports[0], last=ports[1], port=layout.CAPTURED_PORT)
    subprocess.run([nft, "-f", "-"], input=table, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run([nft, "delete", "table", "ip", "captured"], check=True)
