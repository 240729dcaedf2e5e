"""Label maps on the image's own grid."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from ignite.engine import Engine, Events
from monai.utils import CommonKeys, convert_data_type

from scripts.common.affines import voxel_ml
from scripts.common.case_stage import CASES, advance
from scripts.common.errors import BundleError
from scripts.common.failures import blamed
from scripts.common.files import open_nifti, write_nifti
from scripts.common.made_of import write_record
from scripts.common.work_folder import LabelFolder
from scripts.data.volume_io import Volume, case_id
from scripts.segmentation.label_map_record import LabelMapRecord
from scripts.segmentation.plausibility import body_of, label_map_warnings, label_volumes_ml, outside_shares

logger = logging.getLogger(__name__)


class SaveLabelMaps:
    """Ignite handler: writes each post-processed prediction as uint8 NIfTI with the image's affine, bit for bit.

    A handler and no transform, because MONAI Label runs the transforms of this bundle and writes files itself. An
    implausible label map is logged and its record says why, under `warnings`.

    Args:
        output_dir: receives `ID.nii.gz`.
        classes: name -> label value, for what is said of them.
        made_of: case -> fingerprint of all that its label map depends on, for a record `ID.json` beside it, written
            last; None keeps no record.
    """

    def __init__(
        self,
        output_dir: str | Path,
        classes: Mapping[str, int],
        made_of: Mapping[str, str] | None = None,
    ) -> None:
        self.labels, self.made_of = LabelFolder(Path(output_dir)), dict(made_of or {})
        self.names = {value: name for name, value in classes.items()}

    def attach(self, engine: Engine) -> None:
        """Register on an evaluator that decollates and inverts its predictions."""
        engine.add_event_handler(Events.EPOCH_STARTED, _tell)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        batch, outputs = cast(list[Any], engine.state.batch), cast(list[Any], engine.state.output)
        for item, output in zip(batch, outputs, strict=True):
            source = Path(item[CommonKeys.IMAGE].meta["filename_or_obj"])
            case = item.get("case") or case_id(source)
            with blamed("inference", case):
                image = item[CommonKeys.IMAGE]
                self.save(case, output[CommonKeys.PRED], source, body_of(image, np.asarray(image.affine)))
        _tell(engine)

    def save(self, case: str, prediction: Any, source: Path, body: Volume) -> Path:
        """Write (1, X, Y, Z) label values for the image file `source`, which shows the body of a mask.

        Raises:
            BundleError: the prediction is not on the image's grid.
        """
        image = open_nifti(source)
        array, *_ = convert_data_type(prediction, np.ndarray)
        if array.shape[1:] != image.shape[:3]:
            raise BundleError(
                "the prediction is not on the image's grid",
                case=case,
                stage="inference",
                file=source,
                expected=image.shape[:3],
                found=array.shape[1:],
            )
        path, labels = self.labels.label(case), array[0].astype(np.uint8)
        write_nifti(path, labels, image.affine, like=image)
        volume_ml = label_volumes_ml(labels, voxel_ml(image.affine))
        body_ml = int(body.array.sum()) * voxel_ml(body.affine)
        outside = outside_shares(volume_ml, labels, image.affine, body)
        warnings = label_map_warnings(volume_ml, body_ml, self.names, outside)
        if case in self.made_of:
            content = LabelMapRecord(case, tuple(warnings), volume_ml).to_json()
            write_record(self.labels.record(case), content, self.made_of[case], [path])
        for sentence in warnings:
            logger.warning("%s: %s", case, sentence)
        logger.info("%s: wrote %s", case, path)
        return path


def _tell(engine: Engine) -> None:
    """Say how many volumes are done."""
    if engine.state.epoch_length:
        advance(CASES, engine.state.iteration, engine.state.epoch_length)
