"""The support mask: the support's whole organs, grown from its own strokes by geodesic distance (mode `default`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.common.case_stage import CaseStage
from scripts.common.errors import BundleError
from scripts.common.files import open_nifti, sha256_of_file
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import Cohort
from scripts.data.scribbles import ScribblePoints, read_scribble_points
from scripts.data.volume_io import Volume
from scripts.points.propagated_points import points_at_home
from scripts.pseudo_labels.label_case import PseudoLabel, WorkingVolume, label_case
from scripts.pseudo_labels.settings import GeodesicSettings
from scripts.pseudo_labels.stage import geodesic_image, working_volume, write_label

STAGE = "support_mask"


def grow_support_mask(
    image: Volume,
    scribbles: ScribblePoints,
    shape: Sequence[int],
    affine: np.ndarray,
    classes: Mapping[str, int],
    settings: GeodesicSettings,
    working: WorkingVolume | None = None,
    device: torch.device | str = "cpu",
) -> PseudoLabel:
    """The support's organs from its scribbled voxels.

    Args:
        image: (X, Y, Z) in [0, 1], canonical, on the grid that distances are computed on.
        scribbles: of the support, best all of its scribbled voxels.
        shape: of the support's own grid.
        affine: (4, 4) of that.
        classes: name -> label value.
        settings: see `GeodesicSettings`; there are no class probabilities.
        working: see `label_case`.
        device: where the distances are computed.
    """
    # Rounded as a record holds them: a coarser grid has places half way between its voxels.
    points = points_at_home(scribbles, image.affine, image.array.shape).rounded()
    return label_case(image, points, shape, affine, classes, settings, working, device=device)


class SupportMaskStage(CaseStage):
    """Grows the support mask, on the support's own grid, into `support_mask/` of the work directory.

    The user may look at it, correct a copy and hand that in instead.

    Args:
        cohort: with support, scribbles and classes.
        output_dir: the work directory.
        settings: see `GeodesicSettings`.
        device: where the distances are computed.

    Raises:
        BundleError: no scribbles in the cohort.
    """

    name = "support mask"

    def __init__(
        self,
        cohort: Cohort,
        output_dir: str | Path,
        settings: GeodesicSettings,
        device: torch.device | str = "cpu",
    ) -> None:
        if cohort.scribbles is None or cohort.support is None:
            problem = "a support mask needs a support with scribbles"
            raise BundleError(problem, stage=STAGE, file=cohort.output_dir)
        self.cohort, self.settings, self.device = cohort, settings, torch.device(device)
        self.support, self.scribbles = cohort.support, cohort.scribbles
        self.labels = WorkFolder(Path(output_dir)).support_mask

    def cases(self) -> list[str]:
        """The support."""
        return [self.support]

    def inputs(self, case: str) -> Any:
        """Image, scribbles and settings."""
        return {
            "image": self.cohort.cases[case].sha256,
            "scribbles": sha256_of_file(self.scribbles),
            "classes": list(self.cohort.classes.items()),
            "settings": asdict(self.settings),
            "working_spacing_mm": self.cohort.spacing_mm,
        }

    def record(self, case: str) -> Path:
        """`support_mask/SUPPORT.json`."""
        return self.labels.record(case)

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """Grow and write it."""
        cohort, support = self.cohort, self.cohort.cases[case]
        mask = grow_support_mask(
            geodesic_image(cohort, support, self.settings),
            read_scribble_points(self.scribbles, cohort.classes),
            support.shape,
            open_nifti(support.image).affine,
            cohort.classes,
            self.settings,
            working_volume(cohort, support, self.settings),
            self.device,
        )
        return write_label(self.labels, support, cohort.classes, mask, self.settings)
