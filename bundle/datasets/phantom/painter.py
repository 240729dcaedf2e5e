"""One phantom: draw a patient, paint layer over layer, scan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from bundle.datasets.phantom.body import back_muscles, body_wall, bowel, chest, unlabelled_organs
from bundle.datasets.phantom.organs import organs, vessels, without_crumbs
from bundle.datasets.phantom.scanner import draw_view, scan, table, world_to_torso
from bundle.datasets.phantom.skeleton import pelvis, ribs, spine
from bundle.datasets.phantom.tissue import AIR_HU, draw_enhancement_hu
from bundle.datasets.phantom.torso import Layer, Mm, torso_on

TABLE_PROBABILITY = 0.6


@dataclass(frozen=True)
class Phantom:
    """A synthetic CT volume.

    Attributes:
        hu: (X, Y, Z) int16 Hounsfield units.
        label: (X, Y, Z) uint8 label map, values as in `LABELS`.
        affine: (4, 4) voxel to RAS+ world in mm.
    """

    hu: np.ndarray
    label: np.ndarray
    affine: np.ndarray


def make_phantom(seed: int, spacing_mm: Mm | None = None) -> Phantom:
    """One synthetic torso CT; the same seed and spacing give the same voxels.

    Args:
        seed: chooses the patient, the scanner's grid and the noise.
        spacing_mm: voxel spacing along the array's axes; random (2.1-2.6 mm in plane, 2.8-4.8 mm slices) if left out.
            The anatomy does not depend on it.

    Returns:
        `Phantom` of about 150 x 120 x 70 voxels, both kidneys, liver and spleen wholly in view.
    """
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.9, 1.1) * rng.uniform(0.96, 1.04, 3)  # patient / torso frame, along x, y, z
    tilt = Rotation.from_euler("xyz", rng.uniform((-3, -4, -7), (3, 4, 7)), degrees=True)
    fat_mm = rng.uniform(7.0, 24.0)
    view = draw_view(seed, size, fat_mm, spacing_mm, rng)
    torso = torso_on(view, world_to_torso(size, tilt, rng), bend_mm=rng.uniform(3.0, 5.0), rng=rng)
    enhancement_hu = draw_enhancement_hu(rng)

    hu, label = np.full(view.shape, AIR_HU, dtype=np.float32), np.zeros(view.shape, dtype=np.uint8)
    hu, label = painted(hu, label, body_wall(torso, fat_mm, rng))
    hu, label = painted(hu, label, bowel(torso, rng))
    hu, label = painted(hu, label, unlabelled_organs(torso, rng))
    hu, label = painted(hu, label, chest(torso, enhancement_hu, rng))
    hu, label = painted(hu, label, organs(torso, enhancement_hu, rng))
    hu, label = painted(hu, label, vessels(torso, label, enhancement_hu, rng))
    hu, label = painted(hu, label, back_muscles(torso, label))
    hu, label = painted(hu, label, spine(torso, rng))
    hu, label = painted(hu, label, ribs(torso, rng))
    hu, label = painted(hu, label, pelvis(torso))
    label = without_crumbs(label)
    if rng.random() < TABLE_PROBABILITY:
        hu, label = painted(hu, label, [table(view, hu, fat_mm, size)])
    return Phantom(scan(hu, view, rng), label, view.affine)


def painted(hu: np.ndarray, label: np.ndarray, layers: Iterable[Layer]) -> tuple[np.ndarray, np.ndarray]:
    """Image and label map with layers over them, later ones over earlier ones.

    Args:
        hu: (X, Y, Z) float32.
        label: (X, Y, Z) uint8.
        layers: see `Layer`.
    """
    hu, label = hu.copy(), label.copy()
    for layer in layers:
        if layer.hu is not None:
            np.copyto(hu, np.asarray(layer.hu, dtype=np.float32), where=layer.where)
        if layer.label is not None:
            label[layer.where] = layer.label
    return hu, label
