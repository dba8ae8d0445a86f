"""A name server that stops answering is told in the log, and that it answers again; not each lost datagram."""

import dns.name
import pytest
from dns.rdatatype import A

from gateway.model.reasons import Reason
from gateway.net.dns.answers import Found, Missing
from gateway.net.dns.lookup import Attempt, Result
from gateway.net.dns.outages import IN_A_ROW, PAUSE_SECONDS, Outages
from gateway.net.dns.transport import Over, Question
from gateway.net.names import NameServer
from tests.net.parts import ManualClock, address_of

SERVER, OTHER = (NameServer(address_of(text)) for text in ("10.0.0.1", "10.0.0.2"))
QUESTION = Question(dns.name.from_text("x.test"), A)


class Bed:
    """What was logged since it was asked for last."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        log.set_level("INFO")
        self._log = log
        self.clock = ManualClock()
        self._outages = Outages(self.clock)

    def miss(self, server: NameServer = SERVER, times: int = 1, reason: Reason = Reason.DNS_TIMEOUT) -> list[str]:
        for _ in range(times):
            self.clock.now += 2.0
            missing = Missing(reason, f"{server} is silent")
            self._outages.notice(Attempt(server, QUESTION, Over.UDP, missing, Result.UNREACHABLE, 2.0))
        return self._told()

    def answer(self, result: Result = Result.ANSWER, server: NameServer = SERVER) -> list[str]:
        found = Found((address_of("192.0.2.1"),), 60.0)
        self._outages.notice(Attempt(server, QUESTION, Over.UDP, found, result, 0.01))
        return self._told()

    def _told(self) -> list[str]:
        messages = self._log.messages[:]
        self._log.clear()
        return messages


@pytest.fixture
def bed(caplog: pytest.LogCaptureFixture) -> Bed:
    return Bed(caplog)


def test_an_outage_is_two_lines_however_long_it_lasts(bed: Bed) -> None:
    assert bed.answer() == []
    assert bed.miss(times=50) == ["a name server does not answer: 10.0.0.1:53 is silent"]
    assert bed.answer() == ["name server 10.0.0.1:53 answers again, after 100 s"]
    assert bed.answer() == []


def test_questions_that_are_lost_now_and_then_are_none(bed: Bed) -> None:
    for _ in range(9):
        assert bed.miss(times=IN_A_ROW - 1) == []
        assert bed.answer(Result.FAILURE) == []  # SERVFAIL is an answer, too


def test_one_that_comes_and_goes_is_told_once_in_a_while(bed: Bed) -> None:
    told = []
    for _ in range(100):
        told += bed.miss(times=IN_A_ROW) + bed.answer()
    seconds = 100 * IN_A_ROW * 2.0
    assert 4 <= len(told) <= 2 * seconds / PAUSE_SECONDS
    assert bed.miss(times=50) == ["a name server does not answer: 10.0.0.1:53 is silent"]  # not kept back for ever


def test_each_server_has_outages_of_its_own(bed: Bed) -> None:
    assert len(bed.miss(SERVER, IN_A_ROW)) == 1
    assert bed.answer(server=OTHER) == []
    assert bed.miss(OTHER, IN_A_ROW) == ["a name server does not answer: 10.0.0.2:53 is silent"]
    assert bed.answer() == ["name server 10.0.0.1:53 answers again, after 12 s"]


def test_questions_for_which_there_was_no_descriptor_are_none_of_the_servers(bed: Bed) -> None:
    assert bed.miss(times=9 * IN_A_ROW, reason=Reason.DESCRIPTORS_EXHAUSTED) == []
    assert bed.answer() == []
