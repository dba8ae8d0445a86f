from pathlib import Path

from gateway.net.dns.ranking import SHUN_SECONDS, Ranking
from gateway.net.names import NameServer, NameServers
from tests.net.parts import address_of

FIRST, SECOND = (NameServer(address_of(text)) for text in ("10.0.0.1", "10.0.0.2"))


def build_ranking() -> Ranking:
    return Ranking(NameServers([FIRST, SECOND], Path("/nonexistent")))


def test_the_configured_order_holds_while_all_is_well() -> None:
    assert build_ranking().in_order(0.0) == [FIRST, SECOND]


def test_a_server_that_did_not_answer_is_asked_last_for_a_while() -> None:
    ranking = build_ranking()
    ranking.shun(FIRST, 0.0)
    assert ranking.in_order(SHUN_SECONDS - 0.1) == [SECOND, FIRST]
    assert ranking.health() == {FIRST: False, SECOND: True}


def test_when_its_time_is_up_one_asker_tries_it_and_the_others_do_not_wait() -> None:
    ranking = build_ranking()
    ranking.shun(FIRST, 0.0)
    assert ranking.in_order(SHUN_SECONDS) == [FIRST, SECOND]
    assert ranking.in_order(SHUN_SECONDS) == [SECOND, FIRST]


def test_one_is_tried_again_although_one_before_it_answers() -> None:
    ranking = build_ranking()
    ranking.shun(SECOND, 0.0)
    assert ranking.in_order(SHUN_SECONDS - 0.1) == [FIRST, SECOND]
    assert ranking.in_order(SHUN_SECONDS) == [SECOND, FIRST]
    assert ranking.in_order(SHUN_SECONDS) == [FIRST, SECOND]


def test_a_server_that_answers_has_its_place_back() -> None:
    ranking = build_ranking()
    ranking.shun(FIRST, 0.0)
    ranking.restore(FIRST)
    assert ranking.in_order(1.0) == [FIRST, SECOND]
    assert ranking.health() == {FIRST: True, SECOND: True}


def test_all_that_are_shunned_are_asked_all_the_same() -> None:
    ranking = build_ranking()
    ranking.shun(FIRST, 0.0)
    ranking.shun(SECOND, 0.0)
    assert ranking.in_order(1.0) == [FIRST, SECOND]


def test_a_server_that_is_no_longer_configured_is_forgotten(tmp_path: Path) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 10.0.0.1\n")
    ranking = Ranking(NameServers(["system"], resolv_conf))
    ranking.in_order(0.0)
    ranking.shun(FIRST, 0.0)
    resolv_conf.write_text("nameserver 10.0.0.2 # other\n")
    assert ranking.in_order(2.0) == [SECOND]
    assert ranking.health() == {SECOND: True}
