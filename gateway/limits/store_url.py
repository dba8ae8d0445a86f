"""The URL of the store that gateways share.

redis://user:password@host:6379/0                     rediss:// with TLS
redis+sentinel://user:password@one:26379,two:26379/NAME/0
redis+cluster://user:password@one:6379,two:6379       rediss+... with TLS
"""

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

USUAL_PORTS = {"redis": 6379, "sentinel": 26379, "cluster": 6379}
OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
CHECKS = ("none", "optional", "required")
"""What `ssl_cert_reqs` may be."""


class StoreUrl(NamedTuple):
    """A store's URL in its parts. `form` is `redis`, `sentinel` or `cluster`; `service` is the master's name there."""

    form: str
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None
    database: int
    service: str
    options: dict[str, str]


def parse_store_url(url: str) -> StoreUrl:
    """The parts of a URL as above. Raises ValueError for any other; its message quotes nothing of it."""
    try:
        parts = urlsplit(url)
    except ValueError:  # it quotes what stands before the host
        raise ValueError("not a redis URL") from None
    scheme, _, form = parts.scheme.partition("+")
    form = form or "redis"
    if scheme not in ("redis", "rediss") or form not in USUAL_PORTS:
        raise ValueError("not a redis URL")
    if "#" in url:  # the host would be another one: what stands before it
        raise ValueError("a redis URL has no #; in a password it is written %23")
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    path = [segment for segment in parts.path.split("/") if segment]
    service = path.pop(0) if form == "sentinel" and path else ""
    if form == "sentinel" and not service:
        raise ValueError("a Sentinel URL names its master: redis+sentinel://host/NAME")
    database = path.pop(0) if path else "0"
    if not database.isdecimal() or path:
        raise ValueError("the path of a redis URL is a database's number")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not options.keys() <= set(OPTIONS):
        raise ValueError(f"a redis URL has no other options than {', '.join(OPTIONS)}")
    if options.get("ssl_cert_reqs", "required") not in CHECKS:
        raise ValueError(f"ssl_cert_reqs in a redis URL is one of {', '.join(CHECKS)}")
    if options and scheme != "rediss":
        raise ValueError("a redis URL with options for TLS begins with rediss")
    return StoreUrl(
        form=form,
        tls=scheme == "rediss",
        hosts=tuple(_host(text, USUAL_PORTS[form]) for text in hosts.split(",")),
        username=unquote(username) or None,
        password=unquote(password) or None,
        database=int(database),
        service=service,
        options=options,
    )


def _host(text: str, usual_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(usual_port)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError("a host of a redis URL is NAME or NAME:PORT")
    return host, int(port)
