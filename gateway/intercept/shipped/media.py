"""Allows content of certain media types, up to a size."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.intercept.inspectors import ALLOW, DONE, Answer, Inspector, RequestHead, ResponseHead, deny
from gateway.policy.requests.types import media_types


@dataclass(frozen=True, slots=True)
class Bar:
    """What may pass in one direction. Types are `type/subtype` or `type/*`, in lower case; `only` None: all but the
    `never` ones. `size` is in bytes, None for any."""

    only: frozenset[str] | None = None
    never: frozenset[str] = frozenset()
    size: int | None = None

    @property
    def looks_at_types(self) -> bool:
        """Whether the type of content makes a difference."""
        return self.only is not None or bool(self.never)

    def objection_to(self, media_type: str) -> str | None:
        """Why content of this type may not pass."""
        names = {media_type, media_type.partition("/")[0] + "/*"}
        if not names.isdisjoint(self.never) or (self.only is not None and names.isdisjoint(self.only)):
            return f"media type {media_type[:64] or 'not told'}"
        return None


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """What it lets pass in each direction."""

    request: Bar = Bar()
    response: Bar = Bar()

    def make(self) -> "Media":
        """An inspector for one exchange."""
        return Media(self)


class Media(Inspector):
    """Judges heads by what they declare, and content by its size, as it was sent and as it is decoded."""

    __slots__ = ("_request", "_response")

    def __init__(self, options: MediaOptions) -> None:
        self._request = _Direction(options.request)
        self._response = _Direction(options.response)

    def request_head(self, head: RequestHead) -> Answer:
        """See `Inspector`."""
        return self._request.head(head)

    def request_chunk(self, data: bytes) -> Answer:
        """See `Inspector`."""
        return self._request.chunk(data)

    def response_head(self, head: ResponseHead) -> Answer:
        """See `Inspector`."""
        return self._response.head(head)

    def response_chunk(self, data: bytes) -> Answer:
        """See `Inspector`."""
        return self._response.chunk(data)


class _Direction:
    """Content without a declared type is not of an allowed type, which matters only if there is any content."""

    __slots__ = ("_bar", "_is_untyped", "_size")

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._is_untyped = False
        self._size = 0

    def head(self, head: RequestHead | ResponseHead) -> Answer:
        bar = self._bar
        types = media_types(head.values("content-type"))
        if bar.looks_at_types:
            self._is_untyped = not types
            for each in types:
                objection = bar.objection_to(each)
                if objection is not None:
                    return deny(objection)
        length = _length(head.values("content-length"))
        if bar.size is not None and length is not None and length > bar.size:
            return deny(f"more than {bar.size} bytes")
        counts = bar.size is not None and (length is None or bool(head.values("content-encoding")))
        return ALLOW if counts or self._is_untyped else DONE

    def chunk(self, data: bytes) -> Answer:
        bar = self._bar
        if self._is_untyped and (objection := bar.objection_to("")) is not None:
            return deny(objection)
        self._size += len(data)
        if bar.size is not None and self._size > bar.size:
            return deny(f"more than {bar.size} bytes")
        return ALLOW


def _length(values: Sequence[str]) -> int | None:
    return int(values[0]) if values and values[0].isascii() and values[0].isdigit() else None
