"""The support mask that grows from the strokes of one study, shown before anything is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from bundle.datasets.links import link_only
from bundle.monai_label.answers import answer_file
from bundle.monai_label.commands import command_line
from bundle.monai_label.drawn_on import look_file
from bundle.monai_label.masks.worker import MaskWorker
from bundle.monai_label.strokes import Strokes, read_strokes, remember, within_roi
from bundle.monai_label.submissions import classes_option
from scripts.common.errors import BundleError
from scripts.common.files import open_nifti
from scripts.common.work_folder import WorkFolder
from scripts.data.volume_io import case_id, find_volumes, read_labels


class SupportMaskTask(InferTask):
    """Strokes of one study in, its organs out: the support mask that training would start from.

    Args:
        folder: keeps a study's cache between two looks.
        conf: the app's settings.
    """

    def __init__(self, folder: Path, conf: Mapping[str, str]) -> None:
        super().__init__(InferType.SCRIBBLES, [], 3, "What grows from your strokes on this study; nothing is trained")
        self.folder, self.conf, self.worker = folder, conf, MaskWorker()
        self._alone = Lock()

    def is_valid(self) -> bool:
        """Always."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Grow the mask; file on the study's own grid, and the names of its values.

        What is drawn on a study of the datastore ("study" in the request) is remembered.

        Raises:
            HTTPException: strokes are missing, or do not fit the study; of MONAI Label's own exceptions a client would
                learn nothing.
        """
        study, image = request.get("study"), Path(request["image"])
        try:
            with self._alone, tempfile.TemporaryDirectory() as elsewhere:
                folder = self.folder / study if study else Path(elsewhere)
                strokes = read_strokes(request, folder, image)
                mask = self._grow(request, study or case_id(image), image, strokes, folder)
                if study:
                    remember(strokes, look_file(folder, image))
                return self._response(request, strokes, mask)
        except BundleError as error:
            raise HTTPException(400, str(error)) from error

    def _grow(self, request: Mapping[str, Any], case: str, image: Path, strokes: Strokes, folder: Path) -> Path:
        images, work = link_only({case: image}, folder / "images"), WorkFolder(folder / "run")
        options = {
            "images": images,
            "support": find_volumes(images)[case],
            "scribbles": strokes.file,
            "classes": classes_option(strokes.classes),
            "background": strokes.background,
            "output": work.path,
        }
        self.worker.grow(command_line("support-mask", options, self.conf, {"device": request.get("device", "")}))
        return work.support_mask.label(case)

    def _response(self, request: Mapping[str, Any], strokes: Strokes, mask: Path) -> tuple[str, dict[str, Any]]:
        names = {strokes.selected: 1} if strokes.selected else strokes.classes
        label = read_labels(mask)
        organs = within_roi(label.array, request.get("roi"))
        if strokes.selected:
            organs = organs == strokes.classes[strokes.selected]
        file = answer_file(organs, label.affine, request.get("result_extension"), like=open_nifti(mask))
        return file, {"label_names": names}
