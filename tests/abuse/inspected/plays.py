"""How a case of intercepted HTTP/2 is played: what is said, what the client must be told, what may arrive behind."""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.abuse.case import Stage
from tests.abuse.complaint import Complaint, escape, wrong_answer
from tests.abuse.inspected import frames
from tests.abuse.inspected.client import Conversation, NotIntercepted
from tests.abuse.inspected.origin import HOST, Seen
from tests.helpers.http_client import NotAResponse

SOME = 500
"""Frames of one kind, and requests, that a proxy may have passed on before it ended a flood. Clients that cancel calls
by the hundred are honest (a browser that leaves a page, gRPC with deadlines), so that proxies tolerate as many: this
gateway 400 resets and 100 a second, others 500. How many of those arrive depends on how fast the proxy reads."""
GOOD, BAD = "/good", "/bad"

Fields = frames.Fields
Judge = Callable[[Conversation], Sequence[Complaint]]


@dataclass(frozen=True)
class Plays:
    """Sends the preface, then `said`, in which `<port>` is not replaced: authorities are made by `get` and `post`.
    `judge` says what is wrong with what the client was told. `bad`: whether what arrived should not have."""

    said: Callable[[str], bytes]
    judge: Judge
    bad: Callable[[Seen, str], bool] = field(default=lambda seen, authority: seen.path == BAD)
    begins: bytes = frames.PREFACE + frames.settings()
    alpn: str = "h2"
    waits_for: tuple[int, ...] = ()
    stalls: bool = False

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        origin = stage.world.inspected
        authority = f"{HOST}:{origin.port}"
        origin.settled()
        requests, faults, before = len(origin.requests), len(origin.faults), origin.frames.copy()
        found = self._of_client(stage, authority)
        found += stage.world.ordinary(stage.proxy, stage.patience)
        if self.stalls:  # it is played beside others
            return found
        origin.settled()
        origin.quiet()
        arrived = origin.requests[requests:]
        found += [escape(f"{seen.path} of {seen.authority} arrived") for seen in arrived if self.bad(seen, authority)][
            :3
        ]
        found += [escape(f"what is no HTTP/2 arrived: {fault}") for fault in origin.faults[faults:]][:3]
        found += [escape(f"{len(arrived)} requests arrived")] if len(arrived) > SOME else []
        passed = {kind: count - before[kind] for kind, count in origin.frames.items()}
        return [*found, *[escape(f"{n} frames of kind {kind} arrived") for kind, n in passed.items() if n > 2 * SOME]]

    def _of_client(self, stage: Stage, authority: str) -> list[Complaint]:
        try:
            with Conversation(stage, self.alpn, bool(self.waits_for)) as client:
                client.say(self.begins + self.said(authority))
                client.hear(*self.waits_for)
                return list(self.judge(client))
        except TimeoutError:
            return [wrong_answer("neither answered nor cut off in time")]
        except (NotIntercepted, NotAResponse, ssl.SSLError, OSError) as error:
            return [wrong_answer(repr(error))]


def ends(client: Conversation) -> Sequence[Complaint]:
    """The connection is over, and nobody was answered as if all were well."""
    if not client.is_over:
        return [wrong_answer("the connection goes on")]
    return []


def refuses(client: Conversation) -> Sequence[Complaint]:
    """Stream 1 is reset or answered by a refusal, or the connection is over."""
    if client.statuses.get(1, 400) < 400:
        return [wrong_answer(f"told {client.statuses[1]}")]
    return [] if client.is_over or 1 in client.resets or 1 in client.statuses else [wrong_answer("told nothing")]


def refuses_text(client: Conversation) -> Sequence[Complaint]:
    """In HTTP/1.1: an answer that is none of HTTP/2, and no switch of protocols."""
    switched = client.text.startswith(b"HTTP/1.1 101") or frames.SETTINGS in client.text[3:4]
    return [escape("the upgrade was made")] if switched else []


def answers(count: int) -> Judge:
    """So many streams get their 200 and their end."""

    def judge(client: Conversation) -> Sequence[Complaint]:
        wrong = [n for n in range(1, 2 * count, 2) if client.statuses.get(n) != 200 or n not in client.done]
        return [wrong_answer(f"not answered: {wrong[:5]}, resets {client.resets}, {client.goaway}")] if wrong else []

    return judge


def get(to: str, at: str = BAD, /, *more: tuple[str, str], **changes: str) -> Fields:
    """The head of a GET; `changes` are pseudo-header fields by their names, empty: left out."""
    usual = {"method": "GET", "scheme": "https", "authority": to, "path": at, **changes}
    return [*[(f":{name}", value) for name, value in usual.items() if value], *more]


def post(to: str, at: str = BAD, /, *more: tuple[str, str]) -> Fields:
    return get(to, at, *more, method="POST")
