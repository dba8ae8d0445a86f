"""Masks secrets in bytes that come in pieces, cut anywhere. As many bytes go out as came in, so that a length that was
announced stays true.

Secrets may overlap or begin alike: every byte of each is masked, wherever the pieces end.
"""

from collections.abc import Iterable, Iterator, Sequence

MASK = b"*"


class Scrubber:
    """Holds back what may be the beginning of a secret: at most one byte less than the longest one has."""

    __slots__ = ("_held", "_masked", "_secrets")

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = sorted(set(secrets))
        self._held = b""
        self._masked = 0
        """How many bytes at the beginning of what is held belong to a secret that began earlier."""

    def feed(self, data: bytes) -> bytes:
        """What may go on by now; empty if nothing."""
        data = self._held + data
        kept = max((_overlap(data, secret) for secret in self._secrets), default=0)
        cut = len(data) - kept
        found = self._found(data)
        ready = _masked(data, found)[:cut]
        self._held = data[cut:]
        self._masked = max((end - cut for start, end in found if start <= cut < end), default=0)
        return ready

    def finish(self) -> bytes:
        """What was held back, now that nothing follows that could make it a secret."""
        ready = _masked(self._held, self._found(self._held))
        self._held, self._masked = b"", 0
        return ready

    def mask(self, data: bytes) -> bytes:
        """Mask the secrets in `data`, which is complete."""
        return _masked(data, list(_places(data, self._secrets)))

    def _found(self, data: bytes) -> list[tuple[int, int]]:
        """Where secrets begin and end in what is held and what follows it."""
        known = [(0, self._masked)] if self._masked else []
        return known + list(_places(data, self._secrets))


def _places(data: bytes, secrets: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Where each of them begins and ends."""
    for secret in secrets:
        start = data.find(secret)
        while start >= 0:
            yield start, start + len(secret)
            start = data.find(secret, start + 1)


def _masked(data: bytes, places: Sequence[tuple[int, int]]) -> bytes:
    if not places:
        return data
    masked, done = bytearray(data), 0
    for start, end in sorted(places):  # each byte once, however many overlap
        if end > done:
            begin = max(start, done)
            masked[begin:end] = MASK * (end - begin)
            done = end
    return bytes(masked)


def _overlap(data: bytes, secret: bytes) -> int:
    """The length of the longest end of `data` that is a beginning of `secret`, but not all of it."""
    start = max(0, len(data) - len(secret) + 1)
    while (start := data.find(secret[:1], start)) >= 0:
        if secret.startswith(data[start:]):
            return len(data) - start
        start += 1
    return 0
