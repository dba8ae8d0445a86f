"""Processes that must not outlive whoever started them."""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends. Closed channels do not do: a process that
    hangs, or waits for something else, looks at none, and a parent that was killed cannot end it any more."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
