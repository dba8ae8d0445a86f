"""The process that reads the files for a reload, so that the serving process only has to take over the result.

    python -m gateway.app.generation.child CONFIG POLICY      (each may be empty)

Standard output carries messages: a kind (1 byte), a size (4 bytes, big-endian) and so many bytes. `F` is a frame, `P`
the problems as a JSON list of lines; `E` ends a complete generation.
"""

import contextlib
import gc
import json
import os
import sys
from pathlib import Path
from typing import BinaryIO

from gateway.app.configuration import Sources, load_configuration
from gateway.app.generation.frames import contents_of, dump
from gateway.net.kernel.parents import die_with_parent
from gateway.settings.problems import ConfigErrors

FRAME, PROBLEMS, END = b"F", b"P", b"E"
NICENESS = 5


def main(arguments: list[str], output: BinaryIO) -> None:
    """Read, check and send."""
    config, policy = (Path(each) if each else None for each in arguments)
    try:
        read = load_configuration(Sources(config, policy), os.environ)
    except ConfigErrors as refusal:
        _send(output, PROBLEMS, json.dumps([str(problem) for problem in refusal.problems]).encode())
        return
    for content in contents_of(read):
        _send(output, FRAME, dump(content))
    _send(output, END, b"")


def _send(output: BinaryIO, kind: bytes, payload: bytes) -> None:
    output.write(kind + len(payload).to_bytes(4, "big") + payload)
    output.flush()


def _stand_back() -> None:
    """Give way to the serving process, in CPU and in memory: when memory runs out, this process is killed first."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # never preempts a process that serves
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    die_with_parent()
    _stand_back()
    gc.disable()  # this process makes millions of objects, drops none of them and ends
    try:
        main(sys.argv[1:], sys.stdout.buffer)
    except BrokenPipeError:  # the gateway was killed before this process could ask to die with it
        os._exit(1)
