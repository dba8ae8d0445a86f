"""The name server dies under load and comes back: what is remembered goes on, what is new is told at once. Slow and
lying servers: the family dns of tests/abuse; encrypted ones: tests/flows/test_names.py."""

import time
from contextlib import ExitStack
from pathlib import Path

from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, echo
from tests.helpers.ports import held_port, port_of
from tests.helpers.raw_client import RawClient, status_of

NEW = 10


def test_a_dead_name_server_costs_new_names_only_and_they_are_back_when_it_is(tmp_path: Path) -> None:
    with ExitStack() as stack:
        origin = stack.enter_context(Origin(echo))
        policy = {"rules": [{"name": "all", "hosts": ["*.test"], "ports": [origin.port], "protocol": "tcp"}]}
        alive, port = ExitStack(), port_of(stack.enter_context(held_port()))
        dns = alive.enter_context(DnsServer(port=port))
        dns.answer("known.test", "127.0.0.1", ttl=300)
        resolver = {"servers": [f"127.0.0.1:{dns.port}"], "timeout": "500ms", "cache": {"max_ttl": "5m"}}
        settings = {"resolver": resolver, "timeouts": {"dns": "2s"}}
        gateway = stack.enter_context(GatewayProcess(tmp_path, policy, settings))
        assert _asked(gateway, origin, "known.test") == 200
        alive.close()
        _while_it_is_dead(gateway, origin)
        again = stack.enter_context(DnsServer(port=port))
        again.answer("new.test", "127.0.0.1")
        deadline = time.monotonic() + 20.0
        while _asked(gateway, origin, "new.test") != 200:
            assert time.monotonic() < deadline, "never back"
            time.sleep(0.1)


def _while_it_is_dead(gateway: GatewayProcess, origin: Origin) -> None:
    for number in range(NEW):
        began = time.monotonic()
        assert _asked(gateway, origin, f"n{number}.test") in (502, 503, 504)
        assert time.monotonic() - began < 10.0
        assert _asked(gateway, origin, "known.test") == 200
    reasons = {record["reason"] for record in gateway.wait_for_records(NEW, decision="allow") if "reason" in record}
    assert reasons <= {"dns_failure", "dns_timeout"}


def _asked(gateway: GatewayProcess, origin: Origin, name: str) -> int:
    with RawClient(gateway.port) as client:
        return status_of(client.connect(f"{name}:{origin.port}"))
