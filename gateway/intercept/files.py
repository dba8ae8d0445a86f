"""Where the authority's certificate and key live, and what their permissions must be."""

import stat
from pathlib import Path

from gateway.intercept.authority import Authority, BadAuthority, read_authority
from gateway.model.errors import ConfigError


def load_authority(certificate: Path, key: Path, now: float) -> Authority:
    """The authority of two PEM files. Raises `ConfigError` that names the file; also for a key that everybody on the
    machine may read."""
    text = read_file(certificate)
    secret = read_key(key)
    try:
        return read_authority(text, secret, now)
    except BadAuthority as refusal:
        raise ConfigError(f"{certificate}, {key}", str(refusal)) from refusal


def read_key(path: Path) -> bytes:
    """A private key's file. Raises `ConfigError` if others than owner and group may do anything with it."""
    text = read_file(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & stat.S_IRWXO:
        problem = f"everybody may read this key (mode {mode:04o}): chmod 600, in Kubernetes `defaultMode: 0440`"
        raise ConfigError(str(path), problem)
    return text


def read_file(path: Path) -> bytes:
    """Raises `ConfigError` that says why not."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
