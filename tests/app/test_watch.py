"""Changes of a policy's files are noticed, however they come about, once each and none is missed."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from gateway.app.configuration import Configuration, Sources, load_configuration
from gateway.app.watch import watch
from gateway.settings.source.files import Stamp
from tests.app.policies import Here, begun, in_force, reading, rules_of, text, write

LOOK_EVERY = 0.002


class Watching:
    """A watcher at work on a policy in force; `during` is called while a reload runs, when it has read the files."""

    def __init__(self, policy: Here) -> None:
        self.policy = policy
        self.reloads = 0
        self.looks = 0
        self._reloaded = asyncio.Event()
        self._looked = asyncio.Event()

    def files(self) -> Mapping[Path, Stamp]:
        self.looks += 1
        self._looked.set()
        return self.policy.files

    async def during(self) -> None:
        """Nothing, here."""

    async def changed(self) -> bool | None:
        await self.policy.reload()
        await self.during()
        self.reloads += 1
        self._reloaded.set()
        return None

    async def until(self, reloads: int) -> None:
        """Wait for that many."""
        async with asyncio.timeout(60):
            while self.reloads < reloads:
                self._reloaded.clear()
                await self._reloaded.wait()

    async def after_looks(self) -> int:
        """How many reloads there were when a few further looks were over."""
        enough = self.looks + 8  # one look asks for the files twice at most
        async with asyncio.timeout(60):
            while self.looks < enough:
                self._looked.clear()
                await self._looked.wait()
        return self.reloads


@asynccontextmanager
async def run(watching: Watching) -> AsyncIterator[Watching]:
    task = asyncio.create_task(watch(watching.files, watching.changed, LOOK_EVERY))
    try:
        yield watching
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def rename_over(path: Path, content: str) -> None:
    write(path.with_suffix(".new"), content).rename(path)


async def test_a_file_that_is_written_over_is_read_again_once(tmp_path: Path) -> None:
    file = write(tmp_path / "policy.yaml", text("old"))
    async with run(Watching(await in_force(file))) as watching:
        write(file, text("newer"))
        await watching.until(1)
        await watching.after_looks()
        assert rules_of(watching.policy) == ["newer"]
        assert watching.policy.serving.rules.generation == watching.reloads + 1


async def test_a_file_that_is_renamed_over_is_read_again_once_also_with_the_same_size_and_time(tmp_path: Path) -> None:
    file = write(tmp_path / "policy.yaml", text("old"))
    async with run(Watching(await in_force(file))) as watching:
        fresh = write(tmp_path / "policy.new", text("new"))
        status = file.stat()
        os.utime(fresh, ns=(status.st_atime_ns, status.st_mtime_ns))
        fresh.rename(file)
        await watching.until(1)
        assert rules_of(watching.policy) == ["new"]
        assert await watching.after_looks() == 1


async def test_the_symlink_swap_of_a_configmap_is_read_again(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    for version in ("old", "new"):
        (mount / f"..{version}").mkdir(parents=True)
        write(mount / f"..{version}" / "policy.yaml", text(version))
    (mount / "..data").symlink_to("..old")
    (mount / "policy.yaml").symlink_to("..data/policy.yaml")
    for policy in (mount, mount / "policy.yaml"):
        async with run(Watching(await in_force(policy))) as watching:
            before = rules_of(watching.policy)
            (mount / "..next").symlink_to("..new" if before == ["old"] else "..old")
            (mount / "..next").rename(mount / "..data")
            await watching.until(1)
            assert rules_of(watching.policy) == (["new"] if before == ["old"] else ["old"])
            assert await watching.after_looks() <= 2  # the swap makes two changes of the folder


async def test_a_new_file_in_a_policy_directory_is_read_and_watched_too(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", text("one"))
    async with run(Watching(await in_force(tmp_path))) as watching:
        write(tmp_path / "half", text("two")).rename(tmp_path / "b.yaml")
        await watching.until(1)
        seen = await watching.after_looks()
        assert rules_of(watching.policy) == ["one", "two"]
        rename_over(tmp_path / "b.yaml", text("three"))
        await watching.until(seen + 1)
        await watching.after_looks()
        assert rules_of(watching.policy) == ["one", "three"]
        (tmp_path / "a.yaml").unlink()
        await watching.until(watching.reloads + 1)
        assert rules_of(watching.policy) == ["three"]


async def test_a_policy_that_was_missing_is_read_when_it_comes(tmp_path: Path) -> None:
    file = write(tmp_path / "gateway.yaml", "")

    def read() -> Configuration:
        return load_configuration(Sources(file), {})

    policy = await begun(Here(read(), reading(read)))
    async with run(Watching(policy)) as watching:
        assert await watching.after_looks() == 0
        rename_over(tmp_path / "policy.yaml", text("first"))
        await watching.until(1)
        assert rules_of(policy) == ["first"]


async def test_what_else_happens_beside_the_file_is_nobodys_business(tmp_path: Path) -> None:
    file = write(tmp_path / "policy.yaml", text("old"))
    async with run(Watching(await in_force(file))) as watching:
        write(tmp_path / "records.jsonl", "{}")
        assert await watching.after_looks() == 0


async def test_a_bad_file_is_read_once_and_its_repair_is_noticed(tmp_path: Path) -> None:
    file = write(tmp_path / "policy.yaml", text("old"))
    async with run(Watching(await in_force(file))) as watching:
        rename_over(file, "rules: [")
        await watching.until(1)
        assert await watching.after_looks() == 1
        assert rules_of(watching.policy) == ["old"]
        rename_over(file, text("new"))
        await watching.until(2)
        assert rules_of(watching.policy) == ["new"]


async def test_the_repair_of_a_new_file_is_noticed_that_never_came_into_force(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", text("old"))
    async with run(Watching(await in_force(tmp_path))) as watching:
        file = write(tmp_path / "b.yaml", "rules: [")
        await watching.until(1)
        assert await watching.after_looks() == 1
        write(file, text("new"))
        await watching.until(2)
        assert rules_of(watching.policy) == ["old", "new"]
        assert await watching.after_looks() == 2


class ChangedMeanwhile(Watching):
    """Somebody writes the file again when the first reload has just read it."""

    def __init__(self, policy: Here, file: Path, content: str) -> None:
        super().__init__(policy)
        self._file = file
        self._content = content

    async def during(self) -> None:
        if self.reloads == 0:
            rename_over(self._file, self._content)


async def test_a_change_during_a_reload_is_not_missed(tmp_path: Path) -> None:
    file = write(tmp_path / "policy.yaml", text("old"))
    async with run(ChangedMeanwhile(await in_force(file), file, text("newest"))) as watching:
        rename_over(file, text("new"))
        await watching.until(2)
        assert rules_of(watching.policy) == ["newest"]


async def test_a_change_during_a_reload_that_fails_is_not_missed(tmp_path: Path) -> None:
    file = write(tmp_path / "policy.yaml", text("old"))
    async with run(ChangedMeanwhile(await in_force(file), file, text("new"))) as watching:
        rename_over(file, "rules: [")
        await watching.until(2)
        assert rules_of(watching.policy) == ["new"]


async def test_a_change_of_a_file_that_came_with_the_reload_is_not_missed(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", text("one"))
    write(tmp_path / "b.yaml.off", text("two"))
    async with run(ChangedMeanwhile(await in_force(tmp_path), tmp_path / "b.yaml", text("three"))) as watching:
        (tmp_path / "b.yaml.off").rename(tmp_path / "b.yaml")
        await watching.until(2)
        await watching.after_looks()
        assert rules_of(watching.policy) == ["one", "three"]


async def test_a_change_between_the_first_read_and_the_first_look_is_not_missed(tmp_path: Path) -> None:
    file = write(tmp_path / "policy.yaml", text("old"))
    policy = await in_force(file)
    rename_over(file, text("new"))
    async with run(Watching(policy)) as watching:
        await watching.until(1)
        assert rules_of(policy) == ["new"]


class _Lost(Watching):
    """Whoever should read is killed the first times."""

    lost = 2

    async def changed(self) -> bool:
        self.lost, is_lost = self.lost - 1, self.lost > 0
        if not is_lost:
            await super().changed()
        return is_lost


async def test_a_reading_that_was_lost_is_tried_again_without_another_change(tmp_path: Path) -> None:
    file = write(tmp_path / "policy.yaml", text("old"))
    watching = _Lost(await in_force(file))
    task = asyncio.create_task(watch(watching.files, watching.changed, LOOK_EVERY, 5 * LOOK_EVERY))
    write(file, text("newer"))
    await watching.until(1)
    assert rules_of(watching.policy) == ["newer"]
    assert await watching.after_looks() == 1
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_try_without_another_change_is_told_apart(tmp_path: Path) -> None:
    file = write(tmp_path / "policy.yaml", text("old"))
    policy, calls, enough = await in_force(file), list[str](), asyncio.Event()

    async def changed() -> bool:
        calls.append("changed")
        return True

    async def again() -> bool:
        calls.append("again")
        if len(calls) == 3:
            enough.set()
        return len(calls) < 3

    write(file, text("newer"))
    task = asyncio.create_task(watch(lambda: policy.files, changed, LOOK_EVERY, LOOK_EVERY, again))
    async with asyncio.timeout(60):
        await enough.wait()
    assert calls == ["changed", "again", "again"]
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
