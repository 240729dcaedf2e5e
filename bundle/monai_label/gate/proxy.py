"""What OHIF asks of the DICOMweb server that was named at the start: nothing else, of no other server."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pydicom
import requests
from fastapi import HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance

from bundle.monai_label.gate.parts import EXPECTED, PartFiles
from bundle.monai_label.gate.rules import refusal
from bundle.monai_label.studies.dicomweb import referenced_series
from bundle.monai_label.studies.pacs import one_server_session
from scripts.data.reading.dicom_headers import SEGMENTATIONS

UID = r"[0-9.]{1,64}"
SEARCH = rf"studies|series|instances|studies/{UID}/(series|instances)|studies/{UID}/series/{UID}/instances"
BULK = r"/bulk(data)?(/[0-9A-Fa-f]{1,8}){1,20}"
FRAMES = r"/frames/[0-9]{1,6}(,[0-9]{1,6}){0,99}(/rendered|/thumbnail)?"
OBJECT = rf"studies/{UID}(/series/{UID}(/instances/{UID})?)?(/metadata|/rendered|/thumbnail|{FRAMES}|{BULK})?"
KINDS = ("qido", "wado")
STORE = rf"studies(/{UID})?"
STORE_KINDS = ("wado", "stow")
PARAMETER, LONGEST_VALUE = r"[A-Za-z0-9.]{1,64}", 1024
IMAGES = "image/(jpeg|png|gif|jp2|jls|jph|jpx|dicom-rle)"  # no SVG, which may hold scripts
CONTENT = re.compile(rf"(application/(dicom|dicom\+json|json|octet-stream)|multipart/related|{IMAGES})\b")
PIECE_BYTES = 1 << 16


def a_search_or_object(parameters: Mapping[str, str]) -> None:
    """The path is one of QIDO-RS or WADO-RS, and the query holds plain parameters."""
    if parameters["kind"] not in KINDS or not re.fullmatch(f"{SEARCH}|{OBJECT}", parameters["path"]):
        raise HTTPException(404, "there is no such thing on a DICOMweb server")
    for name, value in parameters.items():
        if not re.fullmatch(PARAMETER, name) or len(value) > LONGEST_VALUE or not value.isprintable():
            raise refusal("the search cannot be passed on", "parameters of QIDO-RS or WADO-RS", name)


def a_store(parameters: Mapping[str, str]) -> None:
    """The path is one of STOW-RS."""
    if parameters["kind"] not in STORE_KINDS or not re.fullmatch(STORE, parameters["path"]):
        raise HTTPException(404, "objects are stored in studies")


def pass_on(kind: str, path: str, request: Request) -> Response:
    """The answer of the DICOMweb server; where it points to another place nobody follows.

    Raises:
        HTTPException: it does not answer, or with what no DICOMweb server answers.
    """
    try:
        answer = one_server_session().get(
            f"{settings.MONAI_LABEL_STUDIES.rstrip('/')}/{path}",
            params=request.query_params.multi_items(),
            headers={"Accept": request.headers.get("accept", "*/*")},
            stream=True,
        )
    except requests.RequestException as error:
        raise HTTPException(502, "the DICOMweb server does not answer") from error
    kept = answer.headers.get("content-type", "")
    if answer.status_code >= 300 or (answer.status_code != 204 and not CONTENT.match(kept)):
        answer.close()
        refused = 400 <= answer.status_code < 500
        raise HTTPException(answer.status_code if refused else 502, f"the DICOMweb server said {answer.status_code}")
    safe = {"content-type": kept, "x-content-type-options": "nosniff"} if kept else {}
    return StreamingResponse(_pieces(answer), answer.status_code, headers=safe)


async def store(kind: str, path: str, request: Request) -> Response:
    """Store segmentations of the server's series: the form in which OHIF hands in strokes and corrected organs.

    Raises:
        BundleError: anything else, or the DICOMweb server does not take it.
    """
    content_type = request.headers.get("content-type", "")
    with tempfile.TemporaryDirectory() as folder, closing(PartFiles(Path(folder), content_type)) as parts:
        async for piece in request.stream():
            await run_in_threadpool(parts.write, piece)
        return await run_in_threadpool(_store, parts.finish())


def _store(files: Sequence[Path]) -> Response:
    datastore = app_instance().datastore()
    known = set(datastore.list_images())
    for file in files:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
        except Exception as error:  # the readers raise anything on what is no DICOM
            raise refusal("this is no DICOM", EXPECTED, type(error).__name__) from error
        if header.get("SOPClassUID") not in SEGMENTATIONS:
            raise refusal("objects of this kind are not taken", "segmentations (SEG)", str(header.get("SOPClassUID")))
        if referenced_series(header) not in known:
            raise refusal("the segmentation is of no series of the server", "one of its series", "another")
    for file in files:
        datastore.pacs.store(file)
    return JSONResponse({}, media_type="application/dicom+json")


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    with answer:
        yield from answer.iter_content(PIECE_BYTES)
