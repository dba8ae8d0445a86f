"""The second reading of every head: a library that many servers and clients use must read it as we do.

Our grammar decides what a head says; a witness confirms that others read the same. What only one of the two accepts, or
what they read differently, is refused: that is where requests are smuggled.
"""

from typing import Protocol

from gateway.wire.http.messages import Request, Response


class Witness(Protocol):
    """Reads one whole head, from its first line to its empty line."""

    def confirms_request(self, head: bytes, request: Request) -> bool:
        """Whether the library reads `head` as `request`, and agrees whether content follows it."""

    def confirms_response(self, head: bytes, response: Response) -> bool:
        """Whether the library reads `head` as `response`. Its content depends on the request and is not asked for."""
