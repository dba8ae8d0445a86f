"""The pure steps of one connection, each on its own: what is not remembered from the last time, where that matters."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import layout
from benchmarks.policy import write_policy
from gateway.model.addresses import Address
from gateway.model.authority import Authority, parse_authority
from gateway.model.client import Client
from gateway.model.decision import Deny, Permit
from gateway.model.intent import Door, Intent
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw, Now, Taken, take
from gateway.policy.decide import decide
from gateway.policy.index import Rules, build_rules
from gateway.settings.load import load_policy, load_settings
from gateway.telemetry.formats.json import encode
from gateway.telemetry.sealing import seal
from gateway.wire.client_hello import parse_client_hello
from gateway.wire.head import parse_head
from gateway.wire.http.codec import Kind, open_codec
from tests.telemetry.drafts import tunnelled

pytestmark = pytest.mark.timeout(0)  # reading 100,000 rules takes its time

HEAD = b"CONNECT api-%d.test:443 HTTP/1.1\r\nHost: api-%d.test:443\r\nUser-Agent: curl/8.5\r\n\r\n"
REQUEST = b"GET http://a.test/%d HTTP/1.1\r\nHost: a.test\r\nUser-Agent: curl/8.5\r\nAccept: */*\r\n\r\n"
MEMBER = Client(Address(4, 0x7F010101))


@pytest.fixture(scope="module", params=[10, 1_000, 100_000], ids="{} rules".format)
def rules(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rules:
    folder: Path = tmp_path_factory.mktemp("policy")
    write_policy(folder / "policy.yaml", request.param)
    (folder / "gateway.yaml").write_text("policy: policy.yaml\n")
    return build_rules(load_policy(load_settings(folder / "gateway.yaml", {})).policy, 1)


def _asks(names: Iterator[str], rules: Rules) -> Callable[[], Permit | Deny]:
    intents = itertools.cycle([Intent(Door.CONNECT, _authority(name)) for name in names])
    return lambda: decide(MEMBER, next(intents), rules, 0.0)


def _authority(text: str) -> Authority:
    authority = parse_authority(text, 443)
    assert authority is not None
    return authority


def test_decide_for_an_allowed_name(benchmark: BenchmarkFixture, rules: Rules) -> None:
    """The same again and again, as most of a day's tunnels are: the verdict is remembered."""
    names = iter([f"{layout.TARGET}:{layout.TLS_PORTS[0]}"])
    assert isinstance(benchmark(_asks(names, rules)), Permit)


def test_decide_for_a_name_that_no_rule_knows(benchmark: BenchmarkFixture, rules: Rules) -> None:
    names = (f"n{number}.nowhere.test:443" for number in range(20_000))
    assert isinstance(benchmark(_asks(names, rules)), Deny)


def test_parse_a_connect_head(benchmark: BenchmarkFixture) -> None:
    numbers = itertools.count()

    def parse() -> Any:
        number = next(numbers) % 1_000_000
        return parse_head(HEAD % (number, number))

    assert benchmark(parse).method == "CONNECT"


@pytest.mark.parametrize("kind", ["httptools", "h11"])
def test_read_a_request(benchmark: BenchmarkFixture, kind: Kind) -> None:
    numbers = itertools.count()
    codec = open_codec(kind)

    def read() -> Any:
        return codec.request_reader().receive(REQUEST % next(numbers))

    assert len(benchmark(read)) == 2


@pytest.mark.parametrize("hello", layout.HELLOS, ids=lambda path: path.stem)
def test_parse_a_client_hello(benchmark: BenchmarkFixture, hello: Path) -> None:
    data = bytearray(hello.read_bytes())
    numbers = itertools.count()

    def parse() -> Any:
        data[11:15] = next(numbers).to_bytes(4)
        return parse_client_hello(bytes(data), 65536)

    assert benchmark(parse).server_name == layout.TARGET


def test_take_of_two_buckets(benchmark: BenchmarkFixture) -> None:
    draws = [
        Draw(Limit("r.connections", Counted.CONNECTIONS, rate=1e9, burst=1e9), ("r",)),
        Draw(Limit("r.concurrent", Counted.CONCURRENT, rate=1e9), ("r",)),
    ]
    assert isinstance(benchmark(take, draws, [(0.0, 0.0), (0.0, 0.0)], Now(1.0, 1.0)), Taken)


def test_seal_and_encode_a_record(benchmark: BenchmarkFixture) -> None:
    draft = tunnelled()
    assert benchmark(lambda: encode(seal(draft, 1001.5)))
