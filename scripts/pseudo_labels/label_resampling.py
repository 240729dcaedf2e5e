"""From distances, and class probabilities, to a label map on the case's own grid."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np

from scripts.common.affines import between_grids
from scripts.common.label_channels import UNDECIDED
from scripts.common.sampling import onto_grid
from scripts.pseudo_labels.class_decision import decided_by_class
from scripts.pseudo_labels.class_probabilities import ClassProbabilities
from scripts.pseudo_labels.geodesic_labels import largest_parts, nearest_class
from scripts.pseudo_labels.settings import GeodesicSettings

RAS = np.array([[0, 1], [1, 1], [2, 1]])


def label_on_grid(
    distances: np.ndarray,
    working_affine: np.ndarray,
    shape: Sequence[int],
    affine: np.ndarray,
    settings: GeodesicSettings,
    probabilities: ClassProbabilities | None = None,
) -> np.ndarray:
    """Channels on the grid of `shape` and `affine` from canonical distances, made finer linearly.

    Args:
        distances: (K + 1, X, Y, Z) up to the truncation, background first.
        working_affine: (4, 4) of their grid, whose axes are parallel to the other's.
        shape: of the case's own grid, in any order of axes.
        affine: (4, 4) of that.
        settings: `largest_component`, `least_expected_share`, `undecided_margin` and `truncation` count.
        probabilities: by which each class's mask is judged, see `decided_by_class`; None leaves it as it grew.

    Returns:
        uint8 of `shape`, `UNDECIDED` where two classes are nearly as near.
    """
    orientation = nib.io_orientation(affine)
    canonical_affine = affine @ nib.orientations.inv_ornt_aff(orientation, shape)
    canonical_shape = tuple(int(shape[axis]) for axis in np.argsort(orientation[:, 0]))
    to_working = between_grids(canonical_affine, working_affine)
    finer = (onto_grid(distance, to_working, canonical_shape, order=1, parallel=True) for distance in distances)
    label, nearest, second = nearest_class(finer)
    if settings.largest_component:
        label = largest_parts(label)
    if probabilities is not None and settings.least_expected_share:
        label = decided_by_class(label, canonical_affine, probabilities, settings.least_expected_share)
        label = largest_parts(label) if settings.largest_component else label
    if settings.undecided_margin:
        close = second - nearest < settings.undecided_margin * settings.truncation
        label[close & (nearest < settings.truncation)] = UNDECIDED
    back = nib.orientations.ornt_transform(RAS, orientation)
    return np.ascontiguousarray(nib.apply_orientation(label, back))
