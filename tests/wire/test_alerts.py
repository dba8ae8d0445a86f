"""Alerts, as a real TLS client understands them."""

import ssl

import pytest

from gateway.wire.alerts import ACCESS_DENIED, DECODE_ERROR


@pytest.mark.parametrize(("alert", "text"), [(ACCESS_DENIED, "access denied"), (DECODE_ERROR, "decode error")])
def test_a_client_in_its_handshake_reads_the_alert(alert: bytes, text: str) -> None:
    incoming = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, ssl.MemoryBIO(), server_hostname="a.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(alert)
    with pytest.raises(ssl.SSLError, match=f"(?i)alert[ _]{text.replace(' ', '[ _]')}"):
        client.do_handshake()
