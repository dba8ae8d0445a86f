"""What something costs, whatever else goes on."""

import time
from collections.abc import Callable
from timeit import repeat


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this process, for doing it once: the least of a few times. No collection of garbage falls into it, which among
    all that other tests left would take longer than what is looked at."""
    return min(repeat(work, number=1, repeat=3, timer=time.process_time))
