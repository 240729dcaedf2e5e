"""Start a MONAI Label server with the app; runs in the environment that `make monai-label` sets up."""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bundle.arguments import DEFAULT_MODE, shipped_weights
from bundle.config_check import check_overrides
from bundle.config_values import typed_overrides
from bundle.monai_label.gate.rules import STAGE, allowed_origins
from bundle.monai_label.names import DICOMWEB
from bundle.monai_label.studies.address import checked_server
from bundle.pipeline.configs import BUNDLE_ROOT
from bundle.pipeline.modes import weights_folder
from bundle.pipeline.settings import RunSettings
from scripts.common.errors import BundleError, in_short
from scripts.common.files import write_json

HOST = "127.0.0.1"
LAST_PORT = 65535
MOST_GIB = 2.0**20  # no disk holds more
SERVER = "bundle.monai_label.gate.server:server"
START = "from monailabel.main import Main; Main(loglevel='WARNING').run()"  # its own start tells forty lines first
MAIN = "from bundle.monai_label.app import OneShotApp  # noqa: F401\n"
# torchvision's wheel may be built for CUDA while torch is not: then it lacks two operators that it declares on import.
# And MONAI Label imports pydicom-seg, which does not start with pydicom 3; nothing of ours uses it.
CUSTOM = '''"""Lets MONAI Label be imported beside a torch without CUDA and a pydicom of today."""
import sys
import types

if "monailabel" in " ".join(sys.orig_argv):
    sys.modules["pydicom_seg"] = types.ModuleType("pydicom_seg")
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        sys.torchvision_library = library
'''


def run(options: argparse.Namespace) -> None:
    """The command `monai-label`."""
    settings = {"small": str(not options.full).lower(), "set": ";".join(options.set)}
    settings |= {"shipped": str(options.shipped).lower(), "upload_limit_gib": str(options.upload_limit_gib)}
    settings["allow_origin"] = ";".join(options.allow_origin)
    check_settings(options.weights, settings["set"], not options.full)
    check_limits(options.port, options.upload_limit_gib)
    if options.modality is not None:
        settings["modality"] = options.modality
    if options.weights is not None:  # commands of the server run elsewhere
        shipped = options.weights in shipped_weights()
        settings["weights"] = options.weights if shipped else str(Path(options.weights).absolute())
    launch(options.studies, options.app, options.port, settings)


def check_settings(weights: str | None, changes: str, small: bool) -> None:
    """Refuse what every Train would refuse, hours after the server said that it is ready.

    Args:
        weights: see `weights_folder`; None trains them.
        changes: "STAGE.KEY=VALUE;..."; no value can hold a semicolon.
        small: whether the configuration is the small one.

    Raises:
        BundleError: no such weights, or a setting that no stage has.
    """
    if weights is not None:
        weights_folder(weights, DEFAULT_MODE, small)
    nowhere = Path()
    overrides = typed_overrides([part for part in changes.split(";") if part])
    check_overrides(RunSettings(nowhere, nowhere, nowhere, nowhere, small=small, overrides=overrides))


def check_limits(port: int, upload_limit_gib: float) -> None:
    """Refuse a port and a limit that no server can have.

    Raises:
        BundleError: one of them is such.
    """
    if not 0 < port <= LAST_PORT:
        raise BundleError("there is no such port", stage=STAGE, expected=f"--port 1 to {LAST_PORT}", found=port)
    if not 0 < upload_limit_gib <= MOST_GIB:
        expected = f"--upload-limit-gib above 0, at most {MOST_GIB:g}"
        raise BundleError("this is no limit for uploads", stage=STAGE, expected=expected, found=upload_limit_gib)


def check_free(port: int) -> None:
    """Refuse a port that is taken: the server would say that it is ready, and then notice.

    Raises:
        BundleError: it is, or nobody may have it.
    """
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise BundleError(
            "the port cannot be had",
            stage=STAGE,
            expected="--port with another number, or an end of the server that answers there",
            found=in_short(error),
        ) from error


def launch(studies: str, app: Path, port: int, settings: Mapping[str, str]) -> None:
    """Write the app's folder and become the server; ends with the server.

    Args:
        studies: folder of volumes, or the address of a DICOMweb server.
        app: the app's folder; what its trainings leave lies in `APP/work`.
        port: on 127.0.0.1.
        settings: the app's (`--conf`).

    Raises:
        BundleError: no such folder or server, MONAI Label is not installed in this Python, a port that is taken, or an
            origin that is none.
    """
    allowed_origins(settings.get("allow_origin", ""))
    place = checked_studies(studies)
    if importlib.util.find_spec("monailabel") is None:
        raise BundleError(
            "MONAI Label is not installed here",
            stage=STAGE,
            expected="in the source repository `make monai-label STUDIES=DIR`, which sets up an environment of its own",
            found=sys.executable,
        )
    check_free(port)
    app = app.absolute()
    app.mkdir(parents=True, exist_ok=True)
    (app / "main.py").write_text(MAIN, encoding="utf-8")
    (app / "sitecustomize.py").write_text(CUSTOM, encoding="utf-8")
    write_json(app / "logging.json", log_config(app / "logs" / "app.log"))
    (app / "logs").mkdir(exist_ok=True)
    paths = [str(app), str(BUNDLE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    conf = [part for key, value in settings.items() for part in ("--conf", key, value)]
    options = ["--app", str(app), "--studies", place, "--host", HOST, "--port", str(port)]
    options += ["--uvicorn_app", SERVER, "--log_config", str(app / "logging.json"), "--log_level", "warning"]
    print("MONAI Label starts ...", flush=True)
    command = [sys.executable, "-c", START, "start_server", *options, *conf]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "MONAI_LABEL_SESSION_PATH": str(app / "sessions")}
    surroundings = {**os.environ, **environment}
    if os.name == "nt":  # there `execve` comes back at once, and the server runs on behind the shell
        sys.exit(subprocess.call(command, env=surroundings))
    os.execve(sys.executable, command, surroundings)


def checked_studies(studies: str) -> str:
    """An absolute path, or the address of a server that answers.

    Raises:
        BundleError: neither, or the bundle's own folder.
    """
    if studies.startswith(DICOMWEB):
        return checked_server(studies.rstrip("/"))
    if not studies.strip():
        raise BundleError(
            "the folder of studies is not named", stage=STAGE, expected="make monai-label STUDIES=DIR", found="nothing"
        )
    folder = Path(studies).absolute()
    if not folder.is_dir():
        raise BundleError("the folder of studies is missing", stage=STAGE, file=folder, expected="a folder")
    if folder.resolve() == BUNDLE_ROOT.resolve():
        raise BundleError(
            "the bundle's own folder holds no studies", stage=STAGE, file=folder, expected="a folder of volumes"
        )
    return str(folder)


def log_config(file: Path) -> dict[str, object]:
    """The console gets what users need: warnings, trainings, and what the server itself prints; the file gets all."""
    rotating: dict[str, object] = {"class": "logging.handlers.RotatingFileHandler", "filename": str(file)}
    rotating |= {"encoding": "utf-8", "backupCount": 10, "maxBytes": 10 << 20}
    console = {"class": "logging.StreamHandler"}
    quiet = {"level": "ERROR"}
    both = {"level": "INFO", "propagate": False, "handlers": ["plain_console", "plain_file"]}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "plain": {"format": "%(message)s"},
            "full": {"format": "[%(asctime)s] [%(process)s] [%(levelname)s] (%(name)s:%(lineno)d) - %(message)s"},
        },
        "handlers": {
            "console": {**console, "formatter": "plain", "level": "WARNING"},
            "plain_console": {**console, "formatter": "plain"},
            "file": {**rotating, "formatter": "full"},
            "plain_file": {**rotating, "formatter": "plain"},
        },
        "root": {"level": "INFO", "handlers": ["console", "file"]},
        "loggers": {"task_train": both, "urllib3.connectionpool": quiet, "pydicom": quiet},
    }
