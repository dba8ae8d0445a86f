"""Masks secrets in bytes that come in pieces, cut wherever they happen to be cut. As many bytes go out as came in, so
that a length that was announced stays true."""

from collections.abc import Iterable

MASK = b"*"


class Scrubber:
    """Holds back at most one byte less than the longest secret has: what may be the beginning of one."""

    __slots__ = ("_held", "_secrets")

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = sorted(set(secrets), key=len, reverse=True)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What may go on by now; empty if nothing."""
        data = self.mask(self._held + data)
        kept = max((_overlap(data, secret) for secret in self._secrets), default=0)
        self._held = data[len(data) - kept :]
        return data[: len(data) - kept]

    def finish(self) -> bytes:
        """What was held back: nothing follows that would make it a secret."""
        held, self._held = self._held, b""
        return held

    def mask(self, data: bytes) -> bytes:
        """All that is whole in `data`."""
        for secret in self._secrets:
            if secret in data:
                data = data.replace(secret, MASK * len(secret))
        return data


def _overlap(data: bytes, secret: bytes) -> int:
    """The length of the longest end of `data` with which `secret` begins, less than all of it."""
    start = max(0, len(data) - len(secret) + 1)
    while (start := data.find(secret[:1], start)) >= 0:
        if secret.startswith(data[start:]):
            return len(data) - start
        start += 1
    return 0
