"""Reading a response to its end."""

from tests.helpers.raw_client import RawClient


def read_response(client: RawClient) -> tuple[bytes, bytes]:
    """Head and content, by its own framing; nothing else of it is checked."""
    head = client.read_head()
    lower = head.lower()
    if b"content-length: " in lower:
        return head, client.read(int(lower.split(b"content-length: ")[1].split(b"\r\n")[0]))
    if b"transfer-encoding: chunked" not in lower:
        return head, b""
    chunks = []
    while size := int(client.read_until(b"\r\n"), 16):
        chunks.append(client.read(size))
        client.read(2)
    client.read_until(b"\r\n")
    return head, b"".join(chunks)
