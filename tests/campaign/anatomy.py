"""A body that can be drawn on any grid: what is read of it can be compared in the world, whatever the file was like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SHAPE = (44, 38, 30)
SPACING_MM = (5.0, 6.0, 8.0)
BONE_HU = 700.0
BONE_MM = np.array([40.0, -25.0, 45.0])  # off all axes of symmetry
BONE_RADIUS_MM = 22.0
LUNG_MM = np.array([-40.0, 10.0, -60.0])


def grid(codes: str = "RAS", oblique_deg: float = 0.0, shear: float = 0.0) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and RAS+ affine of a grid around the world's origin, its axes along `codes`.

    Args:
        codes: such as "LPS".
        oblique_deg: turned about the first world axis.
        shear: millimetres along the second world axis for each along the third.
    """
    places = ["RL".find(c) if c in "RL" else "AP".find(c) if c in "AP" else "SI".find(c) for c in codes]
    axes = [0 if c in "RL" else 1 if c in "AP" else 2 for c in codes]
    columns = np.zeros((3, 3))
    for voxel_axis, (world_axis, flipped) in enumerate(zip(axes, places, strict=True)):
        columns[world_axis, voxel_axis] = SPACING_MM[world_axis] * (-1 if flipped else 1)
    angle = np.deg2rad(oblique_deg)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    slant = np.eye(3)
    slant[1, 2] = shear
    affine = np.eye(4)
    affine[:3, :3] = slant @ turn @ columns
    x, y, z = (SHAPE[axis] for axis in axes)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array([x, y, z]) - 1) / 2)
    return (x, y, z), affine


def draw(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """(X, Y, Z) int16 HU on a grid."""
    x, y, z = world_of(shape, affine)
    hu = np.full(tuple(shape), -1000.0)
    texture = 12 * np.sin(x / 7) * np.cos(y / 9) * np.sin(z / 11)
    inside = (x / 85) ** 2 + (y / 80) ** 2 < 1
    hu[inside] = (40 + texture)[inside]
    hu[inside & ((x / 85) ** 2 + (y / 80) ** 2 > 0.8)] = -90  # fat below the skin
    hu[_ball(x, y, z, LUNG_MM, 30)] = -850
    hu[_ball(x, y, z, BONE_MM, BONE_RADIUS_MM)] = BONE_HU
    return hu.round().astype(np.int16)


def world_of(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """(3, X, Y, Z) world millimetres of every voxel centre."""
    indices = np.indices(tuple(shape)).reshape(3, -1)
    return (affine[:3, :3] @ indices + affine[:3, 3:]).reshape(3, *shape)


def bone_centre_mm(image: np.ndarray, affine: np.ndarray, threshold: float) -> np.ndarray:
    """(3,) where the bone of an image lies in the world; NaN where there is none."""
    bone = image > threshold
    return world_of(image.shape, affine)[:, bone].mean(axis=1) if bone.any() else np.full(3, np.nan)


def _ball(x: np.ndarray, y: np.ndarray, z: np.ndarray, centre_mm: np.ndarray, radius_mm: float) -> np.ndarray:
    return (x - centre_mm[0]) ** 2 + (y - centre_mm[1]) ** 2 + (z - centre_mm[2]) ** 2 < radius_mm**2
