"""Runs one case against a proxy and says everything that went otherwise than it should."""

import socket

from tests.abuse.http.case import Case, head
from tests.helpers.http_client import NotAResponse, Response, ResponseReader
from tests.helpers.recording_origin import RecordingOrigin, faults_of

LAST, ORDINARY = ("GET /last", b""), ("GET /ordinary", b"")
SETTLES = 2.0
"""Seconds in which a request that will never be whole is cut off at the origin."""

_LAST_IN_TUNNEL = b"GET /last HTTP/1.1\r\nHost: allowed.test:<port>\r\nConnection: close\r\n\r\n"
_ALLOWED = (b"allowed.test", b"other.test", b"users.test")


def judge(
    case: Case, proxy: tuple[str, int], origin: RecordingOrigin, seconds: float = 10.0, source: str | None = None
) -> tuple[str, ...]:
    """The complaints, none if all is as it should be. `seconds` is how long the proxy may take for anything at all;
    `source` the address that the case is played from."""
    begun, left = len(origin.requests), len(origin.leftovers)
    origin.will_answer(case.answers)
    complaints: list[str] = []
    with socket.create_connection(proxy, timeout=seconds, source_address=(source, 0) if source else None) as client:
        try:
            told = _converse(case, client, origin.port)
            complaints += _of_answers(case, told)
        except (NotAResponse, OSError, ValueError) as error:
            complaints.append(repr(error))
    origin.will_answer(())
    if not _ordinary(proxy, origin, seconds):
        complaints.append("an ordinary request does not pass afterwards")
    if not origin.is_settled(min(seconds, SETTLES)):
        complaints.append("the origin still waits for the rest of a request")
    complaints += _of_requests(case, origin, begun)
    complaints += _of_leftovers(case, origin, left)
    return tuple(complaints)


def _ordinary(proxy: tuple[str, int], origin: RecordingOrigin, seconds: float) -> bool:
    """After every case, one that any client sends gets its answer."""
    with socket.create_connection(proxy, timeout=seconds) as client:
        client.sendall(_filled(head("GET /ordinary", "Connection: close"), origin.port))
        try:
            answer = ResponseReader(client).read()
        except (NotAResponse, OSError):
            return False
    return answer is not None and (answer.status, answer.content) == (200, b"ok\n")


def _filled(sent: bytes, port: int) -> bytes:
    return sent.replace(b"<port>", str(port).encode())


def _converse(case: Case, client: socket.socket, port: int) -> list[Response]:
    reader = ResponseReader(client)
    told: list[Response] = []
    for number, segment in enumerate(case.sent):
        if number:
            _read_one(reader, case, told)
        _send(client, _filled(segment, port))
    while len(told) < len(case.told) and _read_one(reader, case, told):
        pass
    if case.goes_on:
        last = _LAST_IN_TUNNEL if _is_tunnel(case) else head("GET /last", "Connection: close")
        _send(client, _filled(last, port))
    while _read_one(reader, case, told):
        pass
    return told


def _send(client: socket.socket, data: bytes) -> None:
    """What the proxy refuses in the middle it need not read to the end."""
    try:
        client.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return


def _read_one(reader: ResponseReader, case: Case, told: list[Response]) -> bool:
    answer = reader.read(bodiless=(_is_tunnel(case) and not told) or (case.bodiless and len(told) < len(case.told)))
    if answer is not None:
        told.append(answer)
    return answer is not None


def _is_tunnel(case: Case) -> bool:
    return case.sent[0].startswith(b"CONNECT ") and case.told[0] == 200


def _of_answers(case: Case, told: list[Response]) -> list[str]:
    expected = [*case.told, *([200] if case.goes_on else [])]
    statuses = [answer.status for answer in told]
    found = [] if statuses == expected else [f"told {statuses}, not {expected}"]
    found += [f"evil: {answer.content[:60]!r}" for answer in told if b"evil" in answer.content]
    if told and told[-1].is_whole != case.is_whole:
        found.append("an answer that is whole" if told[-1].is_whole else "an answer that is cut off")
    if told and told[-1].is_whole and b"close" not in told[-1].values(b"connection"):
        found.append("an end that was not announced")
    return found + [
        f"forged: {answer.head!r}"
        for answer in told
        if b"forged" in answer.head or b"secret" in answer.content or answer.values(b"keep-alive")
    ]


def _of_requests(case: Case, origin: RecordingOrigin, begun: int) -> list[str]:
    arrived = origin.requests[begun:]
    ours = [(line, _filled(content, origin.port)) for line, content in case.reached]
    expected = [*ours, *([LAST] if case.goes_on else []), ORDINARY]
    reached = [(request.line, request.content) for request in arrived]
    found = [] if reached == expected else [f"reached {reached}, not {expected}"]
    for request in arrived:
        found += faults_of(request, case.upgrades)
        hosts = [host.rpartition(b":")[0] for host in request.values(b"host")]
        found += [f"Host {host!r}" for host in hosts if host not in _ALLOWED]
    return found


def _of_leftovers(case: Case, origin: RecordingOrigin, left: int) -> list[str]:
    leftovers = origin.leftovers[left:]
    if not case.cut:
        return [f"left over: {rest[:80]!r}" for rest in leftovers]
    return [f"left over: {rest[:80]!r}" for rest in leftovers if not rest.startswith(b"POST /post HTTP/1.1\r\n")]
