"""Who is let in is a matter of three counts and one look at memory a second."""

import pytest

from gateway.app.live.admission import MEMORY_CHECK_SECONDS, Admission, Ceiling, ceiling_of
from gateway.model.addresses import Address
from gateway.model.reasons import Reason
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


def admission(tunnels: int = 10, per_client: int = 10, descriptors: int = 100_000) -> tuple[Admission, Memory]:
    memory = Memory()
    return Admission(Ceiling(tunnels, per_client), descriptors, memory.is_short, memory.monotonic), memory


def low() -> int:
    return 7


@pytest.mark.parametrize(("descriptors", "tunnels"), [(65_536, 32_512), (1024, 256), (64, 1)])
def test_automatic_is_half_of_the_descriptors_without_the_reserve(descriptors: int, tunnels: int) -> None:
    assert ceiling_of(BoundSettings(), descriptors) == Ceiling(tunnels, 2000)


def test_stated_bounds_count_as_they_are() -> None:
    bounds = BoundSettings(tunnels=5, tunnels_per_client=3)
    assert ceiling_of(bounds, 1024) == Ceiling(5, 3)


def test_the_last_that_fits_in_is_let_in_and_whoever_leaves_makes_room() -> None:
    doorman, _ = admission(tunnels=2)
    for client in (ONE, OTHER):
        assert doorman.refusal(client, low) is None
        doorman.enter(client)
    assert doorman.refusal(ONE, low) is Reason.TOO_MANY_TUNNELS
    doorman.leave(OTHER)
    assert doorman.refusal(ONE, low) is None


def test_a_connection_counts_for_whom_its_sender_named() -> None:
    doorman, _ = admission(per_client=1)
    for reason in (None, Reason.TOO_MANY_TUNNELS_OF_CLIENT):
        assert doorman.refusal(ONE, low) is None
        doorman.enter(ONE)
        assert doorman.readmit(ONE, OTHER) is reason
    doorman.leave(OTHER)
    assert doorman.refusal(OTHER, low) is Reason.TOO_MANY_TUNNELS_OF_CLIENT
    doorman.leave(OTHER)
    assert doorman.refusal(OTHER, low) is None


def test_one_client_does_not_take_the_room_of_another() -> None:
    doorman, _ = admission(per_client=2)
    doorman.enter(ONE)
    doorman.enter(ONE)
    assert doorman.refusal(ONE, low) is Reason.TOO_MANY_TUNNELS_OF_CLIENT
    assert doorman.refusal(OTHER, low) is None
    doorman.leave(ONE)
    assert doorman.refusal(ONE, low) is None


def test_a_high_descriptor_tells_that_few_are_left() -> None:
    doorman, _ = admission(tunnels=100, per_client=100, descriptors=200)
    assert doorman.refusal(ONE, lambda: 199) is None  # so few are in that nobody asks
    for _ in range(50):
        doorman.enter(ONE)
    assert doorman.refusal(ONE, lambda: 136) is Reason.DESCRIPTORS_EXHAUSTED
    assert doorman.refusal(ONE, lambda: 135) is None


def test_memory_is_looked_at_once_a_second_at_most() -> None:
    doorman, memory = admission()
    for _ in range(5):
        assert doorman.refusal(ONE, low) is None
    memory.short = True
    assert doorman.refusal(ONE, low) is None
    memory.now += MEMORY_CHECK_SECONDS
    assert doorman.refusal(ONE, low) is Reason.MEMORY_EXHAUSTED
    assert memory.looks == 2
