"""Which session is taken up again, and for how long one proves anything."""

import contextlib
import ctypes
import ssl
from pathlib import Path
from typing import cast

import pytest

from gateway.intercept.tls_sessions import LEAKS, LONGEST_SECONDS, LOOK_SECONDS, TlsSessions
from tests.helpers.tls_client import client_context
from tests.helpers.tls_origin import Issuer


class Clock:
    """Seconds that a test lets pass."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Shaken:
    """A handshake that is over. Python makes no session without one."""

    def __init__(self, resumed: bool = False) -> None:
        self.session_reused = resumed
        self.made = cast("ssl.SSLSession", object())
        self.looks = 0

    @property
    def session(self) -> ssl.SSLSession:
        self.looks += 1
        return self.made


def test_the_last_one_is_found_by_its_key_and_its_context() -> None:
    sessions, context, other = (
        TlsSessions(Clock(), looks=None),
        ssl.create_default_context(),
        ssl.create_default_context(),
    )
    first, second = Shaken(), Shaken(resumed=True)
    sessions.keep("a", context, first)
    assert sessions.find("a", context) is first.made
    assert sessions.find("a", other) is None
    assert sessions.find("b", context) is None
    sessions.keep("a", context, second)
    assert sessions.find("a", context) is second.made


def test_a_session_proves_nothing_after_an_hour_however_often_it_was_taken_up() -> None:
    clock = Clock()
    sessions, context = TlsSessions(clock, looks=None), ssl.create_default_context()
    sessions.keep("a", context, Shaken())
    clock.now += LONGEST_SECONDS / 2
    sessions.keep("a", context, Shaken(resumed=True))
    clock.now += LONGEST_SECONDS / 2
    assert sessions.find("a", context) is not None
    clock.now += 1
    assert sessions.find("a", context) is None
    sessions.keep("a", context, Shaken(resumed=True))
    assert sessions.find("a", context) is None
    sessions.keep("a", context, Shaken())
    assert sessions.find("a", context) is not None


def test_they_are_bounded_and_the_one_unused_for_longest_goes() -> None:
    sessions, context = TlsSessions(Clock(), size=2, looks=None), ssl.create_default_context()
    for key in ("a", "b"):
        sessions.keep(key, context, Shaken())
    assert sessions.find("a", context) is not None
    sessions.keep("c", context, Shaken())
    assert len(sessions) == 2
    assert sessions.find("b", context) is None


def test_where_every_look_at_a_session_loses_memory_the_one_that_is_kept_goes_on() -> None:
    clock = Clock()
    sessions, context = TlsSessions(clock, looks=10), ssl.create_default_context()
    first, resumed, refused, later = Shaken(), Shaken(resumed=True), Shaken(), Shaken()
    for shaken in (first, resumed, refused):
        sessions.keep("a", context, shaken)
    assert sessions.find("a", context) is first.made
    clock.now += LOOK_SECONDS
    sessions.keep("a", context, later)
    assert sessions.find("a", context) is later.made
    assert [shaken.looks for shaken in (first, resumed, refused, later)] == [1, 0, 0, 1]


def test_where_every_look_loses_memory_a_new_context_is_worth_one() -> None:
    sessions, contexts = TlsSessions(Clock(), looks=10), [ssl.create_default_context() for _ in range(2)]
    shaken = [Shaken(), Shaken()]
    for context, each in zip(contexts, shaken, strict=True):
        sessions.keep("a", context, each)
    assert sessions.find("a", contexts[1]) is shaken[1].made


def test_where_every_look_loses_memory_they_are_bounded_and_the_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    sessions, context = TlsSessions(Clock(), looks=2), ssl.create_default_context()
    shaken = [Shaken() for _ in range(4)]
    for number, each in enumerate(shaken):
        sessions.keep(number, context, each)
    assert [each.looks for each in shaken] == [1, 1, 0, 0]
    assert sessions.find(1, context) is shaken[1].made
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_this_python_is_known_to_lose_memory_by_a_look_or_not_to(tmp_path: Path) -> None:
    """Should a version be told wrong, this says so: a look costs 5 kB and more where it leaks."""
    issuer = Issuer(tmp_path)
    server, client = issuer.context("a.test"), client_context(issuer.bundle)
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(theirs, ours, server_hostname="a.test")
    answering = server.wrap_bio(ours, theirs, server_side=True)
    for each in (asking, answering, asking, answering):
        with contextlib.suppress(ssl.SSLWantReadError):
            each.do_handshake()
    assert asking.session is not None
    before = _in_use()
    for _ in range(1000):
        assert asking.session is not None
    lost = (_in_use() - before) / 1000
    assert (lost > 1000) == LEAKS, lost


class _Mallinfo(ctypes.Structure):
    """`struct mallinfo2` of mallinfo(3)."""

    _fields_ = tuple((f"_{number}", ctypes.c_size_t) for number in range(10))


def _in_use() -> int:
    """Bytes that the C library has handed out and not got back."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    told = mallinfo()
    return int(told._4 + told._7)  # hblkhd, what has a mapping of its own, and uordblks
