"""`explain --live`: what the gateway would do after its verdict, done from here, each stage with its duration.

Only with a permit: what policy denies is neither resolved nor dialled. The addresses dialled are the ones that were
screened. Foreign text, such as names in certificates, is printed without control characters.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter

import uvloop
from cryptography import x509
from rich.console import Console

from gateway.app.clock import SystemClock
from gateway.app.resolving import ResolverPlan, build_resolver
from gateway.cli.console import say
from gateway.cli.explaining.question import Unreached
from gateway.intercept.authority import UNREADABLE
from gateway.model.addresses import Address
from gateway.model.decision import Permit
from gateway.model.errors import GatewayError, Refused
from gateway.model.intent import Door, Intent, Protocol
from gateway.model.names import HostName
from gateway.net.dialer import TcpDialer
from gateway.net.dns.answers import Alias, Missing
from gateway.net.dns.cache import Resolution
from gateway.net.dns.lookup import Attempt
from gateway.net.stream import Stream
from gateway.net.tls.contexts import HTTP_1_1, HTTP_2, client_context
from gateway.net.tls.transport import TlsFailed, start_tls
from gateway.serve.deadlines import DeadlineWheel

ALPN = [HTTP_2, HTTP_1_1]
NAMES_SHOWN = 4


class Stages:
    """Prints one line a stage."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def tell(self, name: str, seconds: float, text: str, style: str = "") -> None:
        """`seconds` is what the stage took."""
        shown = "".join(character if character.isprintable() else "?" for character in text)
        say(self._console, f"  {name:<9} {seconds * 1000:9.1f} ms  {shown}", style)


def go_there(intent: Intent, permit: Permit, plan: ResolverPlan, stages: Stages) -> bool:
    """Resolve, screen, dial and show the TLS peer. False if every address was refused. Raises `Unreached`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_go(intent, permit, plan, stages))


async def _go(intent: Intent, permit: Permit, plan: ResolverPlan, stages: Stages) -> bool:
    began_at = perf_counter()
    try:
        found = await _find(permit, plan, stages)
        _screen(permit, found, stages)
        began_at = perf_counter()
        await _reach(intent, permit, found, stages)
    except Refused as refusal:
        stages.tell("dial", perf_counter() - began_at, f"refused: {refusal.detail}", "bold red")
        return False
    except GatewayError as error:
        stages.tell("failed", perf_counter() - began_at, str(error), "bold red")
        raise Unreached(f"{permit.authority} is allowed, but could not be reached: {error.reason}") from error
    return True


# ----------------------------------------------------------------------------------------------------------- addresses


async def _find(permit: Permit, plan: ResolverPlan, stages: Stages) -> tuple[Address, ...]:
    host = permit.authority.host
    if isinstance(host, Address):
        return (host,)
    attempts: list[Attempt] = []

    def witness(attempt: Attempt) -> None:
        attempts.append(attempt)
        stages.tell("dns", attempt.seconds, _question_text(attempt))

    resolver = build_resolver(plan, DeadlineWheel(asyncio.get_running_loop()), witness=witness)
    began_at = perf_counter()
    try:
        found = (await resolver.resolve(host, permit.terms.timeouts.dns)).addresses
    finally:
        resolver.close()
    if not attempts:
        stages.tell("dns", perf_counter() - began_at, f"in the hosts file: {', '.join(map(str, found))}")
    return found


def _question_text(attempt: Attempt) -> str:
    question = attempt.question
    name = question.name.to_text(omit_final_dot=True)
    return f"{question.kind.name} {name} from {attempt.server} over {attempt.over}: {_answer_text(attempt)}"


def _answer_text(attempt: Attempt) -> str:
    answer = attempt.answer
    if isinstance(answer, Missing):
        return answer.detail
    if isinstance(answer, Alias):
        return f"alias of {answer.name.to_text(omit_final_dot=True)}, ttl {answer.ttl:g} s"
    return f"{', '.join(map(str, answer.addresses))}, ttl {answer.ttl:g} s"


def _screen(permit: Permit, found: tuple[Address, ...], stages: Stages) -> None:
    for address in found:
        began_at = perf_counter()
        refusal = permit.screen(address)
        seconds = perf_counter() - began_at
        if refusal is None:
            stages.tell("screen", seconds, f"{address} may be dialled")
            continue
        by = f", by {refusal.rule}" if refusal.rule is not None else ""
        note = "" if refusal.enforced else " (report mode: dialled all the same)"
        stages.tell("screen", seconds, f"{address} refused: {refusal.detail}{by}{note}")


# ------------------------------------------------------------------------------------------------------- the connection


class _Found:
    """Fulfils `dialer.Names` for a name that was resolved before."""

    def __init__(self, found: tuple[Address, ...]) -> None:
        self._resolution = Resolution(found)

    def known(self, name: HostName) -> Resolution:
        return self._resolution

    async def resolve(self, name: HostName, within: float) -> Resolution:
        return self._resolution


async def _reach(intent: Intent, permit: Permit, found: tuple[Address, ...], stages: Stages) -> None:
    dialer = TcpDialer(_Found(found), Stream, SystemClock(), DeadlineWheel(asyncio.get_running_loop()))

    async def dial() -> Stream:
        began_at = perf_counter()
        upstream = await dialer.dial(permit)
        where = f"{upstream.dialled.address.uri_host}:{permit.authority.port}"
        stages.tell("dial", perf_counter() - began_at, f"connected to {where}")
        return upstream.stream

    if _has_tls(intent, permit):
        await _look_at_peer(permit, dial, stages)
    else:
        (await dial()).abort()


def _has_tls(intent: Intent, permit: Permit) -> bool:
    return intent.door is Door.CONNECT and permit.terms.protocol in (Protocol.TLS, Protocol.AUTO)


async def _look_at_peer(permit: Permit, dial: Callable[[], Awaitable[Stream]], stages: Stages) -> None:
    """The peer as the system's trust store judges it, or where the rule inspects, as the gateway does. An untrusted one
    is dialled once more, to show who it is."""
    inspection = permit.terms.inspection
    if inspection is None:
        judge, whose = ssl.create_default_context(), "this machine"
    else:
        judge, whose = client_context(inspection.upstream_ca, ALPN), "the gateway"
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE  # only to print what it shows
    why_not = ""
    for context in (judge, unverified):
        context.set_alpn_protocols(ALPN)
        stream, began_at = await dial(), perf_counter()
        try:
            async with asyncio.timeout(permit.terms.timeouts.tls_handshake):
                peer = await start_tls(stream, context, server_side=False, server_hostname=str(permit.authority.host))
        except (TlsFailed, TimeoutError) as error:
            if isinstance(error, TlsFailed) and error.certificate:
                why_not = error.detail
                continue
            why = str(error) or "timed out"
            stages.tell("tls", perf_counter() - began_at, f"handshake failed: {why}", "bold red")
            return
        finally:
            stream.abort()
        verdict = f"NOT trusted by {whose}: {why_not}" if why_not else f"trusted by {whose}"
        stages.tell("tls", perf_counter() - began_at, "; ".join([*_peer_facts(peer), verdict]))
        return


def _peer_facts(peer: ssl.SSLObject) -> Iterator[str]:
    yield f"{peer.version()}, alpn {peer.selected_alpn_protocol() or 'none'}"
    shown = peer.getpeercert(binary_form=True)
    if shown is None:
        return
    try:
        certificate = x509.load_der_x509_certificate(shown)
        yield f"subject {certificate.subject.rfc4514_string() or 'empty'}"
        yield f"names {_names_of(certificate)}"
        yield f"issuer {certificate.issuer.rfc4514_string()}"
        yield f"expires {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    except UNREADABLE as error:
        yield f"its certificate cannot be read ({error})"


def _names_of(certificate: x509.Certificate) -> str:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "none"
    names = [str(name.value) for name in found if isinstance(name, x509.DNSName | x509.IPAddress)]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
