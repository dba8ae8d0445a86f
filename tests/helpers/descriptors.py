"""A process that has no descriptor left."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.net.kernel.descriptors import lowest_free


@contextmanager
def none_left() -> Iterator[None]:
    """Those that are open stay so. A number below that was closed meanwhile would be given out again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free(), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
