"""Errors: the class says whose side it is, the reason says what happened. Foreign exceptions are translated into these
where they enter; status codes are known to `wire.replies` alone."""

from gateway.model.decision import Deny
from gateway.model.limits.limit import Retry
from gateway.model.reasons import Reason


class GatewayError(Exception):
    """Ends one connection's walk. `detail` is for the operator's record, never for the client."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class DownstreamError(GatewayError):
    """The client broke the protocol, went away or was too slow."""


class Refused(GatewayError):
    """Policy said no. A denial is a value until it is raised as this. `retry` tells when policy may say yes."""

    def __init__(self, denial: Deny, retry: Retry | None = None) -> None:
        super().__init__(denial.reason, denial.detail)
        self.denial = denial
        self.retry = retry


class RefusedUnasked(Refused):
    """Policy said no to a client that knows of no proxy: it is never asked for credentials."""


class UpstreamError(GatewayError):
    """The destination could not be resolved, reached or trusted. `rcode` is that of the DNS response, if there was one;
    `retry` tells when it may be tried again."""

    def __init__(self, reason: Reason, detail: str = "", rcode: str | None = None, retry: Retry | None = None) -> None:
        super().__init__(reason, detail)
        self.rcode = rcode
        self.retry = retry


class InternalError(GatewayError):
    """Our fault, our state (draining), or our patience with two sides that are both silent."""


class ConfigError(Exception):
    """A file cannot be taken. `path` is `FILE:LINE: key.path`, as far as that is known."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class Malformed(ValueError):
    """Bytes or text that no further input can make valid. Each parser raises its own subclass; `serve` translates.

    `detail` says what is wrong and where, and quotes nothing of the input.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
