"""What grows from the strokes of one study: seen before anything is trained."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import SimpleITK as sitk
from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from bundle.monai_label.commands import run_command
from bundle.monai_label.strokes import Strokes, read_strokes, remember
from bundle.monai_label.submissions import classes_option
from bundle.pipeline import link_images
from scripts.errors import BundleError
from scripts.files import write_nifti
from scripts.region import region_file
from scripts.volume_io import case_id, read_labels


class GrownRegion(InferTask):
    """Strokes of one study in, its organs out: the region that training would start from.

    Args:
        folder: keeps a study's cache between two looks.
        conf: the app's settings.
    """

    def __init__(self, folder: Path, conf: Mapping[str, str]) -> None:
        super().__init__(InferType.SCRIBBLES, [], 3, "What grows from your strokes on this study; nothing is trained")
        self.folder, self.conf = folder, conf
        self._alone = Lock()

    def is_valid(self) -> bool:
        """Always."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Grow the region; file on the study's own grid, and the names of its values.

        Raises:
            HTTPException: strokes are missing, or do not fit the study; of MONAI Label's own exceptions a client would
                learn nothing.
        """
        study = Path(request["image"])
        folder = self.folder / case_id(study)
        try:
            with self._alone:
                strokes = read_strokes(request, folder)
                region = self._grow(request, study, strokes, folder)
                remember(strokes, folder)
                return self._answer(request, strokes, region)
        except BundleError as error:
            raise HTTPException(400, str(error)) from error

    def _grow(self, request: Mapping[str, Any], study: Path, strokes: Strokes, folder: Path) -> Path:
        case = case_id(study)
        options = {
            "images": link_images({case: study}, folder / "images"),
            "support": study,
            "scribbles": strokes.file,
            "classes": classes_option(strokes.classes),
            "background": strokes.background,
            "output": folder / "run",
        }
        run_command("region", options, self.conf, request)
        return region_file(folder / "run", case)

    def _answer(self, request: Mapping[str, Any], strokes: Strokes, region: Path) -> tuple[str, dict[str, Any]]:
        names = {strokes.wanted: 1} if strokes.wanted else strokes.classes
        with tempfile.NamedTemporaryFile(suffix=".nii.gz", delete=False) as file:
            target = Path(file.name)
        if strokes.wanted:
            label = read_labels(region)
            write_nifti(target, (label.array == strokes.classes[strokes.wanted]).astype(np.uint8), label.affine)
        else:
            shutil.copyfile(region, target)
        return str(_as_asked(target, request.get("result_extension"))), {"label_names": names}


def _as_asked(file: Path, suffix: str | None) -> Path:
    """The label map in the format that the client reads: 3D Slicer wants NRRD."""
    if suffix in (None, "", ".nii.gz"):
        return file
    converted = file.with_name(file.name.removesuffix(".nii.gz") + suffix)
    sitk.WriteImage(sitk.ReadImage(str(file)), str(converted), useCompression=True)
    file.unlink()
    return converted
