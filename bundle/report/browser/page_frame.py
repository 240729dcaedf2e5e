"""A page around its parts: style, scripts, and a policy that lets nothing in from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from bundle.report.browser.data_files import script_json
from bundle.report.markup import escape

HERE = Path(__file__).parent
VIEWER_FILE = HERE / "vendor" / "niivue.umd.js"
STYLE_FILE = HERE.parent / "style.css"
SCRIPT_NAMES = ("loading.js", "table.js", "csv.js", "ticks.js", "viewer.js", "start.js")
# Scripts: this page's own, by their hashes, and files beside it. Nothing else is loaded, nothing is sent.
POLICY = (
    "default-src 'none'; script-src 'self' file: {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src data: blob:; base-uri 'none'; form-action 'none'"
)


def page_frame(
    title: str, links: Mapping[str, str], data: Mapping[str, Any], parts: Iterable[str], with_viewer: bool = False
) -> Iterator[str]:
    """The page, piece by piece.

    Args:
        title: of the page.
        links: anchor -> words, for the bar at the top.
        data: what the scripts show, see `table_data`.
        parts: HTML of the page's sections.
        with_viewer: whether the viewer is part of the page, instead of a file beside it.
    """
    scripts = [VIEWER_FILE.read_text(encoding="utf-8")] if with_viewer else []
    scripts = [_guarded(text) for text in (*scripts, page_script())]
    hashes = " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in scripts)
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY.format(hashes=hashes)}"/>'
        f"{title_element(title)}\n<style>\n{STYLE_FILE.read_text(encoding='utf-8')}</style></head>\n<body>"
    )
    if links:
        shown = "".join(f'<a href="#{anchor}">{words}</a>' for anchor, words in links.items())
        yield f'<nav><div class="links">{shown}</div></nav>\n'
    yield "<main>\n"
    yield from parts
    yield f'</main>\n<script type="application/json" id="report-data">{script_json(data)}</script>\n'
    for text in scripts:
        yield f"<script>{text}</script>\n"
    yield "</body></html>\n"


def title_element(title: str) -> str:
    """By which a page of ours is known."""
    return f"<title>{escape(title)}</title>"


def page_script() -> str:
    """The page's own scripts as one, in a scope of its own."""
    parts = [(HERE / name).read_text(encoding="utf-8") for name in SCRIPT_NAMES]
    return f'(function () {{\n"use strict";\n{"".join(parts)}}})();\n'


def _guarded(script: str) -> str:
    """A script that may hold < and &, also where the page is read as XML."""
    return f"//<![CDATA[\n{script}\n//]]>"
