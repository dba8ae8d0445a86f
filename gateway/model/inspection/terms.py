"""What the deciding rule says about requests: which of them may pass, what is changed, what is recorded."""

from dataclasses import dataclass, field
from typing import NamedTuple
from typing import Protocol as Role

from gateway.model.reasons import Reason


class Asked(NamedTuple):
    """What a request is judged by. `path` is the target without its query, as it was sent; `media_types` are the values
    of Content-Type; `length` is that of the content, None where only its end will tell. `overrides_*`: it is forwarded
    with a header that some origins take for the method, or the path."""

    method: str
    path: str
    has_content: bool = False
    media_types: tuple[str, ...] = ()
    length: int | None = 0
    overrides_method: bool = False
    overrides_path: bool = False


class Allowed(NamedTuple):
    """The request may pass, with at most `max_body` bytes of content; None for any number."""

    max_body: int | None = None


class NotAllowed(NamedTuple):
    """Why it may not. `detail` is for the operator."""

    reason: Reason
    detail: str


class RequestScreen(Role):
    """Judges requests for one rule; made by `policy`, asked once for each request."""

    def judge(self, asked: Asked) -> Allowed | NotAllowed:
        """Whether it may pass, as far as its head tells."""
        ...


class SecretName(NamedTuple):
    """`${secret:name}` in a header's value."""

    name: str


class HeaderValue(NamedTuple):
    """A header that is set: its name as it is sent, and what its value is put together from."""

    name: str
    parts: tuple[str | SecretName, ...]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets in it."""
        return tuple([part.name for part in self.parts if isinstance(part, SecretName)])


_HYPHENS = str.maketrans(dict.fromkeys("!#$%&'*+.^_`|~", "-"))  # what a name may have beside letters, digits, hyphens


@dataclass(frozen=True, slots=True)
class Inspection:
    """`requests` None: all may pass. `remove` and `log_headers` are names in their `comparable_name` form, and so are
    the `replaced` ones, under which nothing of the client's is forwarded. `secrets` are the names of all that a request
    is given, each once; `inspectors` are the names of those that look at the exchange. `upstream_ca` are CA
    certificates, as PEM, in place of the system's trust store; `client_certificate` is the name of the one in
    gateway.yaml that is presented to the destination."""

    requests: RequestScreen | None = None
    set: tuple[HeaderValue, ...] = ()
    remove: frozenset[str] = frozenset()
    log_headers: tuple[str, ...] = ()
    log_query: bool = False
    upstream_ca: str | None = None
    inspectors: tuple[str, ...] = ()
    client_certificate: str | None = None
    secrets: tuple[str, ...] = field(init=False, compare=False)
    replaced: frozenset[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        secrets = dict.fromkeys(name for value in self.set for name in value.secrets)
        object.__setattr__(self, "secrets", tuple(secrets))
        object.__setattr__(self, "replaced", self.remove | {comparable_name(value.name) for value in self.set})


def comparable_name(name: str) -> str:
    """A header's name as names are compared: `X_Api_Key` is `x-api-key`, because CGI, WSGI and the like read both as
    `HTTP_X_API_KEY` (RFC 3875 section 4.1.18), and a client's spelling must not stand beside ours. `X.Api.Key` is too:
    lighttpd makes `_` of whatever is no letter or digit, PHP of dots."""
    return name.lower().translate(_HYPHENS)
