"""Start a MONAI Label server with the app; runs in the environment that `make monai-label` sets up."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bundle.monai_label.gate.rules import allowed_origins
from bundle.pipeline.configs import BUNDLE_ROOT
from scripts.common.errors import BundleError

HOST = "127.0.0.1"
SERVER = "bundle.monai_label.gate.server:server"
MAIN = "from bundle.monai_label.app import OneShotApp  # noqa: F401\n"
# torchvision's wheel may be built for CUDA while torch is not: then it lacks two operators that it declares on import.
CUSTOM = '''"""Lets a torchvision built for CUDA be imported beside a torch that is not."""
import sys

if "monailabel" in " ".join(sys.orig_argv):
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


def launch(studies: Path, app: Path, port: int, settings: Mapping[str, str]) -> None:
    """Write the app's folder and become the server; ends with the server.

    Args:
        studies: folder of volumes (NIfTI).
        app: the app's folder; what its trainings leave lies in `APP/work`.
        port: on 127.0.0.1.
        settings: the app's (`--conf`).

    Raises:
        BundleError: no such folder, MONAI Label is not installed in this Python, or an origin that is none.
    """
    allowed_origins(settings.get("allow_origin", ""))
    if not studies.is_dir():
        raise BundleError("the folder of studies is missing", stage="MONAI Label", file=studies, expected="a folder")
    if importlib.util.find_spec("monailabel") is None:
        raise BundleError(
            "MONAI Label is not installed here",
            stage="MONAI Label",
            expected="in the source repository `make monai-label STUDIES=DIR`, which sets up an environment of its own",
            found=sys.executable,
        )
    app.mkdir(parents=True, exist_ok=True)
    (app / "main.py").write_text(MAIN, encoding="utf-8")
    (app / "sitecustomize.py").write_text(CUSTOM, encoding="utf-8")
    paths = [str(app.absolute()), str(BUNDLE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    conf = [part for key, value in settings.items() for part in ("--conf", key, value)]
    place = ["--app", str(app.absolute()), "--studies", str(studies.absolute()), "--host", HOST, "--port", str(port)]
    place += ["--uvicorn_app", SERVER]
    print(f"MONAI Label: http://{HOST}:{port} (in 3D Slicer: module MONAI Label, put this address into Server)")
    command = [sys.executable, "-m", "monailabel.main", "start_server", *place, *conf]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "MONAI_LABEL_SESSION_PATH": str(app.absolute() / "sessions")}
    surroundings = {**os.environ, **environment}
    if os.name == "nt":  # there `execve` comes back at once, and the server runs on behind the shell
        sys.exit(subprocess.call(command, env=surroundings))
    os.execve(sys.executable, command, surroundings)
