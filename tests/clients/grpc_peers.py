"""gRPC on both ends, without generated code: messages are bytes.

python grpc_peers.py server CERTIFICATE KEY                    prints its port, ends with its standard input
python grpc_peers.py client TARGET PROXY_URL CA_FILE           prints what became of each call, as JSON
"""

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # it has none

SERVICE = "tests.Echo"
LARGE = "m" * 6000
MEBIBYTE = bytes(1024 * 1024)

cancelled: list[str] = []


def unary(message: bytes, context: Any) -> bytes:
    """Itself; metadata come back, too."""
    said = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-large", said.get("x-large", "")),))
    context.set_trailing_metadata((("x-bytes-bin", b"\x00\xff"), ("x-length", str(len(message)))))
    return message


def down(message: bytes, context: Any) -> Iterator[bytes]:
    for number in range(5):
        yield message + str(number).encode()


def up(messages: Iterator[bytes], context: Any) -> bytes:
    return b"|".join(messages)


def both(messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
    yield from messages


def slow(message: bytes, context: Any) -> bytes:
    """Until the caller is gone."""
    deadline = time.monotonic() + 20
    while context.is_active() and time.monotonic() < deadline:
        time.sleep(0.02)
    cancelled.append("slow")
    return b""


def count(message: bytes, context: Any) -> bytes:
    return str(len(cancelled)).encode()


def serve(certificate: str, key: str) -> None:
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
        "Count": grpc.unary_unary_rpc_method_handler(count),
        "Denied": grpc.unary_unary_rpc_method_handler(unary),
    }
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    pair = Path(key).read_bytes(), Path(certificate).read_bytes()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


def _outcome(call: Any) -> dict[str, Any]:
    try:
        return {"code": "OK", "said": call()}
    except grpc.RpcError as error:
        return {"code": error.code().name, "said": error.details()}


def ask(target: str, proxy: str, ca_file: str) -> dict[str, Any]:
    credentials = grpc.ssl_channel_credentials(Path(ca_file).read_bytes())
    options = [("grpc.http_proxy", proxy), ("grpc.max_receive_message_length", 64 * 1024 * 1024)]
    with grpc.secure_channel(target, credentials, options) as channel:

        def path(method: str) -> str:
            return f"/{SERVICE}/{method}"

        def simple(message: bytes) -> str:
            return str(channel.unary_unary(path("Unary"))(message, timeout=20).decode())

        def metadata() -> list[Any]:
            call = channel.unary_unary(path("Unary")).with_call(b"x", timeout=20, metadata=[("x-large", LARGE)])[1]
            trailing = dict(call.trailing_metadata())
            return [len(dict(call.initial_metadata())["x-large"]), trailing["x-length"], trailing["x-bytes-bin"].hex()]

        def cancel() -> str:
            call = channel.unary_unary(path("Slow")).future(b"", timeout=20)
            time.sleep(0.3)
            call.cancel()
            return str(call.code().name)

        def counted(wanted: int) -> int:
            deadline = time.monotonic() + 20
            while (found := int(channel.unary_unary(path("Count"))(b"", timeout=20))) < wanted:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            return found

        return {
            "unary": _outcome(lambda: simple(b"hello")),
            "down": _outcome(lambda: [m.decode() for m in channel.unary_stream(path("Down"))(b"d", timeout=20)]),
            "up": _outcome(lambda: channel.stream_unary(path("Up"))(iter([b"a", b"b", b"c"]), timeout=20).decode()),
            "both": _outcome(
                lambda: [m.decode() for m in channel.stream_stream(path("Both"))(iter([b"1", b"2"]), timeout=20)]
            ),
            "large": _outcome(lambda: len(channel.unary_unary(path("Unary"))(3 * MEBIBYTE, timeout=60))),
            "metadata": _outcome(metadata),
            "deadline": _outcome(lambda: channel.unary_unary(path("Slow"))(b"", timeout=0.5).decode()),
            "cancelled": _outcome(cancel),
            "seen": _outcome(lambda: counted(2)),
            "denied": _outcome(lambda: channel.unary_unary(path("Denied"))(b"secret", timeout=20).decode()),
        }


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "server":
        serve(*arguments)
    else:
        print(json.dumps(ask(*arguments)))
