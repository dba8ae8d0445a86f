"""What is borne of what costs a peer nothing."""

import pytest

from gateway.wire.http2.codes import ConnectionFault, ErrorCode
from gateway.wire.http2.floods import Floods, Kind


@pytest.mark.parametrize("kind", Kind)
def test_a_burst_is_borne_and_one_more_is_not(kind: Kind) -> None:
    floods = Floods()
    for _ in range(int(kind.bucket.burst)):
        floods.count(kind, 100.0)
    with pytest.raises(ConnectionFault) as fault:
        floods.count(kind, 100.0)
    assert fault.value.code is ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("kind", Kind)
def test_time_fills_it_again(kind: Kind) -> None:
    floods = Floods()
    for _ in range(int(kind.bucket.burst)):
        floods.count(kind, 100.0)
    for number in range(50):
        floods.count(kind, 100.0 + (number + 1) * 1.001 / kind.bucket.rate)


def test_what_we_send_ourselves_gives_reason_for_more() -> None:
    floods = Floods()
    for _ in range(int(Kind.PING.bucket.burst)):
        floods.count(Kind.PING, 0.0)
    floods.earn(Kind.PING, 2)
    floods.count(Kind.PING, 0.0)
    floods.count(Kind.PING, 0.0)
    with pytest.raises(ConnectionFault):
        floods.count(Kind.PING, 0.0)
