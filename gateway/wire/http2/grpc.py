"""Errors for gRPC clients: a gRPC status in a response that is nothing but trailers (gRPC over HTTP/2, "Responses").
From any other answer gRPC's libraries only guess one by the HTTP status."""

import re
from collections.abc import Sequence

from gateway.wire.http.messages import Request
from gateway.wire.replies import AnswerValues, grpc_status

_TYPE = re.compile(r"application/grpc(?:[+;].*)?", re.IGNORECASE)
_ESCAPED = re.compile(rb"[^ -$&-~]")
_ABOUT_CONTENT = frozenset({"content-type", "content-length", "x-content-type-options"})


def is_grpc(request: Request) -> bool:
    """Whether it comes from a gRPC client."""
    types = request.values("content-type")
    return bool(types) and _TYPE.fullmatch(types[0]) is not None


def grpc_answer(answer: AnswerValues) -> Sequence[tuple[str, str]]:
    """The fields of the one head. When to retry is sent as `grpc-retry-pushback-ms` as well (gRFC A6)."""
    kept = [(name.lower(), value) for name, value in answer.fields if name.lower() not in _ABOUT_CONTENT]
    fields = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", str(grpc_status(answer.status))),
        ("grpc-message", _escaped(answer.content.decode("utf-8").strip())),
        *kept,
    ]
    seconds = next((value for name, value in kept if name == "retry-after"), "")
    if seconds.isdigit():
        fields.append(("grpc-retry-pushback-ms", str(int(seconds) * 1000)))
    return fields


def _escaped(message: str) -> str:
    """Percent-encoded as gRPC has it: what is printable stays, except `%` itself."""
    return _ESCAPED.sub(lambda match: b"%%%02X" % match[0][0], message.encode("utf-8")).decode("ascii")
