from tests.helpers.origins import Origin, Visit, echo

PORTS = range(1024, 65536)


def test_a_probe_is_not_taken_for_an_earlier_visit_from_its_port() -> None:
    with Origin(echo) as origin:
        origin.visits.extend(Visit(("127.0.0.1", port)) for port in PORTS)
        assert [origin.settled() for _ in range(20)] == [len(PORTS)] * 20
