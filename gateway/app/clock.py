"""The clock of a real process."""

import time


class SystemClock:
    """Fulfils `roles.Clock`."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
