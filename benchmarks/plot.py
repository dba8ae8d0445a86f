"""Bar charts as SVG: one chart per figure, one bar per proxy; too simple to need a library."""

from collections.abc import Mapping
from html import escape

_WIDTH, _LABEL, _BAR, _GAP, _TOP = 720, 110, 22, 8, 46
_OWN, _PEER = "#2563eb", "#9ca3af"


def bars(title: str, unit: str, values: Mapping[str, float], own: str) -> str:
    """An SVG document. Shorter is better; `own` is the bar that stands out. Zero and negative values have no length."""
    largest = max(values.values(), default=0.0) or 1.0
    room = _WIDTH - _LABEL - 90
    height = _TOP + len(values) * (_BAR + _GAP) + _GAP
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="26" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    for index, (name, value) in enumerate(sorted(values.items(), key=lambda each: each[1])):
        y = _TOP + index * (_BAR + _GAP)
        length = max(0.0, value / largest) * room
        colour = _OWN if name == own else _PEER
        lines += [
            f'<text x="{_LABEL - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>',
            f'<text x="{_LABEL + length + 6:.1f}" y="{y + 16}">{value:.3g} {escape(unit)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
