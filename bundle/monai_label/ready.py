"""The last line of the start: that the server is ready, what it serves, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundle.monai_label.names import DICOMWEB, OUTSIDE

if TYPE_CHECKING:
    from bundle.monai_label.app import OneShotApp


def ready_line(app: OneShotApp, port: int) -> str:
    """For whoever started the server."""
    count = len(app.datastore().list_images())
    return ready_sentence(app.studies, count, port, app.training.left_over())


def ready_sentence(studies: str, count: int, port: int, left: str | None) -> str:
    """In one line.

    Args:
        studies: a folder, or the address of a DICOMweb server.
        count: of them.
        port: on 127.0.0.1.
        left: what an earlier training left, in a sentence.
    """
    address = f"http://127.0.0.1:{port}"
    viewers = f"In 3D Slicer open the module MONAI Label and enter {address}"
    if studies.startswith(DICOMWEB):
        viewers += f", or open {address}/ohif/ in a browser"
    number = "1 study" if count == 1 else f"{count} studies"
    draw = f'draw strokes in each organ, and outside all of them in a segment "{OUTSIDE}"; submit; press Train'
    return " ".join(filter(None, [f"Ready: {number} of {studies}. {viewers}; {draw}.", left]))
