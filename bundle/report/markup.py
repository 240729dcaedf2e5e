"""Small pieces of HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

MISSING = "–"
MAP_WORDS = {"pseudo": "transferred label", "prediction": "final label", "truth": "true label"}


class Markup(str):
    """A string that is HTML already; plain strings are escaped where they enter the page."""


def escape(value: object) -> str:
    """Text as HTML, the characters that XML forbids removed."""
    if isinstance(value, Markup):
        return value
    text = "".join(c for c in str(value) if c in "\t\n" or c >= " ")
    return html.escape(text, quote=True)


def number(value: float | None, digits: int = 2) -> str:
    """A number with fixed digits, a dash for None."""
    return MISSING if value is None else f"{value:.{digits}f}"


def table(columns: Sequence[object], rows: Iterable[Sequence[object]], css: str = "") -> Markup:
    """A table; cells that are numbers in text form are right-aligned."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>\n" for row in rows)
    content = f"<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody>"
    return Markup(f'<div class="scroll"><table class="{css}">{content}</table></div>\n')


def _cell(value: object) -> str:
    if isinstance(value, int | float):
        return f'<td class="n">{value}</td>'
    first = str(value).lstrip("+-−")[:1]
    numeric = not isinstance(value, Markup) and (first.isdigit() or value == MISSING)
    return f'<td class="n">{escape(value)}</td>' if numeric else f"<td>{escape(value)}</td>"


def paragraph(text: object, css: str = "") -> Markup:
    """A paragraph."""
    return Markup(f'<p class="{css}">{escape(text)}</p>\n' if css else f"<p>{escape(text)}</p>\n")


def section(anchor: str, title: str, *content: str) -> Markup:
    """A section of the page that the navigation can point to."""
    return Markup(f'<section id="{anchor}"><h2>{escape(title)}</h2>\n{"".join(map(escape, content))}</section>\n')


def definition_list(items: Mapping[str, object]) -> Markup:
    """Terms with their values."""
    return Markup("<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>\n" for k, v in items.items()) + "</dl>\n")


def swatch(colour: str, name: str) -> Markup:
    """A class name with its colour."""
    return Markup(f'<span class="swatch" style="background:{colour}"></span>{escape(name)}')


def spoken(name: str) -> str:
    """A class name as words."""
    return name.replace("_", " ")


def duration(seconds: float) -> str:
    """Seconds in the two units that fit: "3 s", "2 min 05 s", "1 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
