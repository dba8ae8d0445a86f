"""Which session is taken up again, and for how long one proves anything."""

import ssl
from typing import cast

from gateway.intercept.sessions import LONGEST_SECONDS, Sessions


class Clock:
    """Seconds that a test lets pass."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _session() -> ssl.SSLSession:
    return cast("ssl.SSLSession", object())  # Python makes none without a handshake


def test_the_last_one_is_found_by_its_key_and_its_context() -> None:
    sessions, context, other = Sessions(Clock()), ssl.create_default_context(), ssl.create_default_context()
    first, second = _session(), _session()
    sessions.keep("a", context, first, resumed=False)
    assert sessions.find("a", context) is first
    assert sessions.find("a", other) is None
    assert sessions.find("b", context) is None
    sessions.keep("a", context, second, resumed=True)
    assert sessions.find("a", context) is second


def test_a_session_proves_nothing_after_an_hour_however_often_it_was_taken_up() -> None:
    clock = Clock()
    sessions, context = Sessions(clock), ssl.create_default_context()
    sessions.keep("a", context, _session(), resumed=False)
    clock.now += LONGEST_SECONDS / 2
    sessions.keep("a", context, _session(), resumed=True)
    clock.now += LONGEST_SECONDS / 2
    assert sessions.find("a", context) is not None
    clock.now += 1
    assert sessions.find("a", context) is None
    sessions.keep("a", context, _session(), resumed=True)
    assert sessions.find("a", context) is None
    sessions.keep("a", context, _session(), resumed=False)
    assert sessions.find("a", context) is not None


def test_they_are_bounded_and_the_one_unused_for_longest_goes() -> None:
    sessions, context = Sessions(Clock(), size=2), ssl.create_default_context()
    for key in ("a", "b"):
        sessions.keep(key, context, _session(), resumed=False)
    assert sessions.find("a", context) is not None
    sessions.keep("c", context, _session(), resumed=False)
    assert len(sessions) == 2
    assert sessions.find("b", context) is None
