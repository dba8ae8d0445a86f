"""One watch tells many processes: each the whole state, then what changes, and the whole again if it fell behind."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from gateway.kubernetes import watching as module
from gateway.kubernetes.directory import Change, Directory, Heard, Labelled, Put, Reset
from gateway.kubernetes.watching import ClusterWatch, Reader
from gateway.model.addresses import Address
from tests.helpers.api_server import namespace, pod
from tests.kubernetes.cluster import Cluster, until, watching
from tests.kubernetes.test_directory import make


class Copy:
    """Another process, as far as it is told."""

    def __init__(self, reader: Reader) -> None:
        self.directory = Directory(lambda: 0.0)
        self._told: AsyncIterator[Sequence[Sequence[Change]]] = aiter(reader)

    async def hear(self) -> list[Change]:
        async with asyncio.timeout(10):
            slices = await anext(self._told)
        for changes in slices:
            for change in changes:
                self.directory.apply(change)
        return [change for changes in slices for change in changes]


@pytest.fixture
def watch(tmp_path: Path) -> ClusterWatch:
    return ClusterWatch(Cluster(tmp_path).client(), 300.0)


async def test_the_whole_state_comes_first_and_then_each_change(watch: ClusterWatch) -> None:
    watch._publish(Put(make("a")))
    watch._publish(Heard(0.0))
    reader = watch.reader()
    copy = Copy(reader)
    assert await copy.hear() == [Reset(), Put(make("a")), Heard(0.0)]
    watch._publish(Put(make("b")))
    watch._publish(Labelled("x", {}))
    assert await copy.hear() == [Put(make("b")), Labelled("x", {})]
    assert copy.directory.uids() == {"a", "b"}
    reader.close()
    watch._publish(Put(make("c")))
    assert reader._waiting == []


async def test_who_reads_too_slowly_is_told_the_whole_state_instead(
    watch: ClusterWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEHIND", 10)
    copy = Copy(watch.reader())
    await copy.hear()
    for number in range(50):
        watch._publish(Put(make(str(number % 3))))
    told = await copy.hear()
    assert (told[0], len(told)) == (Reset(), 4)
    watch._publish(Put(make("last")))
    assert await copy.hear() == [Put(make("last"))]


async def test_a_large_state_comes_in_slices(watch: ClusterWatch) -> None:
    for number in range(2500):
        watch._publish(Put(make(str(number), Address(4, number))))
    slices = await anext(aiter(watch.reader()))
    assert [len(each) for each in slices] == [1000, 1000, 501]


async def test_namespaces_are_followed_as_well(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster.api as api:
        api.put("namespaces", namespace("payments", team="a"))
        async with watching(cluster) as watch:
            assert watch.directory.labels_of("payments") == {"team": "a"}
            api.put("namespaces", namespace("payments", team="b"), namespace("shop"))
            await until(lambda: watch.directory.labels_of("shop") == {})
            assert watch.directory.labels_of("payments") == {"team": "b"}
            api.delete("namespaces", namespace("payments"))
            await until(lambda: watch.directory.labels_of("payments") is None)
            api.down()
            api.delete("namespaces", namespace("shop"))
            api.forget()
            api.put("pods", pod("a", "10.1.0.1"))
            api.up()
            await until(lambda: watch.directory.labels_of("shop") is None)


async def test_a_list_that_does_not_come_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    watch = ClusterWatch(Cluster(tmp_path).client(), 300.0)
    assert not await watch.first_list(0.01)
