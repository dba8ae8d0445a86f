"""What a peer says it takes."""

import pytest

from gateway.wire.http2.codes import ENABLE_PUSH, MAX_HEADER_LIST_SIZE, ConnectionFault, ErrorCode
from gateway.wire.http2.settings import PeerSettings, client_settings, server_settings


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        (4, 2**31, ErrorCode.FLOW_CONTROL_ERROR),
        (5, 16383, ErrorCode.PROTOCOL_ERROR),
        (5, 2**24, ErrorCode.PROTOCOL_ERROR),
        (2, 2, ErrorCode.PROTOCOL_ERROR),
        (8, 2, ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_values_out_of_range_end_the_connection(key: int, value: int, code: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as fault:
        PeerSettings().apply(key, value, of_server=False)
    assert fault.value.code is code


def test_a_server_that_would_push_and_one_that_takes_websockets_back_are_refused() -> None:
    settings = PeerSettings()
    settings.apply(8, 1, of_server=True)
    for key, value in ((2, 1), (8, 0)):
        with pytest.raises(ConnectionFault):
            settings.apply(key, value, of_server=True)


def test_what_is_not_known_is_ignored_and_tables_are_kept_small() -> None:
    settings = PeerSettings()
    settings.apply(0x99, 7, of_server=False)
    settings.apply(1, 1_000_000, of_server=False)
    assert settings.table == 4096


def test_either_side_is_told_how_large_a_head_may_be() -> None:
    assert (MAX_HEADER_LIST_SIZE, 2048) in server_settings(extended_connect=False, streams=1, head=2048)
    assert (MAX_HEADER_LIST_SIZE, 2048) in client_settings(head=2048)


def test_no_destination_may_push() -> None:
    assert (ENABLE_PUSH, 0) in client_settings(head=2048)
