"""Finds what must not be said in whatever a program wrote: as it is, in Base64 wherever it begins, in hexadecimal,
with escapes of URLs, of JSON and of Python, and inside what is packed."""

import base64
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, unquote_to_bytes


def forms_of(value: str) -> frozenset[bytes]:
    """How it could stand in text. Of Base64 only what does not depend on its neighbours."""
    raw = value.encode()
    written = {
        value,
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        json.dumps(value)[1:-1],
        repr(value)[1:-1],
    }
    texts = written | {text.replace("%", "%25") for text in written} | {raw.hex(), raw.hex().upper()}
    texts.add(unquote(value))  # of what is searched without its escapes, too
    found = {text.encode() for text in texts}
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            padded = encode(bytes(before) + raw)
            first = -(-before * 8 // 6)  # characters that hold bits of what stands before
            last = (before + len(raw)) * 8 // 6
            found.add(padded[first:last])
    return frozenset(found)


class Search:
    """For several values, by names that may be told."""

    def __init__(self, values: Mapping[str, str]) -> None:
        assert all(len(value) >= 12 for value in values.values()), "what is short stands anywhere by chance"
        self._forms = {name: forms_of(value) for name, value in values.items()}

    def told_in(self, content: bytes) -> Iterator[str]:
        """Names of those that are in there, packed or not."""
        clear = [content, _unpacked(content)]
        contents = [*clear, *map(unquote_to_bytes, clear)]  # whichever characters were escaped
        for name, forms in self._forms.items():
            if any(form in each for form in forms for each in contents):
                yield name

    def told_below(self, folder: Path, but: Iterable[Path]) -> Iterator[tuple[str, str]]:
        """The same for every file, with its name; and for the names of the files."""
        inputs = {path.resolve() for path in but}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.resolve() not in inputs:
                yield from ((str(path.relative_to(folder)), name) for name in self.told_in(path.read_bytes()))
            yield from (("a file's name", name) for name in self.told_in(path.name.encode()))


def _unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return b""
