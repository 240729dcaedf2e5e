"""The support's region: its whole organs, grown from its own scribbles by geodesic distance (mode `default`)."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from scripts.common.errors import BundleError
from scripts.common.files import sha256_of_file, sha256_of_settings
from scripts.data.cached_volume import read_cached
from scripts.data.cohort import Cohort
from scripts.data.scribbles import read_scribble_points
from scripts.points.point_records import PointRecords, points_at_home
from scripts.pseudo_labels.labeller import PseudoLabeller
from scripts.pseudo_labels.settings import GeodesicSettings

FOLDER = "support_mask"


def grow_support_mask(
    cohort: Cohort,
    output_dir: str | Path,
    settings: GeodesicSettings | None = None,
    device: str | torch.device = "cpu",
) -> Path:
    """Grow the region from every scribbled voxel and return its file, a label map on the support's own grid.

    Done again only if something changed. The user may look at it, correct a copy and hand that in instead.

    Args:
        cohort: with support, scribbles and classes.
        output_dir: the work directory.
        settings: see `GeodesicSettings`.
        device: where the distances are computed.

    Raises:
        BundleError: no scribbles in the cohort.
    """
    if cohort.scribbles is None or cohort.support is None:
        raise BundleError("a region needs a support with scribbles", stage=FOLDER, file=cohort.output_dir)
    start = time.perf_counter()
    folder = Path(output_dir) / FOLDER
    points = read_scribble_points(cohort.scribbles, cohort.classes)
    records = PointRecords(cohort, folder, points, {"rule": "scribbles"})
    inputs = sha256_of_settings([sha256_of_file(cohort.scribbles), cohort.cases[cohort.support].sha256])
    if not records.up_to_date(cohort.support, inputs):
        volume = read_cached(cohort, cohort.support)
        judged = points_at_home(points, volume.affine, tuple(volume.body.shape))
        records.write(cohort.support, judged, inputs, time.perf_counter() - start)
    PseudoLabeller(cohort, folder, settings, device=device).run([cohort.support])
    return support_mask_file(output_dir, cohort.support)


def support_mask_file(output_dir: str | Path, support: str) -> Path:
    """Where the region lies in a work directory: a label map on the support's own grid."""
    return Path(output_dir) / FOLDER / "pseudo_labels" / f"{support}.nii.gz"


def support_mask_record(output_dir: str | Path, support: str) -> Path:
    """Where it says what was found when the region was grown: what necks took, how sure borders are."""
    return support_mask_file(output_dir, support).with_name(f"{support}.json")
