"""From distances, and class probabilities, to a label map on the case's own grid.

A class gets one of two masks: the geodesic one, or that of the highest expected Dice. The image draws a better border
than probabilities do, so the geodesic mask may cost some expected Dice. Where it costs more it contradicts the
probabilities: its seeds were too few, or none, or it leaked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import nibabel as nib
import numpy as np

from scripts.common.affines import between_grids
from scripts.common.boxes import box_of
from scripts.common.label_channels import UNDECIDED
from scripts.common.overlap import best_mask, expected_dice
from scripts.common.sampling import onto_grid
from scripts.data.probability_maps import ClassProbabilities
from scripts.data.resampling import stored_order
from scripts.pseudo_labels.geodesic_labels import largest_parts, nearest_class
from scripts.pseudo_labels.settings import GeodesicSettings


def label_on_grid(
    distances: np.ndarray,
    working_affine: np.ndarray,
    shape: Sequence[int],
    affine: np.ndarray,
    settings: GeodesicSettings,
    probabilities: ClassProbabilities | None = None,
    with_edges: Collection[int] = (),
) -> np.ndarray:
    """Channels on the grid of `shape` and `affine` from canonical distances, made finer linearly.

    Args:
        distances: (K + 1, X, Y, Z) up to the truncation, background first.
        working_affine: (4, 4) of their grid, whose axes are parallel to the other's.
        shape: of the case's own grid, in any order of axes.
        affine: (4, 4) of that.
        settings: `largest_component`, `least_expected_share`, `undecided_margin` and `truncation` count.
        probabilities: by which each class's mask is judged, see `decided_by_class`; None leaves it as it grew.
        with_edges: see there.

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
        label = decided_by_class(label, canonical_affine, probabilities, settings.least_expected_share, with_edges)
        label = largest_parts(label) if settings.largest_component else label
    if settings.undecided_margin:
        close = second - nearest < settings.undecided_margin * settings.truncation
        label[close & (nearest < settings.truncation)] = UNDECIDED
    return stored_order(label, affine)


def decided_by_class(
    label: np.ndarray,
    affine: np.ndarray,
    probabilities: ClassProbabilities,
    least_share: float,
    with_edges: Collection[int] = (),
) -> np.ndarray:
    """Channels where a class whose geodesic mask fits its probabilities badly has its likely voxels instead.

    Where such a voxel is another class's, the more probable of both has it.

    Args:
        label: (X, Y, Z) uint8 channels: the geodesic masks.
        affine: (4, 4) of its grid, whose axes are parallel to the probabilities'.
        probabilities: of the case.
        least_share: a geodesic mask stays if its expected Dice is at least this share of the likely voxels'.
        with_edges: channels whose geodesic mask stays only if its expected Dice is no lower: the image has edges inside
            them, so that it may draw a border where there is none.
    """
    decided = label.copy()
    holder = np.zeros(label.shape, dtype=np.float32)  # the probability of the class that has a voxel
    to_probabilities = between_grids(affine, probabilities.affine)
    changed = {}
    for channel, coarse in enumerate(probabilities.array[1:].astype(np.float32), start=1):
        share = onto_grid(coarse, to_probabilities, label.shape, order=1, outside=0.0, parallel=True)
        geodesic, likely = label == channel, share >= best_mask(coarse).limit
        least = 1.0 if channel in with_edges else least_share
        if expected_dice(geodesic, share) >= least * expected_dice(likely, share):
            holder[geodesic] = share[geodesic]
            continue
        decided[geodesic] = 0
        if (box := box_of(likely)) is not None:
            changed[channel] = box, np.where(likely[box], share[box], 0)
    for channel, (box, share) in changed.items():
        taken = share > holder[box]
        decided[box][taken] = channel
        holder[box][taken] = share[taken]
    return decided
