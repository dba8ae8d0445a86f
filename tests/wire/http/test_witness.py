"""The second reading: it confirms what is so, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.reasons import Reason
from gateway.wire.http.content import Bounds
from gateway.wire.http.framing import AUTHORITY_FORM, METHODS, TARGET_FORMS
from gateway.wire.http.messages import CHUNKED, NO_CONTENT, Delimiter, Framing, MalformedMessage, Request, Response
from gateway.wire.http.readers import WitnessedRequestReader, WitnessedResponseReader
from gateway.wire.http.witness import Witness
from gateway.wire.http.witness_h11 import H11Witness
from gateway.wire.http.witness_llhttp import LlhttpWitness
from tests.wire.http.making import FUZZ

WITNESSES: list[Witness] = [LlhttpWitness(), H11Witness()]
HEAD = b"POST /x HTTP/1.1\r\nHost: a.test\r\nX:  y \r\nContent-Length: 5\r\n\r\n"
REQUEST = Request(
    "POST", "/x", 1, (("Host", "a.test"), ("X", "y"), ("Content-Length", "5")), Framing(Delimiter.LENGTH, 5)
)
ANSWER = b"HTTP/1.1 200 OK\r\nX:  y \r\n\r\n"
RESPONSE = Response(200, "OK", 1, (("X", "y"),), NO_CONTENT)


@pytest.fixture(params=WITNESSES, ids=["llhttp", "h11"])
def witness(request: pytest.FixtureRequest) -> Witness:
    witness: Witness = request.param
    return witness


def test_the_same_is_confirmed(witness: Witness) -> None:
    assert witness.confirms_request(HEAD, REQUEST)
    assert witness.confirms_response(ANSWER, RESPONSE)


@pytest.mark.parametrize(
    "other",
    [
        REQUEST._replace(method="PUT"),
        REQUEST._replace(target="/"),
        REQUEST._replace(minor=0),
        REQUEST._replace(fields=REQUEST.fields[:-1]),
        REQUEST._replace(fields=(*REQUEST.fields, ("Y", ""))),
        REQUEST._replace(fields=(("Host", "b.test"), *REQUEST.fields[1:])),
        REQUEST._replace(framing=NO_CONTENT),
        REQUEST._replace(framing=Framing(Delimiter.LENGTH, 0)),
    ],
)
def test_another_request_is_not(witness: Witness, other: Request) -> None:
    assert not witness.confirms_request(HEAD, other)


@pytest.mark.parametrize(
    "other",
    [
        RESPONSE._replace(status=201),
        RESPONSE._replace(phrase="KO"),
        RESPONSE._replace(minor=0),
        RESPONSE._replace(fields=()),
        RESPONSE._replace(fields=(("X", "z"),)),
    ],
)
def test_another_response_is_not(witness: Witness, other: Response) -> None:
    assert not witness.confirms_response(ANSWER, other)


def test_what_its_library_refuses_is_not_confirmed(witness: Witness) -> None:
    both = HEAD[:-2] + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n"
    fields = (*REQUEST.fields, ("Transfer-Encoding", "chunked"), ("Content-Length", "6"))
    assert not witness.confirms_request(both, REQUEST._replace(fields=fields, framing=CHUNKED))
    assert not witness.confirms_request(HEAD[:-2], REQUEST)
    assert not witness.confirms_response(
        b"HTTP/1.1 200 OK\r\nX\0: y\r\n\r\n", Response(200, "OK", 1, (("X\0", "y"),), NO_CONTENT)
    )


class Denier:
    """Reads everything differently."""

    def confirms_request(self, head: bytes, request: Request) -> bool:
        return False

    def confirms_response(self, head: bytes, response: Response) -> bool:
        return False


def test_what_is_not_confirmed_is_refused() -> None:
    with pytest.raises(MalformedMessage) as caught:
        WitnessedRequestReader(Denier(), Bounds()).receive(HEAD)
    assert (caught.value.reason, caught.value.events) == (Reason.MALFORMED_REQUEST, [])
    reader = WitnessedResponseReader(Denier(), Bounds())
    reader.expect("GET")
    with pytest.raises(MalformedMessage) as caught:
        reader.receive(ANSWER)
    assert (caught.value.reason, caught.value.events) == (Reason.MALFORMED_RESPONSE, [])


@pytest.mark.parametrize("method", sorted(METHODS - {"CONNECT"}))
def test_every_method_is_read_by_both(witness: Witness, method: str) -> None:
    check_target(witness, method, "/x")


@FUZZ
@given(st.from_regex(TARGET_FORMS, fullmatch=True))
def test_every_form_of_target_is_read_by_both(target: str) -> None:
    for witness in WITNESSES:
        check_target(witness, "GET", target)


@FUZZ
@given(st.from_regex(AUTHORITY_FORM, fullmatch=True))
def test_every_authority_is_read_by_both(target: str) -> None:
    for witness in WITNESSES:
        check_target(witness, "CONNECT", target)


def test_the_check_of_targets_catches_a_form_that_llhttp_does_not_read() -> None:
    with pytest.raises(AssertionError):
        check_target(LlhttpWitness(), "GET", "http://a.test#fragment")


def check_target(witness: Witness, method: str, target: str) -> None:
    head = f"{method} {target} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()
    assert witness.confirms_request(head, Request(method, target, 1, (("Host", "a.test"),), NO_CONTENT))
