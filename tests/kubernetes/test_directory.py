"""Who has an address: one pod, or nobody for certain."""

import random

import pytest

from gateway.kubernetes.directory import Change, Directory, Doubt, Drop, Heard, Labelled, Put, Reset
from gateway.kubernetes.pods import Pod
from gateway.model.addresses import Address

HERE = Address(4, 0x0A010007)
THERE = Address(4, 0x0A010008)


def make(uid: str, *addresses: Address, started: int = 0, leaving: bool = False, on_host: bool = False) -> Pod:
    moment = f"2027-01-15T08:00:{started:02d}Z"
    return Pod(uid, "x", uid, "default", "", {}, addresses or (HERE,), moment, leaving, on_host)


class Bed:
    def __init__(self, *changes: Change) -> None:
        self.now = 1000.0
        self.directory = Directory(lambda: self.now, 300.0)
        for change in (*changes, Heard(self.now)):
            self.directory.apply(change)

    @property
    def holder(self) -> str | None:
        found = self.directory.holder(HERE)
        return found.uid if isinstance(found, Pod) else found


def test_one_pod_holds_all_its_addresses() -> None:
    bed = Bed(Put(make("a", HERE, THERE)))
    assert bed.directory.holder(HERE) == bed.directory.holder(THERE) == make("a", HERE, THERE)


def test_an_address_that_no_pod_has_is_nobodys() -> None:
    assert Bed().holder is None


def test_an_address_that_is_given_to_another_pod_is_that_ones() -> None:
    bed = Bed(Put(make("old")), Put(make("old", leaving=True)), Put(make("new", started=5)))
    assert bed.holder == "new"
    bed.directory.apply(Drop("old"))
    assert bed.holder == "new"


def test_the_former_holders_late_end_takes_nothing_from_the_new_one() -> None:
    bed = Bed(Put(make("old")), Put(make("new", started=5)), Put(make("old", leaving=True)), Drop("old"))
    assert bed.holder == "new"


@pytest.mark.parametrize(
    "pods",
    [
        (make("a"), make("b", started=5)),  # both run
        (make("a", started=5, leaving=True), make("b", started=5)),  # which one came later?
        (make("a", started=9, leaving=True), make("b", started=5)),  # the one that leaves came later
        (make("a", leaving=True), make("b", started=5, leaving=True)),
        (make("a", leaving=True), make("b")._replace(started="")),
    ],
)
def test_pods_that_cannot_be_told_apart_are_nobody(pods: tuple[Pod, Pod]) -> None:
    assert Bed(*map(Put, pods)).holder is Doubt.AMBIGUOUS
    assert Bed(*map(Put, reversed(pods))).holder is Doubt.AMBIGUOUS


def test_doubt_ends_with_the_other_claim() -> None:
    bed = Bed(Put(make("a")), Put(make("b")))
    bed.directory.apply(Drop("a"))
    assert bed.holder == "b"


def test_a_nodes_address_is_nobodys_even_when_a_pod_claims_it() -> None:
    assert Bed(Put(make("agent", on_host=True))).holder is Doubt.HOST_NETWORK
    assert Bed(Put(make("agent", on_host=True)), Put(make("a"))).holder is Doubt.HOST_NETWORK


def test_a_pod_that_changes_its_address_leaves_the_former_one() -> None:
    bed = Bed(Put(make("a", HERE)), Put(make("a", THERE)))
    assert bed.holder is None


def test_before_the_first_list_and_after_a_long_silence_there_is_no_answer() -> None:
    bed = Bed(Put(make("a")), Labelled("x", {"team": "a"}))
    bed.now += 300.0
    assert (bed.holder, bed.directory.labels_of("x")) == ("a", {"team": "a"})
    bed.now += 0.1
    assert (bed.holder, bed.directory.labels_of("x")) == (Doubt.STALE, None)
    bed.directory.apply(Heard(bed.now))
    assert bed.holder == "a"
    bed.directory.apply(Reset())
    assert (bed.holder, bed.directory.age) == (Doubt.STALE, None)


def test_a_namespace_that_is_gone_has_no_labels() -> None:
    bed = Bed(Labelled("x", {"team": "a"}), Labelled("x", None))
    assert bed.directory.labels_of("x") is None


def test_replicas_share_their_labels() -> None:
    one, other = (make(uid, address)._replace(labels={"app": "api"}) for uid, address in (("a", HERE), ("b", THERE)))
    bed = Bed(Put(one), Put(other))
    held = [bed.directory.holder(address) for address in (HERE, THERE)]
    assert isinstance(held[0], Pod)
    assert isinstance(held[1], Pod)
    assert held[0].labels is held[1].labels


def test_labels_that_nobody_has_any_more_are_not_kept_for_ever() -> None:
    bed = Bed()
    for number in range(5000):
        bed.directory.apply(Put(make("a")._replace(labels={"n": str(number)})))
    assert len(bed.directory._shared) < 2000


class Forgetful(Directory):
    """The planted fault: a pod that moves stays at its former address as well."""

    def _take_out(self, uid: str) -> None:
        self._pods.pop(uid, None)


def walk(kind: type[Directory]) -> None:
    """Random changes to a directory, to another that joins in the middle, and to a plain list of the pods there are."""
    chance = random.Random(7)
    addresses = [Address(4, 0x0A000000 + number) for number in range(20)]
    one, copy = kind(lambda: 0.0), kind(lambda: 0.0)
    truth: dict[str, Pod] = {}
    one.apply(Heard(0.0))
    for step in range(2000):
        uid = str(chance.randrange(30))
        held = tuple(chance.sample(addresses, chance.randrange(1, 3)))
        change = Drop(uid) if chance.random() < 0.4 else Put(make(uid, *held, started=chance.randrange(60)))
        one.apply(change)
        truth.pop(uid, None)
        if isinstance(change, Put):
            truth[uid] = change.pod
        if step == 1000:
            for told in one.changes():
                copy.apply(told)
        elif step > 1000:
            copy.apply(change)
        address = chance.choice(addresses)
        claims = [pod for pod in truth.values() if address in pod.addresses]
        expected = claims[0] if len(claims) == 1 else Doubt.AMBIGUOUS if claims else None
        assert one.holder(address) == expected
        assert step < 1000 or copy.holder(address) == expected
    for uid in truth:
        one.apply(Drop(uid))
    assert (len(one), one._by_address) == (0, {})


def test_after_any_changes_an_address_is_its_only_claimants() -> None:
    walk(Directory)


def test_a_directory_that_forgets_to_move_a_pod_is_caught() -> None:
    with pytest.raises((AssertionError, KeyError)):
        walk(Forgetful)
