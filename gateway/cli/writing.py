"""Writes files that others may be reading."""

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from secrets import token_hex

from gateway.model.errors import ConfigError


def write_whole(path: Path, content: bytes, mode: int | None = None) -> None:
    """Completely or not at all, with its permissions from the first byte on: `mode`, else those of the file that it
    replaces, else what is usual. A link stays, and what it leads to is replaced. Raises `ConfigError` that names the
    file."""
    place = path.resolve()
    fresh = place.with_name(f".{place.name}.{token_hex(4)}")
    try:
        if mode is None and place.exists():
            mode = place.stat().st_mode & 0o777
        with open(fresh, "xb", opener=partial(os.open, mode=0o666 if mode is None else mode)) as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)  # whatever the umask is
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(place)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):  # it is in its place, or was never made
            fresh.unlink()
