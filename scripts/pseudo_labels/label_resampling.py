"""From distances on the working grid to a label map on the case's own."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from scipy import ndimage

from scripts.pseudo_labels.geodesic_labels import largest_parts, nearest_class
from scripts.pseudo_labels.settings import GeodesicSettings

UNDECIDED = 255  # value of voxels that two classes claim almost equally


RAS = np.array([[0, 1], [1, 1], [2, 1]])


def label_on_grid(
    distances: np.ndarray,
    working_affine: np.ndarray,
    shape: Sequence[int],
    affine: np.ndarray,
    settings: GeodesicSettings,
) -> np.ndarray:
    """Index map on the grid of `shape` and `affine` from (K + 1, X, Y, Z) canonical distances, made finer linearly.

    Undecided voxels get `UNDECIDED`.
    """
    orientation = nib.io_orientation(affine)
    canonical_affine = affine @ nib.orientations.inv_ornt_aff(orientation, shape)
    canonical_shape = tuple(int(shape[axis]) for axis in np.argsort(orientation[:, 0]))
    to_working = np.linalg.inv(working_affine) @ canonical_affine
    finer = (_sampled(distance, to_working, canonical_shape) for distance in distances)
    label, nearest, second = nearest_class(finer)
    if settings.largest_component:
        label = largest_parts(label)
    close = second - nearest < settings.undecided_margin * settings.truncation
    label[close & (nearest < settings.truncation)] = UNDECIDED
    back = nib.orientations.ornt_transform(RAS, orientation)
    return np.ascontiguousarray(nib.apply_orientation(label, back))


def _sampled(distance: np.ndarray, to_distance: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation on a grid with parallel axes; (4, 4) `to_distance` maps its voxels to those of the map."""
    if distance.shape == shape and np.allclose(to_distance, np.eye(4), atol=1e-6):
        return distance
    scale, offset = np.diag(to_distance)[:3], to_distance[:3, 3]
    return ndimage.affine_transform(distance, scale, offset, output_shape=shape, order=1, mode="nearest")
