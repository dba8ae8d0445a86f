from dataclasses import replace

import dns.exception
import dns.flags
import dns.message
import dns.name
import pytest

from gateway.model.reasons import Reason
from gateway.net.dns.answers import ADDRESSES_PER_NAME, INCOMPLETE_TTL, Alias, Found, Missing, merge, read_response
from tests.net.parts import addresses

SOA = "x.test. 900 IN SOA ns.test. hostmaster.test. 1 2 3 4 70"


def response_of(*answer: str, kind: str = "A", rcode: str = "NOERROR", authority: str = "") -> dns.message.Message:
    lines = ["id 1", "opcode QUERY", f"rcode {rcode}", "flags QR RD RA", ";QUESTION", f"x.test. IN {kind}"]
    lines += [";ANSWER", *answer, ";AUTHORITY", authority]
    return dns.message.from_text("\n".join(filter(None, lines)))


def test_the_addresses_of_the_question_are_found_with_the_smallest_ttl_of_the_chain() -> None:
    response = response_of(
        "x.test. 50 IN CNAME y.test.", "y.test. 300 IN A 203.0.113.1", "y.test. 300 IN A 203.0.113.2"
    )

    assert read_response(response) == Found(addresses("203.0.113.1", "203.0.113.2"), 50)


def test_records_that_the_question_does_not_lead_to_are_no_answer() -> None:
    response = response_of("other.test. 50 IN A 203.0.113.1", authority=SOA)

    assert read_response(response) == Missing(Reason.DNS_NO_ADDRESS, "the name has no address", "NOERROR", 70)


def test_a_chain_that_leaves_the_response_is_to_be_followed() -> None:
    assert read_response(response_of("x.test. 50 IN CNAME y.test.")) == Alias(dns.name.from_text("y.test"), 50)


def test_a_chain_to_a_name_without_such_addresses_is_an_answer() -> None:
    answer = read_response(
        response_of("x.test. 50 IN CNAME y.test.", kind="AAAA", authority=SOA.replace("x.test", "test"))
    )

    assert isinstance(answer, Missing)
    assert answer.reason is Reason.DNS_NO_ADDRESS


def test_a_name_that_does_not_exist_is_remembered_for_the_soas_minimum() -> None:
    answer = read_response(response_of(rcode="NXDOMAIN", authority=SOA))

    assert answer == Missing(Reason.DNS_NAME_NOT_FOUND, "the name does not exist", "NXDOMAIN", 70)


def test_a_negative_answer_without_soa_is_not_worth_remembering() -> None:
    answers = [read_response(response_of()), read_response(response_of(rcode="NXDOMAIN"))]

    assert [answer.ttl for answer in answers] == [0, 0]


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
def test_every_other_rcode_is_a_failure_by_its_name(rcode: str) -> None:
    answer = read_response(response_of(rcode=rcode))

    assert answer == Missing(Reason.DNS_FAILURE, rcode, rcode)
    assert answer.is_failure


REFERRAL = "test. 900 IN NS ns.elsewhere.test."


def test_a_referral_is_no_answer_unless_the_server_resolves() -> None:
    resolved = response_of(authority=REFERRAL)
    lame = response_of(authority=REFERRAL)
    lame.flags &= ~dns.flags.RA

    answer = read_response(lame)
    assert isinstance(answer, Missing)
    assert (answer.reason, answer.is_failure) == (Reason.DNS_FAILURE, True)
    assert read_response(resolved) == Missing(Reason.DNS_NO_ADDRESS, "the name has no address", "NOERROR")


def test_a_circle_of_aliases_is_malformed() -> None:
    with pytest.raises(dns.exception.DNSException):
        read_response(response_of("x.test. 5 IN CNAME y.test.", "y.test. 5 IN CNAME x.test."))


def test_a_mapped_address_is_the_ipv4_that_it_maps() -> None:
    answer = read_response(response_of("x.test. 5 IN AAAA ::ffff:169.254.169.254", kind="AAAA"))

    assert answer == Found(addresses("169.254.169.254"), 5)


def test_a_name_keeps_a_bounded_number_of_addresses() -> None:
    answer = read_response(response_of(*(f"x.test. 5 IN A 203.0.113.{last}" for last in range(200))))

    assert isinstance(answer, Found)
    assert len(answer.addresses) == ADDRESSES_PER_NAME


GONE = Missing(Reason.DNS_NAME_NOT_FOUND, "", "NXDOMAIN", 60)
EMPTY = Missing(Reason.DNS_NO_ADDRESS, "", "NOERROR", 60)
BROKEN = Missing(Reason.DNS_FAILURE, "SERVFAIL", "SERVFAIL")
SILENT = Missing(Reason.DNS_TIMEOUT, "")
FOUR = Found(addresses("203.0.113.1"), 300)
SIX = Found(addresses("2001:db8::1"), 200)


def test_the_addresses_of_both_families_are_one_answer_with_the_smaller_ttl() -> None:
    assert merge([SIX, FOUR], asked=2) == Found(SIX.addresses + FOUR.addresses, 200)


def test_an_empty_family_does_not_shorten_the_answer_of_the_other() -> None:
    assert merge([EMPTY, FOUR], asked=2) == FOUR


@pytest.mark.parametrize("other", [[BROKEN], [SILENT], []])
def test_an_answer_without_its_other_family_is_kept_only_shortly(other: list[Missing]) -> None:
    assert merge([*other, FOUR], asked=2) == Found(FOUR.addresses, INCOMPLETE_TTL)


@pytest.mark.parametrize("other", [[BROKEN], [SILENT], []])
def test_that_a_name_does_not_exist_is_kept_only_shortly_without_the_answer_of_the_other_family(
    other: list[Missing],
) -> None:
    """Some servers say so of AAAA though there is an A (RFC 4074 section 4.2)."""
    assert merge([*other, GONE], asked=2) == replace(GONE, ttl=INCOMPLETE_TTL)
    assert merge([GONE, GONE], asked=2) == GONE


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [([GONE, EMPTY], GONE), ([EMPTY, SILENT], SILENT), ([BROKEN, EMPTY], BROKEN), ([EMPTY, EMPTY], EMPTY)],
)
def test_without_addresses_what_is_certain_or_a_failure_goes_before_emptiness(
    answers: list[Missing], verdict: Missing
) -> None:
    assert merge(answers, asked=2) == verdict
