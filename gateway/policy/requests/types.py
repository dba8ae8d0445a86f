"""The media types of Content-Type (RFC 9110 section 8.3). There should be one; from a list some recipients take the
first and some the last, so all of them count."""

import re
from collections.abc import Iterable

_QUOTED_WELL = re.compile(r'(?:[^"]|"(?:[^"\\]|\\.)*+")*+')
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+")++')


def media_types(values: Iterable[str]) -> list[str]:
    """The types in order, in lower case and without parameters; empty ones stay. `values` has one for each line."""
    return [_bare(each) for value in values for each in _elements(value)]


def _elements(value: str) -> list[str]:
    """A comma within quotes does not separate, provided that every quote ends."""
    if "," not in value:
        return [value]
    if '"' not in value or _QUOTED_WELL.fullmatch(value) is None:
        return value.split(",")
    return _ELEMENT.findall(value)


def _bare(element: str) -> str:
    return element.partition(";")[0].strip(" \t").lower()
