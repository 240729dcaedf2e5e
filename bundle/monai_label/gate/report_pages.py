"""The report of the last round, as pages of the server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from html import escape

from fastapi import HTTPException
from fastapi.responses import FileResponse, HTMLResponse, Response
from monailabel.interfaces.utils.app import app_instance

from scripts.common.errors import BundleError

INDEX = "index.html"
HEADER_ENDS = "</header>"
HERE = (
    "Correct a study's label in 3D Slicer or OHIF, submit it and press Train. What this page says of buttons, lists "
    "and commands is for runs from the command line: here they change nothing."
)
# Pages of other origins may run any script of ours that they can name, and a case's file is a script that tells it all.
HEADERS = {"Cross-Origin-Resource-Policy": "same-origin", "X-Content-Type-Options": "nosniff"}


def page(path: str) -> Response:
    """A file of the report's folder; the first page says what to do here, and of which studies it tells a former image.

    It needs no studies: while they cannot be listed, it is sent without that.

    Raises:
        HTTPException: 404, there is none of this name, or no report yet.
    """
    training = app_instance().training
    folder = training.work.report.resolve()
    file = (folder / (path or INDEX)).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        raise HTTPException(404, "there is no such page: a report is there once a training has ended without an error")
    if file.name != INDEX:
        return FileResponse(file, headers=HEADERS)
    former: list[str] = []
    with suppress(BundleError):
        former = training.handed.former()
    return HTMLResponse(with_notes(file.read_text(encoding="utf-8"), former), headers=HEADERS)


def with_notes(page: str, former: Sequence[str]) -> str:
    """A report's page with what to do here at its top.

    Args:
        page: its HTML.
        former: studies that were replaced or removed since, which is told.
    """
    notes = f"<p>{escape(HERE, quote=False)}</p>\n"
    if former:
        names = escape(", ".join(former))
        told = f"Replaced or removed since this report was made: {names}. What it tells of them is of the image before."
        notes += f'<p class="warning">{told}</p>\n'
    return page.replace(HEADER_ENDS, f"{notes}{HEADER_ENDS}", 1)
