"""The server: of MONAI Label's endpoints those that viewers use, each behind what its requests may hold."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware import Middleware
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from monailabel.config import settings
from monailabel.endpoints import activelearning, datastore, infer, info, logs, ohif, session, train
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import device_list
from starlette.exceptions import HTTPException

from bundle.console import quieten_libraries
from bundle.monai_label.gate import ohif_config, proxy, report_pages, trainings
from bundle.monai_label.gate.needs import (
    a_format,
    a_label,
    a_new_study,
    a_page,
    a_session,
    a_study,
    a_tag,
    a_task,
    an_image,
)
from bundle.monai_label.gate.offers import Offer
from bundle.monai_label.gate.origins import JSON_LIMIT_BYTES, LOOPBACK_ORIGIN, Gate, too_large
from bundle.monai_label.gate.rules import CLIENT, LABEL, TRAINING, allowed_origins, as_json, inference_rules, nested
from bundle.monai_label.names import DICOMWEB, TRAINED
from bundle.monai_label.ready import ready_line
from scripts.common.errors import BundleError
from scripts.data.volume_io import read_labels, read_volume

A_TRAINER, A_STRATEGY, A_MODEL = a_task("trainers"), a_task("strategies", "strategy"), a_task("models")
STATUS, IMAGE = ("all", "check_if_running"), ("image", "session_id", "output")
STUDY_UPLOAD: dict[str, Any] = {"fields": {"params": as_json(CLIENT)}, "files": {"file": read_volume}}
LABEL_UPLOAD: dict[str, Any] = {"fields": {"params": as_json(LABEL)}, "files": {"label": read_labels}}
INFERENCE: dict[str, Any] = {
    "fields": {"params": as_json(inference_rules(device_list()))},
    "files": {"file": read_volume, "label": read_labels},
}

# All that is offered. The rest of MONAI Label writes what a client names, fetches what it names, or is used by nobody.
OFFERS = (
    Offer("GET", "/info/", info.api_app_info),
    Offer("GET", "/logs/", logs.api_get_logs, ("lines", "html", "text", "refresh")),
    Offer("GET", "/report/{path:path}", report_pages.page),
    Offer("GET", "/ohif/app-config.js", ohif_config.app_config),
    Offer("GET", "/ohif/{path:path}", ohif.api_get_ohif, None, (a_page,)),
    Offer("POST", "/activelearning/{strategy}", activelearning.api_sample, (), (A_STRATEGY,), body=CLIENT),
    Offer("GET", "/train/", trainings.status, STATUS),
    Offer("POST", "/train/", trainings.start_all, body={**TRAINING, TRAINED: nested(TRAINING)}),
    Offer("POST", "/train/{model}", trainings.start, ("enqueue",), (A_TRAINER,), body=TRAINING),
    Offer("DELETE", "/train/", train.api_stop),
    Offer("POST", "/infer/{model}", infer.api_run_inference, IMAGE, (A_MODEL, an_image, a_format), **INFERENCE),
    Offer("GET", "/datastore/", datastore.api_datastore, ("output",)),
    Offer("PUT", "/datastore/", datastore.api_add_image, ("image",), (a_new_study,), **STUDY_UPLOAD),
    Offer("PUT", "/datastore/image", datastore.api_add_image, ("image",), (a_new_study,), **STUDY_UPLOAD),
    Offer("DELETE", "/datastore/", datastore.api_remove_image, ("id",), (a_study("id"),)),
    Offer("DELETE", "/datastore/image", datastore.api_remove_image, ("id",), (a_study("id"),)),
    Offer("HEAD", "/datastore/image", datastore.api_check_image, ("image",), (a_study(),)),
    Offer("GET", "/datastore/image", datastore.api_download_image, ("image",), (a_study(),)),
    Offer("GET", "/datastore/image/info", datastore.api_get_image_info, ("image",), (a_study(),)),
    Offer("PUT", "/datastore/label", datastore.api_save_label, ("image", "tag"), (a_study(), a_tag), **LABEL_UPLOAD),
    Offer("DELETE", "/datastore/label", datastore.api_remove_label, ("id", "tag"), (a_label("id"),)),
    Offer("HEAD", "/datastore/label", datastore.api_check_label, ("image", "tag"), (a_label("image"),)),
    Offer("GET", "/datastore/label", datastore.api_download_label, ("label", "tag"), (a_label(),)),
    Offer("GET", "/datastore/label/info", datastore.api_get_label_info, ("label", "tag"), (a_label(),)),
    Offer("PUT", "/session/", session.api_create_session, ("expiry",), fields=CLIENT, files={"files": read_volume}),
    Offer("GET", "/session/{session_id}", session.api_get_session, ("update_ts",), (a_session,)),
    Offer("DELETE", "/session/{session_id}", session.api_remove_session, (), (a_session,)),
)

# For OHIF, where the studies lie on a DICOMweb server; to that server alone.
PROXY = (
    Offer("GET", "/proxy/dicom/{kind}/{path:path}", proxy.pass_on, None, (proxy.a_search_or_object,)),
    Offer("POST", "/proxy/dicom/{kind}/{path:path}", proxy.store, (), (proxy.a_store,), raw=True),
)


def make_server(conf: Mapping[str, str], studies: str) -> Gate:
    """The server behind its gate.

    Args:
        conf: the app's settings: "allow_origin" and "upload_limit_gib".
        studies: a folder, or the address of a DICOMweb server.
    """
    origins = allowed_origins(conf.get("allow_origin", ""))
    limit_bytes = int(float(conf.get("upload_limit_gib", "2")) * 2**30)
    cors: dict[str, Any] = {"allow_origins": origins, "allow_origin_regex": LOOPBACK_ORIGIN, "allow_headers": ["*"]}
    app = FastAPI(
        title="One-shot segmentation of CT or MR",
        docs_url="/",
        redoc_url=None,
        lifespan=_lifespan,
        max_body_size=limit_bytes,
        middleware=[Middleware(CORSMiddleware, **cors, allow_methods=["*"])],
    )
    for offer in (*OFFERS, *(PROXY if studies.startswith(DICOMWEB) else ())):
        app.add_api_route(
            offer.path,
            offer.endpoint,
            methods=[offer.method],
            dependencies=[Depends(offer.judge)],
            max_body_size=limit_bytes if offer.files or offer.raw else JSON_LIMIT_BYTES,
        )

    @app.exception_handler(BundleError)
    async def refused(request: Request, error: BundleError) -> JSONResponse:
        return _sentence(400, str(error))

    @app.exception_handler(MONAILabelException)
    async def not_done(request: Request, error: MONAILabelException) -> JSONResponse:
        return _sentence(400, error.msg)

    @app.exception_handler(RequestValidationError)
    async def not_fitting(request: Request, error: RequestValidationError) -> JSONResponse:
        return _sentence(422, "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 413:
            return too_large(limit_bytes)
        offered = error.detail not in ("Not Found", "Method Not Allowed")
        return _sentence(
            error.status_code,
            error.detail if offered else f"this server does not offer {request.method} {request.url.path}",
        )

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return _sentence(500, "the server could not do this; its log says why")

    return Gate(app, origins, limit_bytes)


def _sentence(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"detail": sentence}, status)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """As MONAI Label's own."""
    instance = app_instance()
    instance.server_mode(True)
    logging.getLogger("timeloop").addFilter(lambda record: record.levelno >= logging.WARNING)  # it sets its own level
    quieten_libraries()
    instance.on_init_complete()
    instance.masks.worker.start()
    print(ready_line(instance, settings.MONAI_LABEL_SERVER_PORT), flush=True)
    yield


server = make_server(settings.MONAI_LABEL_APP_CONF, settings.MONAI_LABEL_STUDIES)
