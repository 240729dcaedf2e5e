"""The scanner: field of view and grid, the table, blur and noise."""

from __future__ import annotations

import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bundle.datasets.phantom.torso import CAVITY_HALF_DEPTH_MM, CAVITY_HALF_WIDTH_MM, WALL_MM, Layer, Mm, View
from scripts.common.affines import spacing_of

# Orientation of the voxel axes and rotation of the grid (degrees about x), by seed modulo the length.
GRIDS: tuple[tuple[str, float], ...] = (
    ("LAS", 0.0),
    ("LPS", 0.0),
    ("LAS", 0.0),
    ("RAS", 0.0),
    ("LAS", 4.0),
    ("LPS", 0.0),
)
IN_VIEW_MM = (-140.0, 92.0)  # z of the torso frame that every field of view contains: the four organs of the demo


def draw_view(seed: int, size: np.ndarray, fat_mm: float, spacing_mm: Mm | None, rng: np.random.Generator) -> View:
    """Field of view: the whole body in plane; along z the demo's organs and a random part of chest and pelvis.

    Args:
        seed: chooses one of `GRIDS`.
        size: (3,) patient / torso frame.
        fat_mm: below the skin.
        spacing_mm: along the array's axes; drawn if None.
        rng: draws everything else.
    """
    in_plane_mm = rng.uniform(2.1, 2.6)
    drawn_mm = np.array([in_plane_mm, in_plane_mm, rng.uniform(2.8, 4.8)])
    below_mm, above_mm = rng.uniform(8.0, 110.0), rng.uniform(8.0, 60.0)
    margin_mm = rng.uniform(12.0, 22.0, 2)
    low_mm, high_mm = IN_VIEW_MM
    spare_mm = max(16.0, 88 * drawn_mm[2] - (high_mm - low_mm) * size[2])
    shrink = min(1.0, spare_mm / (below_mm + above_mm))
    below_mm, above_mm = below_mm * shrink, above_mm * shrink
    wall_mm = WALL_MM + fat_mm
    extent_mm = np.array(
        [
            2 * ((CAVITY_HALF_WIDTH_MM + wall_mm) * size[0] + margin_mm[0]),
            2 * ((CAVITY_HALF_DEPTH_MM + wall_mm) * size[1] + margin_mm[1]),
            (high_mm - low_mm) * size[2] + below_mm + above_mm,
        ]
    )
    spacing = drawn_mm if spacing_mm is None else np.asarray(spacing_mm, dtype=float)
    x, y, z = (int(count) for count in np.ceil(extent_mm / spacing))
    centre_mm = np.array([0.0, 0.0, (low_mm * size[2] - below_mm + high_mm * size[2] + above_mm) / 2])

    orientation, oblique_deg = GRIDS[seed % len(GRIDS)]
    ras_to_array = axcodes2ornt(tuple(orientation))
    rotation = Rotation.from_euler("x", oblique_deg, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation @ inv_ornt_aff(ras_to_array, (x, y, z))[:3, :3] @ np.diag(spacing)
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.array((x, y, z)) - 1) / 2)
    return View((x, y, z), affine, extent_mm)


def world_to_torso(size: np.ndarray, tilt: Rotation, rng: np.random.Generator) -> np.ndarray:
    """(4, 4) world mm -> torso frame: the patient's position on the table, tilt and size undone."""
    to_torso = np.eye(4)
    to_torso[:3, :3] = np.diag(1 / size) @ tilt.inv().as_matrix()
    to_torso[:3, 3] = -to_torso[:3, :3] @ rng.uniform((-8, -6, 0), (8, 6, 0))
    return to_torso


def table(view: View, hu: np.ndarray, fat_mm: float, size: np.ndarray) -> Layer:
    """A thin curved shell under the patient: a structure outside the body, with a constant cross-section."""
    low_mm = -(CAVITY_HALF_DEPTH_MM + WALL_MM + fat_mm) * size[1]
    i, j, _ = (np.arange(count) for count in view.shape)
    x_mm = view.affine[0, 0] * i[:, None] + view.affine[0, 3]
    y_mm = view.affine[1, 1] * j + view.affine[1, 3]
    height_mm = y_mm - (low_mm - 9 + 0.0011 * x_mm**2)
    return Layer(((np.abs(height_mm) < 2.2)[:, :, None]) & (hu < -900), -250.0)


def scan(hu: np.ndarray, view: View, rng: np.random.Generator) -> np.ndarray:
    """int16 HU: blurred by the scanner's point spread, with noise that is correlated in plane."""
    sharp_mm = rng.uniform(1.0, 1.5)
    blurred = ndimage.gaussian_filter(hu, sharp_mm / np.array(spacing_of(view.affine)), truncate=3.0)
    noise_hu = rng.uniform(9.0, 20.0)
    noise = ndimage.gaussian_filter(rng.standard_normal(view.shape, dtype=np.float32), (0.7, 0.7, 0.3), truncate=3.0)
    return np.rint(blurred + noise * (noise_hu / noise.std())).clip(-1024, 3071).astype(np.int16)
