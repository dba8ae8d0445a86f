"""Both sides of a TLS handshake in memory."""

import ssl
from contextlib import suppress


def shake_hands(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str, session: ssl.SSLSession | None
) -> ssl.SSLObject:
    """The client's side. The server has said goodbye: OpenSSL forgets a session that ends without."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    for side in (ours, theirs) * 6:
        if side not in done:
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
    assert done == {ours, theirs}
    with suppress(ssl.SSLWantReadError):
        theirs.unwrap()
    return ours
