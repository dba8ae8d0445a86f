"""What passes between the gateway and an inspector's process: a head in JSON, and content as it is. Of what comes back
the gateway trusts nothing but what `parse_reply` lets through."""

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from gateway.intercept.hosted.kinds import BadInspector
from gateway.intercept.inspecting.sessions import LONGEST_DENIAL, LONGEST_KEY, LONGEST_VALUE, MAX_NOTES, Failed
from gateway.intercept.inspectors import Answer, RequestHead, ResponseHead

_SIZES = struct.Struct("!II")
MAX_REPLY = 64 * 1024
OPEN, DROP, CLOSE, READY, REFUSED = "open", "drop", "close", "ready", "refused"


class Broken(Exception):
    """Malformed frame."""


class Question(NamedTuple):
    """`session` is the gateway's number for an exchange; `method` one of the inspector's, `close`, or `drop`: nobody
    waits for the answers any more, but it is not closed yet."""

    session: int
    method: str
    shown: RequestHead | ResponseHead | bytes | None

    def encode(self) -> bytes:
        """For the gateway."""
        if isinstance(self.shown, bytes):
            return encode_frame([self.session, self.method, None], self.shown)
        head = None if self.shown is None else tuple(self.shown)
        return encode_frame([self.session, self.method, head])

    @staticmethod
    def decode(head: bytes, content: bytes) -> "Question":
        """For the inspector's process, which trusts the gateway."""
        session, method, shown = orjson.loads(head)
        if method.endswith("_chunk"):
            return Question(session, method, content)
        if shown is None:
            return Question(session, method, None)
        *rest, fields = shown
        kind: Callable[..., RequestHead | ResponseHead] = RequestHead if method == "request_head" else ResponseHead
        return Question(session, method, kind(*rest, tuple((name, value) for name, value in fields)))


def encode_frame(head: Any, content: bytes = b"") -> bytes:
    """`head` is anything that JSON has."""
    text = orjson.dumps(head)
    return _SIZES.pack(len(text), len(content)) + text + content


def encode_answer(answer: Answer) -> bytes:
    """For the inspector's process. Texts are cut, so that a denial of any length counts. Raises TypeError or
    ValueError for what is no answer."""
    if not isinstance(answer, Answer):
        raise TypeError("no Answer")
    denial = None if answer.denial is None else _cut(answer.denial, LONGEST_DENIAL)
    notes = [(_cut(key, LONGEST_KEY), _cut(value, LONGEST_VALUE)) for key, value in answer.notes[:MAX_NOTES]]
    return encode_frame([denial, notes, int(answer.hold), bool(answer.done)])


def _cut(text: object, longest: int) -> str:
    """At most `longest` characters. Text that inspectors take from content cannot always be encoded."""
    return str(text)[:longest].encode("utf-8", "replace").decode("utf-8")


def parse_reply(head: bytes) -> Answer | Failed:
    """An answer, or why there is none. Raises `Broken`."""
    try:
        said = orjson.loads(head)
        if isinstance(said, str):
            return Failed(said[:200])
        denial, notes, hold, done = said
        return Answer(
            denial=None if denial is None else str(denial)[:LONGEST_DENIAL],
            notes=tuple([(str(key), str(value)) for key, value in notes]),
            hold=max(0, int(hold)),
            done=bool(done),
        )
    except (ValueError, TypeError) as error:
        raise Broken from error


class Frames:
    """Cuts a stream of bytes into frames of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Head and content of those that are complete. Raises `Broken`."""
        held = self._held
        held += data
        while len(held) >= _SIZES.size:
            head, content = _SIZES.unpack_from(held)
            whole = _SIZES.size + head + content
            if whole > self._limit:
                raise Broken("a frame that is too long")
            if len(held) < whole:
                return
            cut = _SIZES.size + head
            frame = bytes(held[_SIZES.size : cut]), bytes(held[cut:whole])
            del held[:whole]
            yield frame


def beginning(kind: str, options: Mapping[str, Any], timeout: float) -> bytes:
    """The first frame that the inspector's process gets."""
    return encode_frame([OPEN, kind, options, timeout])


def parse_beginning(head: bytes) -> frozenset[str]:
    """The methods that the inspectors implement. Raises `BadInspector` if no inspector could be made."""
    try:
        said, what = orjson.loads(head)
        methods = frozenset(map(str, what)) if said == READY else frozenset()
    except (ValueError, TypeError) as error:
        raise BadInspector("its process sent an invalid first message") from error
    if said != READY:
        raise BadInspector(str(what)[:1000])
    return methods
