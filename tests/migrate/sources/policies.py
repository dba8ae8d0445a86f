"""Policies of pods, made at random, and what is asked of them: for tests of more than one kind."""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from gateway.model.client import Client
from tests.policy.builders import client

NAMES = ("example.test", "a.example.test", "b.a.example.test", "other.test", "x.other.test", "notexample.test")
ADDRESSES = ("93.184.216.34", "93.184.217.1", "8.8.8.8")
PORTS = (443, 8443, 5432)


@dataclass(frozen=True)
class Block:
    """A network and what is taken out of it."""

    cidr: str
    but: tuple[str, ...]

    def __contains__(self, text: str) -> bool:
        address = ip_address(text)
        return address in ip_network(self.cidr) and not any(address in ip_network(each) for each in self.but)


BLOCKS: st.SearchStrategy[Block] = st.builds(
    Block,
    st.sampled_from(["93.184.216.0/24", "93.184.216.0/23", "8.0.0.0/8", "0.0.0.0/0"]),
    st.sampled_from([(), ("93.184.216.32/28",), ("8.8.8.0/24",)]),
).filter(lambda block: all(ip_network(each).subnet_of(ip_network(block.cidr)) for each in block.but))  # type: ignore[arg-type]  # all are IPv4

SPANS = st.sampled_from([(443, 443), (5000, 9000), (8443, 8443), (1, 65535)])


def pod(namespace: str, **labels: str) -> Client:
    """Of a namespace, with labels."""
    return client(namespace=namespace, labels=labels)
