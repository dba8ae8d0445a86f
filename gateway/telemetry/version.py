"""The version of this program, as metrics and traces name it."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache  # reading it leaves cycles to the collector
def own_version() -> str:
    """`unknown` in a checkout that is not installed."""
    try:
        return version("egress-gateway")
    except PackageNotFoundError:
        return "unknown"
