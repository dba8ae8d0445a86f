"""New rules take over whole or not at all, one reload at a time."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import bcrypt
import pytest

from gateway.admin.state import ReloadOutcome
from gateway.app.configuration import Configuration, Head, Sources, load_configuration
from gateway.app.generation.frames import Frame
from gateway.app.generation.frames import load as load_frame
from gateway.app.generation.own_addresses import own_addresses
from gateway.app.reloads import Reloads
from gateway.model.addresses import Address
from gateway.model.errors import ConfigError, InternalError
from gateway.serve.identify import CertificateNames, PasswordFile
from gateway.wire.head import RequestHead
from tests.app.policies import Here, begun, in_force, load, reading, rules_of, text, write
from tests.helpers.certificates import DAY, Authority
from tests.helpers.token_issuer import ISSUER, TokenIssuer

LISTENING = (Address(4, 0x7F000001), 3128)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "policy.yaml", text("old"))


async def test_the_first_generation_is_one_and_no_reload_was_tried(file: Path) -> None:
    policy = await in_force(file)
    assert (policy.serving.rules.generation, rules_of(policy)) == (1, ["old"])
    assert policy.reload_succeeded
    assert policy.last_reload_time is None


async def test_a_good_file_takes_over_and_connections_that_began_keep_what_they_had(file: Path) -> None:
    policy = await in_force(file)
    taken = policy.serving.rules
    write(file, text("new"))
    before = time.time()
    assert await policy.reload() == ReloadOutcome(2)
    assert (policy.serving.rules.generation, rules_of(policy)) == (2, ["new"])
    assert taken.generation == 1
    assert policy.last_reload_time is not None
    assert before <= policy.last_reload_time <= time.time()


async def test_a_bad_file_changes_nothing_and_its_problems_are_answered_and_logged(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    policy = await in_force(file)
    in_use, files = policy.serving.rules, policy.files
    write(file, "rules:\n  - {name: new, hosts: [new.test]}\n  - {name: bad, hosts: ['*.*']}\nrule: 1\n")
    outcome = await policy.reload()
    assert policy.serving.rules is in_use
    assert policy.files is files
    assert not policy.reload_succeeded
    assert outcome.generation == 1
    assert [problem.split(": ")[0] for problem in outcome.problems] == [f"{file}:3", f"{file}:4"]
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [*outcome.problems, "reload failed: policy generation 1 stays in force"]


async def test_whoever_watches_tries_again_after_a_reload_that_failed_for_whatever_reason(file: Path) -> None:
    """What was at fault may be in no file of the generation in force: a new list, a disk, the memory of a worker."""
    policy = await in_force(file)
    assert not await policy.follow()
    write(file, "rules: [{name: a, hosts_file: to-come.txt}]")
    assert await policy.follow()
    write(file.parent / "to-come.txt", "a.test\n")
    assert not await policy.follow()
    assert rules_of(policy) == ["a"]


async def test_no_two_contents_ever_have_one_number(file: Path) -> None:
    """Of several workers some judge by a generation before another one refuses it: their records name it."""
    serving, numbers = await in_force(file), list[int]()

    async def take(number: int, frames: AsyncIterator[Frame]) -> Head:
        numbers.append(number)
        head = await serving.serving.take(number, frames)
        if number == 2:
            raise ConfigError("worker 1", "no descriptor is left")
        return head

    policy = Reloads(load(file), reading(lambda: load(file)), take)
    await policy.begin()
    assert (await policy.reload()).generation == 1
    write(file, "rules: [")
    assert (await policy.reload()).generation == 1
    write(file, text("new"))
    assert await policy.reload() == ReloadOutcome(3)
    assert numbers == [1, 2, 3, 3]  # nobody judged by what could not be read


async def test_a_reload_that_is_asked_for_before_the_first_generation_stands_comes_after_it(file: Path) -> None:
    policy = Here(load(file), reading(lambda: load(file)))
    write(file, text("new"))
    reloading = asyncio.create_task(policy.reload())
    await asyncio.sleep(0)
    await policy.begin()
    assert await reloading == ReloadOutcome(2)
    assert rules_of(policy) == ["new"]


async def test_the_loop_turns_while_a_long_list_is_made_ready_at_the_start(file: Path) -> None:
    write(file.parent / "hosts.txt", "".join(f"h{number}.test\n" for number in range(20_000)))
    write(file, "rules: [{name: a, hosts_file: hosts.txt}]\n")
    turns = [0]

    async def turn() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    async def take(number: int, frames: AsyncIterator[Frame]) -> Head:
        before = turns[0]
        taken = [frame async for frame in frames]
        assert turns[0] - before >= len(taken)
        head = load_frame(taken[0])
        assert isinstance(head, Head)
        return head

    turning = asyncio.create_task(turn())
    await asyncio.sleep(0)
    await Reloads(load(file), reading(lambda: load(file)), take).begin()
    turning.cancel()


async def test_the_generation_counts_what_was_taken_and_success_tells_of_the_last(file: Path) -> None:
    policy = await in_force(file)
    told = []
    for content in (text("a"), "rules: [", text("b"), text("b")):
        write(file, content)
        outcome = await policy.reload()
        told.append((outcome.generation, policy.reload_succeeded))
    assert told == [(2, True), (2, False), (3, True), (4, True)]


async def test_warnings_are_logged_when_the_policy_is_taken(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    policy = await in_force(file.parent)
    assert "is not read" not in caplog.text
    write(file.parent / "other.yml", text("c"))
    await policy.reload()
    assert f"{file.parent}/other.yml: is not read" in caplog.text


async def test_the_gateways_own_sockets_and_addresses_are_known_to_every_generation(file: Path) -> None:
    policy = await begun(Here(load(file), reading(lambda: load(file)), frozenset({LISTENING})))
    for _ in range(2):
        addresses = policy.serving.rules.policy.addresses
        assert addresses.listening == {LISTENING}
        assert addresses.own == own_addresses()
        await policy.reload()


class SlowDisk:
    """Loads when it is let, and remembers how many loads went on at once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._running = 0
        self.most_at_once = 0
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)

    def __call__(self) -> Configuration:
        with self._lock:
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        self.begun.release()
        self.let.acquire(timeout=5)
        loaded = load(self._file)
        with self._lock:
            self._running -= 1
        return loaded


async def test_whoever_asks_while_files_are_read_gets_one_reading_more_that_begins_afterwards(file: Path) -> None:
    disk = SlowDisk(file)
    policy = await begun(Here(load(file), reading(disk)))
    first = asyncio.create_task(policy.reload())
    await asyncio.to_thread(disk.begun.acquire, timeout=30)
    others = [asyncio.create_task(policy.reload()) for _ in range(20)]
    await asyncio.sleep(0)
    for name in ("a", "b"):
        write(file, text(name))
        disk.let.release()
        if name == "a":
            await asyncio.to_thread(disk.begun.acquire, timeout=30)
    assert await asyncio.gather(first, *others) == [ReloadOutcome(2), *[ReloadOutcome(3)] * 20]
    assert disk.most_at_once == 1
    assert rules_of(policy) == ["b"]


async def test_a_fault_of_ours_is_logged_with_its_traceback_and_the_next_reload_works(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty:
        calls = 0

        def __call__(self) -> Configuration:
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("a bug in the loader")
            return load(file)

    policy = await begun(Here(load(file), reading(Faulty())))
    outcome = await policy.reload()
    assert outcome == ReloadOutcome(1, ("internal error: the log has its traceback",))
    assert "RuntimeError: a bug in the loader" in caplog.text
    assert not policy.reload_succeeded
    assert await policy.reload() == ReloadOutcome(2)


async def test_settings_and_users_are_read_again_with_the_policy(tmp_path: Path) -> None:
    write(tmp_path / "policy.yaml", text("x"))
    gateway = write(tmp_path / "gateway.yaml", "timeouts: {head: 3s}\n")

    def read() -> Configuration:
        return load_configuration(Sources(gateway), {})

    policy = await begun(Here(read(), reading(read)))
    assert policy.serving.rules.policy.timeouts.head == 3.0
    assert [type(source) for source in policy.serving.identifier.sources] == [CertificateNames]
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    write(tmp_path / "users", f"ci:{hashed}\n")
    write(gateway, "timeouts: {head: 4s}\nidentity: {basic: {htpasswd: users}}\naddresses: {allow: [10.0.0.0/8]}\n")
    await policy.reload()
    assert policy.serving.rules.policy.timeouts.head == 4.0
    assert [type(source) for source in policy.serving.identifier.sources] == [CertificateNames, PasswordFile]
    assert [str(network) for network in policy.serving.rules.policy.addresses.allow] == ["10.0.0.0/8"]
    assert {tmp_path / "users", gateway, tmp_path / "policy.yaml"} <= set(policy.files)


async def test_keys_of_tokens_stay_known_when_a_user_comes_while_their_issuer_does_not_answer(tmp_path: Path) -> None:
    issuer = TokenIssuer()
    keys, users = tmp_path / "keys.json", tmp_path / "users"
    keys.write_bytes(issuer.key_set())
    write(tmp_path / "policy.yaml", text("x"))
    write(users, f"ci:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    token = f"{{issuer: '{ISSUER}', jwks: keys.json}}"
    gateway = write(tmp_path / "gateway.yaml", f"identity: {{basic: {{htpasswd: users}}, token: {token}}}\n")

    def read() -> Configuration:
        return load_configuration(Sources(gateway), {})

    async def account() -> str | None:
        head = RequestHead("CONNECT", "x.test:443", 1, (("proxy-authorization", f"Bearer {issuer.token()}"),), 0)
        return (await policy.serving.identifier.identify(Address(4, 0x0A000001), head, None)).service_account

    policy = await begun(Here(read(), reading(read)))
    assert await account() == "api"
    keys.unlink()
    users.write_text("")
    former = policy.serving.identifier
    await policy.reload()
    assert policy.serving.identifier is not former
    assert await account() == "api"
    write(gateway, gateway.read_text().replace("keys.json", "others.json"))
    await policy.reload()
    with pytest.raises(InternalError, match="token_unverifiable"):
        await account()


async def test_what_only_a_start_can_take_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "policy.yaml", text("x"))
    gateway = write(tmp_path / "gateway.yaml", "")

    def read() -> Configuration:
        return load_configuration(Sources(gateway), {})

    policy = await begun(Here(read(), reading(read)))
    write(gateway, "listeners: [{bind: '127.0.0.1:1'}]\ndrain: {timeout: 1s}\n")
    await policy.reload()
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["listeners changed: it takes effect at the next start"]
    assert policy.settings.drain.timeout == 1.0


async def test_a_fault_that_every_further_try_finds_again_is_not_told_by_each(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    policy = await in_force(file)

    def told() -> bool:
        errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
        caplog.clear()
        return bool(errors) and errors[-1] == "reload failed: policy generation 1 stays in force"

    write(file, "rules: [")
    assert await policy.follow()
    assert told()
    assert await policy.try_again()
    assert not told()
    assert (await policy.reload()).problems  # somebody asks
    assert told()
    write(file, "rule: []")
    assert await policy.try_again()  # something else is wrong
    assert told()
    policy._tell_again_at = 0.0  # a while later
    assert await policy.try_again()
    assert told()


async def test_a_listener_whose_certificate_has_expired_is_named_whenever_it_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients see why it is of no use; nobody else would tell."""
    write(tmp_path / "policy.yaml", text("x"))
    cert, key = Authority("any").leaf(dns=["gw.test"], valid=(-9 * DAY, -DAY)).write(tmp_path, "old")
    listener = f"{{name: secure, bind: '127.0.0.1:0', tls: {{cert: {cert}, key: {key}}}}}"
    gateway = write(tmp_path / "gateway.yaml", f"listeners: [{listener}]\n")

    def read() -> Configuration:
        return load_configuration(Sources(gateway), {})

    policy = await begun(Here(read(), reading(read)))
    await policy.reload()
    assert caplog.messages == ["listener secure: its certificate has expired"] * 2


async def test_a_rule_that_ended_since_it_was_read_is_not_said_to_have_a_certificate(
    file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + DAY.total_seconds()))
    write(file, f"rules: [{{name: x, hosts: [x.test], expires: {tomorrow}}}]")
    first = load(file)
    assert list(first.head.expiries) == ["rule policy.yaml#x"]
    later = time.time() + 9 * DAY.total_seconds()
    monkeypatch.setattr(time, "time", lambda: later)
    await begun(Here(first, reading(lambda: load(file))))
    assert caplog.messages == []
