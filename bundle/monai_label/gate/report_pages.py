"""The report of the last round, as pages of the server."""

from __future__ import annotations

from fastapi import HTTPException
from fastapi.responses import FileResponse
from monailabel.interfaces.utils.app import app_instance

INDEX = "index.html"
# Pages of other origins may run any script of ours that they can name, and a case's file is a script that tells it all.
HEADERS = {"Cross-Origin-Resource-Policy": "same-origin", "X-Content-Type-Options": "nosniff"}


def page(path: str) -> FileResponse:
    """A file of the report's folder.

    Raises:
        HTTPException: 404, there is none of this name, or no report yet.
    """
    folder = app_instance().training.work.report.resolve()
    file = (folder / (path or INDEX)).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        raise HTTPException(404, "there is no such page: a report is there after the first training")
    return FileResponse(file, headers=HEADERS)
