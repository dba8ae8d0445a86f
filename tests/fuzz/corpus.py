"""The inputs that are kept: one file a target, one input a line, spelt as Python spells bytes."""

import ast
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")


def load(target: str) -> Sequence[bytes]:
    """In the order of the file."""
    lines = (FOLDER / f"{target}.txt").read_text(encoding="ascii").splitlines()
    return [ast.literal_eval(line) for line in lines if not line.startswith("#")]


def unpack(target: str, folder: Path, unless: Callable[[bytes], bool] = lambda _: False) -> None:
    """A file an input, as libFuzzer wants them; `unless` leaves some out."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in load(target):
        if not unless(data):
            (folder / sha256(data).hexdigest()[:16]).write_bytes(data)


def save(target: str, inputs: Iterable[bytes]) -> None:
    """The shortest first."""
    ordered = sorted(set(inputs), key=lambda data: (len(data), data))
    text = "".join(f"{data!r}\n" for data in ordered)
    (FOLDER / f"{target}.txt").write_text(text, encoding="ascii")
