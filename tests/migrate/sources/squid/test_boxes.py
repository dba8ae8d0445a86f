"""Differences of boxes, compared point by point."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from gateway.migrate.patterns import is_covered
from gateway.migrate.sets import Spans, addresses, ports, spans
from gateway.migrate.sources.squid.boxes import REQUEST, TUNNEL, Box, Names, Users
from gateway.policy.rules import HostPattern, Reach
from tests.migrate.judging import LOOK
from tests.policy.builders import address, networks, patterns

SOURCES = st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0 ::/0"]).map(lambda text: addresses(networks(text)))
NAMES = st.builds(
    Names,
    st.sampled_from(["*", "*.a.test", "x.a.test b.test"]).map(patterns),
    st.sampled_from(["", "x.a.test"]).map(patterns),
)
USERS = st.builds(Users, st.sets(st.sampled_from(["", "u", "v"])).map(frozenset), st.booleans())
PORTS = st.sampled_from([ports(443), ports(80, 443), spans([(1, 65535)]), Spans()])
METHODS = st.sampled_from([frozenset({TUNNEL}), frozenset({REQUEST}), frozenset({TUNNEL, REQUEST})])
BOXES = st.builds(Box, SOURCES, USERS, NAMES, SOURCES, PORTS, METHODS)
POINTS = list(
    product(
        ["10.1.0.1", "8.8.8.8"], ["", "u", "w"], ["x.a.test", "y.a.test", "b.test"], ["10.1.0.1", "9.9.9.9"], [443, 80],
        [TUNNEL, REQUEST],
    )
)  # fmt: skip


def holds(box: Box, point: tuple[str, str, str, str, int, str]) -> bool:
    source, user, name, leads, port, method = point
    host = HostPattern(name, Reach.EXACT)
    return (
        port in box.ports
        and method in box.methods
        and (user in box.users.names) is not box.users.all_but
        and is_covered(host, frozenset(box.names.patterns))
        and not is_covered(host, frozenset(box.names.but))
        and address(source) in box.sources
        and address(leads) in box.leads
    )


@given(BOXES, BOXES)
@LOOK
def test_boxes_are_sets_of_requests(one: Box, other: Box) -> None:
    both, left = one & other, list(one.without(other))
    for point in POINTS:
        assert holds(both, point) == (holds(one, point) and holds(other, point))
        assert [holds(part, point) for part in left].count(True) == (holds(one, point) and not holds(other, point))
    assert one.covers(both)
