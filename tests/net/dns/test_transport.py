"""What comes from a name server is read as far as an answer may be long, whatever it says of its length."""

import struct

import dns.exception
import dns.message
import pytest

from gateway.net.dns.answers import ADDRESSES_PER_NAME, Found, read_response
from gateway.net.dns.transport import LARGEST_MESSAGE, MOST_RECORDS, read_message

QUESTION = b"\1x\4test\0" + struct.pack(">HH", 1, 1)
RECORD = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4)


def message(answers: int, authorities: int = 0, additional: int = 0, questions: int = 1) -> bytes:
    """A response of A records for `x.test`, as many in each section."""
    count = answers + authorities + additional
    records = b"".join(RECORD + struct.pack(">I", 0x01000000 + number) for number in range(count))
    head = struct.pack(">6H", 1, 0x8180, questions, answers, authorities, additional)
    return head + questions * QUESTION + records


def test_an_ordinary_message_is_read_whole() -> None:
    read = read_message(message(3, 2, 1))
    assert [len(section[0]) for section in (read.answer, read.authority, read.additional)] == [3, 2, 1]


@pytest.mark.parametrize(
    ("sections", "read"),
    [
        ((4000, 0, 0), (MOST_RECORDS, 0, 0)),
        ((100, 3900, 0), (100, MOST_RECORDS - 100, 0)),
        ((1, 1, 4000), (1, 1, MOST_RECORDS - 2)),
    ],
)
def test_of_thousands_of_records_the_first_ones_are_read(
    sections: tuple[int, int, int], read: tuple[int, int, int]
) -> None:
    wire = message(*sections)
    assert len(wire) <= LARGEST_MESSAGE
    found = read_message(wire)
    lengths = [sum(map(len, each)) for each in (found.answer, found.authority, found.additional)]
    assert tuple(lengths) == read
    answer = read_response(found)
    assert isinstance(answer, Found)
    assert len(answer.addresses) == min(read[0], ADDRESSES_PER_NAME)


def test_records_that_are_only_announced_are_malformed() -> None:
    with pytest.raises(dns.exception.DNSException):
        read_message(message(1)[:7] + b"\xff" + message(1)[8:])


def test_several_questions_are_malformed() -> None:
    with pytest.raises(dns.exception.FormError):
        read_message(message(1, questions=9000))


def test_what_is_shorter_than_a_header_is_malformed() -> None:
    with pytest.raises(dns.exception.DNSException):
        read_message(bytes(11))


def test_a_truncated_message_says_so_however_long_it_is() -> None:
    wire = message(500)
    with pytest.raises(dns.message.Truncated):
        read_message(wire[:2] + b"\x83" + wire[3:], raise_on_truncation=True)
