"""The torso frame on a voxel grid: where everything lies.

The frame is in mm: x to the patient's right, y anterior, z superior, origin at the liver. Every structure is an
implicit function of it; a patient is the frame bent by a smooth random field, scaled, shifted and tilted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline

Mm = tuple[float, float, float]

CAVITY_HALF_WIDTH_MM, CAVITY_HALF_DEPTH_MM, CAVITY_POWER = 128.0, 88.0, 2.4
WALL_MM = 11.0  # muscle around the cavity
BEND_KNOT_MM = 75.0


@dataclass(frozen=True)
class View:
    """A voxel grid.

    Attributes:
        shape: (X, Y, Z).
        affine: (4, 4) voxel to RAS+ world in mm.
        extent_mm: (3,) that random fields are defined on, whatever the spacing.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    extent_mm: np.ndarray

    def field(self, knot_mm: float, rng: np.random.Generator) -> np.ndarray:
        """(X, Y, Z) smooth random field, mean 0, standard deviation about 1, features of about `knot_mm`."""
        counts = [max(4, round(extent / knot_mm) + 1) for extent in self.extent_mm]
        field = rng.standard_normal(counts).astype(np.float32) * 1.4
        for size, count in zip(self.shape, counts, strict=True):
            knots = np.linspace(0.0, 1.0, count)
            weights = CubicSpline(knots, np.eye(count))((np.arange(size) + 0.5) / size).astype(np.float32)
            field = np.tensordot(field, weights, axes=(0, 1))  # the axes rotate; after three turns they are back
        return field


@dataclass(frozen=True)
class Ellipsoid:
    """Centre and radii in the torso frame; `tilt_deg` turns it in the coronal plane (top towards the right side)."""

    centre_mm: Mm
    radii_mm: Mm
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Layer:
    """One structure, painted over what lies there.

    Attributes:
        where: (X, Y, Z) bool.
        hu: one value, or a volume of them; None leaves the image as it is.
        label: value in the label map; None leaves that as it is.
    """

    where: np.ndarray
    hu: float | np.ndarray | None = None
    label: int | None = None


@dataclass(frozen=True)
class Torso:
    """The torso frame of one patient, sampled on a voxel grid.

    Attributes:
        view: the grid.
        x, y, z: (X, Y, Z) float32 mm in the frame.
    """

    view: View
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray

    @cached_property
    def outside_cavity_mm(self) -> np.ndarray:
        """First-order signed distance to the wall of chest and abdomen, a superellipse that narrows upwards."""
        width = 1 - 0.0006 * np.maximum(self.z - 20, 0) - 0.03 * np.exp(-(((self.z + 105) / 45) ** 2))
        u, v = np.abs(self.x) / (CAVITY_HALF_WIDTH_MM * width), np.abs(self.y) / (CAVITY_HALF_DEPTH_MM * width)
        radius = np.maximum((u**CAVITY_POWER + v**CAVITY_POWER) ** (1 / CAVITY_POWER), 0.05)
        slope = radius ** (1 - CAVITY_POWER) * np.hypot(
            u ** (CAVITY_POWER - 1) / CAVITY_HALF_WIDTH_MM, v ** (CAVITY_POWER - 1) / CAVITY_HALF_DEPTH_MM
        )
        return (radius - 1) / np.maximum(slope, 2e-3)

    @cached_property
    def diaphragm_mm(self) -> np.ndarray:
        """Its height: a dome on each side, a lower one under the heart, all falling steeply at the ribs."""
        right = 66 - 125 * np.hypot((self.x - 58) / 98, (self.y - 14) / 108) ** 2.6
        left = 60 - 125 * np.hypot((self.x + 58) / 98, (self.y - 10) / 104) ** 2.6
        middle = 52 - 125 * np.hypot(self.x / 98, (self.y - 26) / 92) ** 2.6
        return np.maximum(np.maximum(right, left), middle)

    @property
    def cavity(self) -> np.ndarray:
        """(X, Y, Z) bool: chest and abdomen, without their wall."""
        return self.outside_cavity_mm < 0

    def field(self, knot_mm: float, rng: np.random.Generator) -> np.ndarray:
        """See `View.field`."""
        return self.view.field(knot_mm, rng)

    def relative_radius(self, shape: Ellipsoid) -> np.ndarray:
        """(X, Y, Z) of an ellipsoid: below 1 inside."""
        tilt = np.deg2rad(shape.tilt_deg)
        x, y, z = self.x - shape.centre_mm[0], self.y - shape.centre_mm[1], self.z - shape.centre_mm[2]
        x, z = np.cos(tilt) * x - np.sin(tilt) * z, np.sin(tilt) * x + np.cos(tilt) * z
        squares = sum((axis / radius) ** 2 for axis, radius in zip((x, y, z), shape.radii_mm, strict=True))
        return np.sqrt(squares)

    def tube(self, x_mm: float | np.ndarray, y_mm: float | np.ndarray, rx_mm: float, ry_mm: float) -> np.ndarray:
        """(X, Y, Z) relative radius of an upright elliptic cylinder: below 1 inside."""
        return np.hypot((self.x - x_mm) / rx_mm, (self.y - y_mm) / ry_mm)


def torso_on(view: View, to_torso: np.ndarray, bend_mm: float, rng: np.random.Generator) -> Torso:
    """The frame on a grid, bent at random.

    Args:
        view: the grid.
        to_torso: (4, 4) world mm -> unbent frame.
        bend_mm: standard deviation of the bending.
        rng: draws the bending.
    """
    i, j, k = (np.arange(size, dtype=np.float32) for size in view.shape)
    matrix = (to_torso @ view.affine).astype(np.float32)
    x, y, z = (
        row[0] * i[:, None, None] + row[1] * j[:, None] + row[2] * k + row[3] + bend_mm * view.field(BEND_KNOT_MM, rng)
        for row in matrix[:3]
    )
    return Torso(view, x, y, z)


def largest_part(mask: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool: the largest connected part of `mask`."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
