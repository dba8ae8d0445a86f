"""Who is let in is a matter of two counts, and of what is left of descriptors and memory."""

import pytest

from gateway.app.live.admission import MEMORY_LOOK_SECONDS, Admission, Ceiling, Held, ceiling_of
from gateway.model.addresses import Address
from gateway.model.reasons import Reason
from gateway.net.kernel.descriptors import Descriptors
from gateway.settings.gateway import BoundSettings

ONE, OTHER = Address(4, 1), Address(4, 2)


class Memory:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.short = False
        self.looks = 0
        self.now = 100.0

    def is_short(self) -> bool:
        self.looks += 1
        return self.short

    def monotonic(self) -> float:
        return self.now


def admission(tunnels: int = 10, per_client: int = 10, taken: int = 7) -> tuple[Admission, Memory]:
    memory, descriptors = Memory(), Descriptors(1000, lambda: taken)
    return Admission(Ceiling(tunnels, per_client), descriptors, memory.is_short, memory.monotonic), memory


@pytest.mark.parametrize(("descriptors", "tunnels"), [(65_536, 32_512), (1024, 256), (64, 1)])
def test_automatic_is_half_of_the_descriptors_without_the_reserve(descriptors: int, tunnels: int) -> None:
    assert ceiling_of(BoundSettings(), descriptors) == Ceiling(tunnels, 2000)


def test_stated_bounds_count_as_they_are() -> None:
    bounds = BoundSettings(tunnels=5, tunnels_per_client=3)
    assert ceiling_of(bounds, 1024) == Ceiling(5, 3)


def test_the_last_that_fits_in_is_let_in_and_whoever_leaves_makes_room() -> None:
    doorman, _ = admission(tunnels=2)
    for client in (ONE, OTHER):
        assert doorman.admit(client) is None
    assert doorman.admit(ONE) is Reason.TOO_MANY_TUNNELS
    doorman.leave(OTHER)
    assert doorman.admit(ONE) is None


def test_a_connection_counts_for_whom_its_sender_named() -> None:
    doorman, _ = admission(per_client=1)
    for reason in (None, Reason.TOO_MANY_TUNNELS_OF_CLIENT):
        assert doorman.admit(ONE) is None
        assert doorman.readmit(ONE, OTHER) is reason
    doorman.leave(OTHER)
    assert doorman.admit(OTHER) is Reason.TOO_MANY_TUNNELS_OF_CLIENT
    doorman.leave(OTHER)
    assert doorman.admit(OTHER) is None


def test_one_client_does_not_take_the_room_of_another() -> None:
    doorman, _ = admission(per_client=2)
    assert doorman.admit(ONE) is None
    assert doorman.admit(ONE) is None
    assert doorman.admit(ONE) is Reason.TOO_MANY_TUNNELS_OF_CLIENT
    assert doorman.admit(OTHER) is None
    doorman.leave(ONE)
    assert doorman.admit(ONE) is None


def test_nobody_is_let_in_when_only_the_descriptors_that_are_kept_back_are_left() -> None:
    for taken, reason in ((874, None), (875, Reason.DESCRIPTORS_EXHAUSTED)):
        doorman, _ = admission(taken=taken)
        assert doorman.admit(ONE) is reason


def test_it_is_known_who_has_most_and_how_many_were_refused_beside_them() -> None:
    doorman, _ = admission(tunnels=4, per_client=2)
    for client in (ONE, OTHER, OTHER):
        assert doorman.admit(client) is None
    assert doorman.admit(OTHER) is doorman.admit(OTHER) is Reason.TOO_MANY_TUNNELS_OF_CLIENT
    assert doorman.total() == Held(3, 0)
    assert doorman.fullest(9) == [(OTHER, Held(2, 2)), (ONE, Held(1, 0))]
    assert doorman.fullest(1) == [(OTHER, Held(2, 2))]
    assert doorman.admit(ONE) is None
    assert doorman.admit(Address(4, 3)) is Reason.TOO_MANY_TUNNELS
    assert doorman.total() == Held(4, 1)
    for _ in range(2):
        doorman.leave(OTHER)
    assert doorman.admit(ONE) is Reason.TOO_MANY_TUNNELS_OF_CLIENT
    assert doorman.admit(OTHER) is None
    assert doorman.fullest(9) == [(ONE, Held(2, 1)), (OTHER, Held(1, 0))]  # who was gone is forgotten


def test_memory_is_looked_at_once_a_second_at_most() -> None:
    doorman, memory = admission()
    for _ in range(5):
        assert doorman.admit(ONE) is None
    memory.short = True
    assert doorman.admit(ONE) is None
    memory.now += MEMORY_LOOK_SECONDS
    assert doorman.admit(ONE) is Reason.MEMORY_EXHAUSTED
    assert memory.looks == 2
