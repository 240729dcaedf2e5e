"""Synthetic torso CT, made by seed: the embedded cohort of `make demo`. It proves software, not medicine.

The torso frame is in mm: x to the patient's right, y anterior, z superior, origin at the liver. Every structure is an
implicit function of that frame; a patient is the frame bent by a smooth random field, scaled, shifted and tilted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from scipy import ndimage
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

LABELS = {"spleen": 1, "right_kidney": 2, "left_kidney": 3, "liver": 4, "stomach": 5, "aorta": 6}
BACKGROUND_SCRIBBLE = 7
PAPER_CLASSES = ("spleen", "left_kidney", "right_kidney", "liver")
COHORT_VERSION = 1  # raise it whenever the volumes change: an older cohort is then made again

Mm = tuple[float, float, float]

# Orientation of the voxel axes and rotation of the grid (degrees about x), by seed modulo the length.
GRIDS: tuple[tuple[str, float], ...] = (
    ("LAS", 0.0),
    ("LPS", 0.0),
    ("LAS", 0.0),
    ("RAS", 0.0),
    ("LAS", 4.0),
    ("LPS", 0.0),
)

AIR_HU, FAT_HU, MUSCLE_HU, LUNG_HU, HEART_HU, BOWEL_HU = -1000.0, -100.0, 58.0, -850.0, 120.0, 45.0
SPONGY_BONE_HU, HARD_BONE_HU, DISC_HU, CANAL_HU = 190.0, 520.0, 85.0, 25.0

# HU of the enhancing tissues per contrast phase; a patient is a random mixture of the phases.
TISSUES = ("liver", "spleen", "cortex", "medulla", "aorta", "vein", "stomach")
PHASES: dict[str, tuple[float, ...]] = {
    "arterial": (82, 118, 175, 110, 230, 105, 70),
    "portal": (112, 122, 168, 145, 160, 155, 75),
    "delayed": (94, 98, 138, 146, 118, 120, 65),
}


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


@dataclass(frozen=True)
class Ellipsoid:
    """Centre and radii in the torso frame; `tilt_deg` turns it in the coronal plane (top towards the right side)."""

    centre_mm: Mm
    radii_mm: Mm
    tilt_deg: float = 0.0


# Parts of an organ are joined, bites are taken out.
ORGAN_PARTS: dict[str, tuple[Ellipsoid, ...]] = {
    "liver": (
        Ellipsoid((66, 5, -8), (60, 76, 92), -6),
        Ellipsoid((5, 42, 28), (78, 38, 34), 12),
    ),
    "spleen": (Ellipsoid((-94, -26, 14), (31, 46, 44), 18),),
    "right_kidney": (Ellipsoid((63, -36, -68), (27, 24, 50), -14),),
    "left_kidney": (Ellipsoid((-64, -38, -46), (27, 24, 50), 14),),
    "stomach": (
        Ellipsoid((-58, 2, 34), (32, 34, 32)),
        Ellipsoid((-56, 42, -2), (26, 24, 46), -8),
        Ellipsoid((-22, 52, -38), (40, 18, 19), -20),
    ),
}
ORGAN_BITES: dict[str, tuple[Ellipsoid, ...]] = {
    "liver": (
        Ellipsoid((4, 2, -78), (50, 72, 74), -25),  # visceral surface
        Ellipsoid((6, -42, 0), (44, 40, 120)),  # spine, cava, crura
        Ellipsoid((-90, 10, 10), (58, 60, 60)),  # stomach bed
    ),
    "spleen": (Ellipsoid((-52, 2, 8), (34, 34, 44), 10),),  # hilum
    "right_kidney": (Ellipsoid((35, -28, -68), (14, 12, 13)),),  # renal sinus
    "left_kidney": (Ellipsoid((-36, -30, -46), (14, 12, 13)),),
    "stomach": (),
}
UNLABELLED_ORGANS: tuple[tuple[Ellipsoid, float], ...] = (
    (Ellipsoid((-22, 8, -20), (56, 12, 14), -18), 88.0),  # pancreas
    (Ellipsoid((36, 44, -62), (16, 22, 20), 10), 12.0),  # gallbladder
)
PLACE_SPREAD_MM: dict[str, Mm] = {
    "liver": (4, 4, 5),
    "spleen": (4, 6, 10),
    "right_kidney": (5, 5, 11),
    "left_kidney": (5, 5, 11),
    "stomach": (7, 7, 8),
}
SHAPE_SPREAD = 0.09  # of an organ's radius, where its surface bulges or dents
MAX_REACH_MM = (-140.0, 92.0)  # z of the torso frame that every field of view contains: the four organs of the demo

CAVITY_HALF_WIDTH_MM, CAVITY_HALF_DEPTH_MM, CAVITY_POWER = 128.0, 88.0, 2.4
WALL_MM, SKIN_MM, DIAPHRAGM_MM, RIB_PERIOD_MM, VERTEBRA_PERIOD_MM = 11.0, 2.0, 4.0, 29.0, 34.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _View:
    """Voxel grid: shape, RAS+ affine, and the extent in mm the random fields are defined on (whatever the spacing)."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    extent_mm: np.ndarray


class _Torso:
    """The torso frame sampled on a voxel grid, with the volume painted so far."""

    def __init__(self, view: _View, to_torso: np.ndarray, bend_mm: float, rng: np.random.Generator) -> None:
        self.view, self.rng = view, rng
        i, j, k = (np.arange(size, dtype=np.float32) for size in view.shape)
        matrix = (to_torso @ view.affine).astype(np.float32)
        frame = [
            row[0] * i[:, None, None] + row[1] * j[:, None] + row[2] * k + row[3] + bend_mm * self.field(75.0)
            for row in matrix[:3]
        ]
        self.x, self.y, self.z = frame
        self.hu = np.full(view.shape, AIR_HU, dtype=np.float32)
        self.label = np.zeros(view.shape, dtype=np.uint8)
        self.outside_cavity_mm = _outside_cavity_mm(self.x, self.y, self.z)
        self.cavity = self.outside_cavity_mm < 0
        self.diaphragm_mm = _diaphragm_mm(self.x, self.y)

    def field(self, knot_mm: float) -> np.ndarray:
        """(X, Y, Z) smooth random field, mean 0, standard deviation about 1, features of about `knot_mm`."""
        counts = [max(4, round(extent / knot_mm) + 1) for extent in self.view.extent_mm]
        field = self.rng.standard_normal(counts).astype(np.float32) * 1.4
        for size, count in zip(self.view.shape, counts, strict=True):
            knots = np.linspace(0.0, 1.0, count)
            weights = CubicSpline(knots, np.eye(count))((np.arange(size) + 0.5) / size).astype(np.float32)
            field = np.tensordot(field, weights, axes=(0, 1))  # the axes rotate; after three turns they are back
        return field

    def inside(self, shape: Ellipsoid) -> np.ndarray:
        """(X, Y, Z) relative radius of an ellipsoid: below 1 inside."""
        tilt = np.deg2rad(shape.tilt_deg)
        x, y, z = self.x - shape.centre_mm[0], self.y - shape.centre_mm[1], self.z - shape.centre_mm[2]
        x, z = np.cos(tilt) * x - np.sin(tilt) * z, np.sin(tilt) * x + np.cos(tilt) * z
        squares = sum((axis / radius) ** 2 for axis, radius in zip((x, y, z), shape.radii_mm, strict=True))
        return np.sqrt(squares)

    def tube(self, x_mm: float | np.ndarray, y_mm: float | np.ndarray, rx_mm: float, ry_mm: float) -> np.ndarray:
        """(X, Y, Z) relative radius of an upright elliptic cylinder: below 1 inside."""
        return np.hypot((self.x - x_mm) / rx_mm, (self.y - y_mm) / ry_mm)

    def paint(self, mask: np.ndarray, hu: float | np.ndarray) -> None:
        """Fill `mask` with one value, or with the values of a volume of the same shape."""
        np.copyto(self.hu, np.asarray(hu, dtype=np.float32), where=mask)


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
    view = _draw_view(seed, size, fat_mm, spacing_mm, rng)
    torso = _Torso(view, _to_torso(size, tilt, rng), bend_mm=rng.uniform(3.0, 5.0), rng=rng)
    enhancement = _draw_enhancement(rng)

    _paint_body_wall(torso, fat_mm)
    _paint_bowel(torso)
    _paint_unlabelled_organs(torso)
    _paint_chest(torso, enhancement)
    _paint_organs(torso, enhancement)
    _paint_vessels(torso, enhancement)
    _paint_back_muscles(torso)
    _paint_spine(torso)
    _paint_ribs(torso)
    _paint_pelvis(torso)
    _drop_crumbs(torso)
    if rng.random() < 0.6:
        _paint_table(torso, fat_mm, size)
    return Phantom(_scan(torso), torso.label, view.affine)


def _draw_view(seed: int, size: np.ndarray, fat_mm: float, spacing_mm: Mm | None, rng: np.random.Generator) -> _View:
    """Field of view: the whole body in plane; along z the demo's organs and a random part of chest and pelvis."""
    in_plane = rng.uniform(2.1, 2.6)
    drawn = np.array([in_plane, in_plane, rng.uniform(2.8, 4.8)])
    below_mm, above_mm = rng.uniform(8.0, 110.0), rng.uniform(8.0, 60.0)
    margin_mm = rng.uniform(12.0, 22.0, 2)
    low, high = MAX_REACH_MM
    spare_mm = max(16.0, 88 * drawn[2] - (high - low) * size[2])
    shrink = min(1.0, spare_mm / (below_mm + above_mm))
    below_mm, above_mm = below_mm * shrink, above_mm * shrink
    wall_mm = WALL_MM + fat_mm
    extent_mm = np.array(
        [
            2 * ((CAVITY_HALF_WIDTH_MM + wall_mm) * size[0] + margin_mm[0]),
            2 * ((CAVITY_HALF_DEPTH_MM + wall_mm) * size[1] + margin_mm[1]),
            (high - low) * size[2] + below_mm + above_mm,
        ]
    )
    spacing = drawn if spacing_mm is None else np.asarray(spacing_mm, dtype=float)
    shape = tuple(int(count) for count in np.ceil(extent_mm / spacing))
    centre_mm = np.array([0.0, 0.0, (low * size[2] - below_mm + high * size[2] + above_mm) / 2])

    orientation, oblique_deg = GRIDS[seed % len(GRIDS)]
    ras_to_array = axcodes2ornt(tuple(orientation))
    rotation = Rotation.from_euler("x", oblique_deg, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation @ inv_ornt_aff(ras_to_array, shape)[:3, :3] @ np.diag(spacing)
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return _View(shape, affine, extent_mm)


def _to_torso(size: np.ndarray, tilt: Rotation, rng: np.random.Generator) -> np.ndarray:
    """(4, 4) world mm -> torso frame: the patient's place on the table, tilt and size undone."""
    to_torso = np.eye(4)
    to_torso[:3, :3] = np.diag(1 / size) @ tilt.inv().as_matrix()
    to_torso[:3, 3] = -to_torso[:3, :3] @ rng.uniform((-8, -6, 0), (8, 6, 0))
    return to_torso


def _draw_enhancement(rng: np.random.Generator) -> dict[str, float]:
    mixture = rng.dirichlet((0.6, 1.2, 0.6)) @ np.array(list(PHASES.values()))
    return dict(zip(TISSUES, (mixture + rng.normal(0.0, 5.0, len(TISSUES))).tolist(), strict=True))


def _outside_cavity_mm(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """First-order signed distance to the wall of chest and abdomen, a superellipse that narrows upwards."""
    width = 1 - 0.0006 * np.maximum(z - 20, 0) - 0.03 * np.exp(-(((z + 105) / 45) ** 2))
    u, v = np.abs(x) / (CAVITY_HALF_WIDTH_MM * width), np.abs(y) / (CAVITY_HALF_DEPTH_MM * width)
    radius = np.maximum((u**CAVITY_POWER + v**CAVITY_POWER) ** (1 / CAVITY_POWER), 0.05)
    slope = radius ** (1 - CAVITY_POWER) * np.hypot(
        u ** (CAVITY_POWER - 1) / CAVITY_HALF_WIDTH_MM, v ** (CAVITY_POWER - 1) / CAVITY_HALF_DEPTH_MM
    )
    return (radius - 1) / np.maximum(slope, 2e-3)


def _diaphragm_mm(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the diaphragm: a dome on each side, a lower one under the heart, all falling steeply at the ribs."""
    right = 66 - 125 * np.hypot((x - 58) / 98, (y - 14) / 108) ** 2.6
    left = 60 - 125 * np.hypot((x + 58) / 98, (y - 10) / 104) ** 2.6
    middle = 52 - 125 * np.hypot(x / 98, (y - 26) / 92) ** 2.6
    return np.maximum(np.maximum(right, left), middle)


def _paint_body_wall(torso: _Torso, fat_mm: float) -> None:
    """Skin, subcutaneous fat (thicker in front and at the sides), muscle wall and the fat everything else lies in."""
    outside = torso.outside_cavity_mm
    bump = 1 + 0.15 * torso.field(60.0)
    thickness = fat_mm * bump * np.where(torso.y < 0, 1 - 0.35 * np.clip(-torso.y / 90, 0, 1), 1.0)
    skin_mm = WALL_MM + np.maximum(thickness, 4.0)
    torso.paint(outside < skin_mm, 20.0)
    torso.paint(outside < skin_mm - SKIN_MM, FAT_HU)
    torso.paint(outside < WALL_MM, MUSCLE_HU)
    torso.paint(outside < 0, FAT_HU + 8 * torso.field(14.0))


def _paint_bowel(torso: _Torso) -> None:
    """Loops of small bowel in front of the lower abdomen, and the colon with gas and faeces at both sides."""
    rng = torso.rng
    loops = torso.field(19.0) + 0.5 * torso.field(11.0)
    peritoneum = torso.cavity & (torso.outside_cavity_mm < -4) & (torso.z < torso.diaphragm_mm - 6)
    small = peritoneum & (torso.y > -12 - 0.1 * (torso.z + 60)) & (torso.z < 10 - 0.25 * np.abs(torso.x)) & (loops > 0)
    content = torso.field(28.0)
    contrast_hu = rng.choice((15.0, 220.0))
    torso.paint(small, BOWEL_HU)
    torso.paint(small & (loops > 0.45) & (content > 0.6), contrast_hu)
    torso.paint(small & (loops > 0.6) & (content < -1.0) & (torso.y > 25), -850.0)

    faeces = -150 + 220 * torso.field(9.0)
    for side in (1, -1):
        colon = torso.tube(side * 101 + 6 * np.sin(torso.z / 19), -4 + 8 * np.cos(torso.z / 27), 21, 23)
        colon = colon + 0.12 * np.cos(torso.z / 5.5)
        below = peritoneum & (torso.z < (-92 if side > 0 else -58))
        torso.paint(below & (colon < 1), BOWEL_HU)
        torso.paint(below & (colon < 0.84), np.clip(faeces, -900, 120))


def _paint_unlabelled_organs(torso: _Torso) -> None:
    """Pancreas and gallbladder: neighbours that no class of the cohort names."""
    for shape, hu in UNLABELLED_ORGANS:
        place = torso.rng.uniform(-6.0, 6.0, 3)
        moved = Ellipsoid(tuple(np.array(shape.centre_mm) + place), shape.radii_mm, shape.tilt_deg)
        torso.paint(torso.cavity & (torso.inside(moved) + 0.12 * torso.field(25.0) < 1), hu)


def _paint_chest(torso: _Torso, enhancement: dict[str, float]) -> None:
    """Diaphragm, lungs with vessels, and the heart in the mediastinum."""
    above = torso.z - torso.diaphragm_mm
    chest = torso.outside_cavity_mm < -1
    torso.paint(chest & (np.abs(above) < DIAPHRAGM_MM), MUSCLE_HU)
    mediastinum = np.abs(torso.x + 4) < 30 - 0.12 * torso.y
    lung = chest & (above > DIAPHRAGM_MM / 2) & ~mediastinum
    texture = torso.field(9.0)
    torso.paint(chest & (above > DIAPHRAGM_MM / 2) & mediastinum, FAT_HU)
    torso.paint(lung, LUNG_HU + 25 * torso.field(40.0) + 35 * texture)
    torso.paint(lung & (np.abs(texture) < 0.07) & (np.abs(torso.x) < 100), -150.0)
    heart = torso.inside(Ellipsoid((-22, 28, 112), (62, 46, 50), -12)) + 0.05 * torso.field(40.0)
    torso.paint(chest & (above > 0) & (heart < 1.08), FAT_HU)
    torso.paint(chest & (above > 0) & (heart < 1), HEART_HU)
    torso.paint(chest & (above > 0) & (heart < 0.78), 0.5 * (enhancement["aorta"] + enhancement["vein"]))


def _paint_organs(torso: _Torso, enhancement: dict[str, float]) -> None:
    """Stomach, liver, spleen and kidneys, each later one pushing the earlier ones aside."""
    room = (torso.outside_cavity_mm < -1.5) & (torso.z < torso.diaphragm_mm - DIAPHRAGM_MM / 2)
    organs = {name: _relative_radius(torso, name) for name in ORGAN_PARTS}
    _paint_stomach(torso, room & (organs["stomach"] < 1), organs["stomach"], enhancement)
    for name in ("liver", "spleen"):
        solid = _largest(room & (organs[name] < 1) & _clear_of_kidneys(organs))
        torso.paint(solid, enhancement[name] + 3 * torso.field(25.0))
        torso.label[solid] = LABELS[name]
    _paint_liver_vessels(torso, enhancement)
    for name in ("right_kidney", "left_kidney"):
        _paint_kidney(torso, name, organs[name], enhancement)


def _clear_of_kidneys(organs: dict[str, np.ndarray]) -> np.ndarray:
    """Where no kidney and no perirenal fat is."""
    return (organs["right_kidney"] > 1.14) & (organs["left_kidney"] > 1.14)


def _relative_radius(torso: _Torso, name: str) -> np.ndarray:
    """(X, Y, Z) below 1 inside the organ, whose place, size and surface are drawn for this patient."""
    place = torso.rng.normal(0.0, 0.5, 3).clip(-1, 1) * PLACE_SPREAD_MM[name]
    scale = torso.rng.uniform(0.9, 1.1)
    anchor = np.array(ORGAN_PARTS[name][0].centre_mm)

    def drawn(shape: Ellipsoid) -> Ellipsoid:
        centre = anchor + place + scale * (np.array(shape.centre_mm) - anchor)
        return Ellipsoid(tuple(centre), tuple(scale * np.array(shape.radii_mm)), shape.tilt_deg)

    surface = np.min([torso.inside(drawn(part)) for part in ORGAN_PARTS[name]], axis=0)
    surface += SHAPE_SPREAD * torso.field(38.0).clip(-1.5, 1.5)
    for bite in ORGAN_BITES[name]:
        surface = np.maximum(surface, 2.0 - torso.inside(drawn(bite)))
    return surface


def _paint_stomach(torso: _Torso, stomach: np.ndarray, radius: np.ndarray, enhancement: dict[str, float]) -> None:
    """Wall, fluid or oral contrast, and gas above it (the patient lies on the back)."""
    fluid_hu = torso.rng.choice((12.0, 25.0, 180.0), p=(0.4, 0.35, 0.25))
    level_mm = torso.rng.uniform(42.0, 62.0)
    torso.paint(stomach, enhancement["stomach"])
    torso.paint(stomach & (radius < 0.84), fluid_hu + 6 * torso.field(15.0))
    torso.paint(stomach & (radius < 0.84) & (torso.y > level_mm), -900.0)
    torso.label[stomach] = LABELS["stomach"]


def _paint_liver_vessels(torso: _Torso, enhancement: dict[str, float]) -> None:
    """Thin branching vessels: where two smooth random fields cross zero together. They stay liver in the label map."""
    liver = torso.label == LABELS["liver"]
    crossing = np.hypot(torso.field(34.0), torso.field(34.0))
    torso.paint(liver & (crossing < 0.22), enhancement["vein"])


def _paint_kidney(torso: _Torso, name: str, radius: np.ndarray, enhancement: dict[str, float]) -> None:
    """Perirenal fat, cortex, medullary pyramids and the fat of the renal sinus (no part of the label)."""
    room = torso.outside_cavity_mm < 4
    surrounding = room & (radius < 1.14) & (torso.label == 0)
    torso.paint(surrounding, FAT_HU)
    kidney = _largest(room & (radius < 1))
    torso.paint(kidney, enhancement["cortex"])
    torso.paint(kidney & (radius < 0.72) & (torso.field(13.0) > -0.5), enhancement["medulla"])
    torso.label[kidney] = LABELS[name]


def _paint_vessels(torso: _Torso, enhancement: dict[str, float]) -> None:
    """Aorta down to its bifurcation, both common iliac arteries, the inferior vena cava."""
    radius = torso.rng.uniform(9.5, 12.5)
    x_mm = -9 + 4 * np.sin(torso.z / 55 + torso.rng.uniform(0, 6))
    y_mm = -20 - 0.12 * np.maximum(torso.z - 30, 0) + 0.04 * np.maximum(-torso.z, 0)
    body = torso.outside_cavity_mm < 0
    fork_mm = -142.0
    aorta = body & (torso.z > fork_mm) & (torso.tube(x_mm, y_mm, radius, radius) < 1)
    cava = body & (torso.tube(19, y_mm + 4, 11, 9) < 1) & (torso.z < 72) & ~aorta
    below_fork = np.maximum(fork_mm - torso.z, 0)
    iliac = body & (torso.z <= fork_mm) & (torso.tube(0.45 * below_fork * np.sign(torso.x), y_mm, 8, 8) < 1)
    torso.paint(cava & ((torso.label == 0) | (torso.label == LABELS["liver"])), enhancement["vein"])
    torso.label[cava & (torso.label == LABELS["liver"])] = 0
    torso.paint(aorta | iliac, enhancement["aorta"])
    torso.label[aorta] = LABELS["aorta"]


def _paint_back_muscles(torso: _Torso) -> None:
    """Erector spinae behind the ribs' heads, psoas beside the lumbar spine."""
    free = (torso.label == 0) & (torso.outside_cavity_mm < WALL_MM)
    for side in (1, -1):
        erector = torso.tube(side * 34, -82, 31, 20)
        psoas = torso.tube(side * (32 + 0.10 * np.maximum(-70 - torso.z, 0)), -46, 17, 16)
        torso.paint(free & (erector < 1), MUSCLE_HU)
        torso.paint(free & (psoas < np.clip((-20 - torso.z) / 60, 0, 1)), MUSCLE_HU)


def _paint_spine(torso: _Torso) -> None:
    """Vertebral bodies with hard end plates, discs, canal, arch, transverse and spinous processes; periodic along z."""
    phase = torso.rng.uniform(0, VERTEBRA_PERIOD_MM)
    level = (torso.z + phase) % VERTEBRA_PERIOD_MM - VERTEBRA_PERIOD_MM / 2
    sway = -50 - 5 * np.cos((torso.z + 90) / 70)
    body = torso.tube(0, sway, 23, 18)
    bone = np.abs(level) < 0.38 * VERTEBRA_PERIOD_MM
    spongy = SPONGY_BONE_HU + 25 * torso.field(8.0)
    arch = torso.tube(0, sway - 27, 19, 13)
    canal = torso.tube(0, sway - 25, 10, 9)
    processes = (np.abs(level) < 6) & (np.abs(torso.y - sway + 24) < 5) & (np.abs(torso.x) < 38)
    spinous = (np.abs(level + 4) < 9) & (np.abs(torso.x) < 4) & (torso.y < sway - 34) & (torso.y > sway - 54)
    torso.paint(body < 1, DISC_HU)
    torso.paint((body < 1) & bone, HARD_BONE_HU)
    torso.paint((body < 0.86) & (np.abs(level) < 0.32 * VERTEBRA_PERIOD_MM), spongy)
    torso.paint((arch < 1) & (np.abs(level) < 11), 0.7 * HARD_BONE_HU)
    torso.paint(processes | spinous, 0.6 * HARD_BONE_HU)
    torso.paint(canal < 1, CANAL_HU)
    torso.label[(body < 1) | (arch < 1) | processes | spinous] = 0


def _paint_ribs(torso: _Torso) -> None:
    """Ribs in the chest wall, descending forwards, with soft marrow; cartilage and sternum in front."""
    around = np.arctan2(np.abs(torso.x) / CAVITY_HALF_WIDTH_MM, -torso.y / CAVITY_HALF_DEPTH_MM)  # 0 back, pi front
    level = (torso.z + 32 * around + torso.rng.uniform(0, RIB_PERIOD_MM)) % RIB_PERIOD_MM - RIB_PERIOD_MM / 2
    rib = np.hypot(level / 7.0, (torso.outside_cavity_mm - 5.0) / 4.0)
    margin_mm = -75 + 38 * np.maximum(around - 1.3, 0)
    ribs = (rib < 1) & (torso.z > margin_mm) & (around > 0.33) & (around < 2.75)
    torso.paint(ribs, np.where(around < 2.3, 0.8 * HARD_BONE_HU, 130.0))
    torso.paint(ribs & (rib < 0.5) & (around < 2.3), 120.0)
    sternum = (around > 2.88) & (np.abs(torso.outside_cavity_mm - 5) < 5) & (torso.z > 48)
    torso.paint(sternum, SPONGY_BONE_HU)


def _paint_pelvis(torso: _Torso) -> None:
    """Iliac wings, shells that open upwards, and the sacrum."""
    for side in (1, -1):
        bowl = torso.inside(Ellipsoid((side * 30, 20, -265), (78, 100, 170), side * -14))
        crest_mm = -152 - 0.012 * (torso.y + 20) ** 2
        wing = (np.abs(bowl - 1) < 0.075) & (side * torso.x > 42) & (torso.z < crest_mm) & (torso.y < 35)
        torso.paint(wing, 0.9 * HARD_BONE_HU)
        torso.paint(wing & (np.abs(bowl - 1) < 0.04) & (torso.z < crest_mm - 4), SPONGY_BONE_HU)
    sacrum = torso.inside(Ellipsoid((0, -66, -212), (50, 24, 42)))
    torso.paint(sacrum < 1, 0.7 * HARD_BONE_HU)
    torso.paint(sacrum < 0.85, SPONGY_BONE_HU)


def _paint_table(torso: _Torso, fat_mm: float, size: np.ndarray) -> None:
    """A thin curved shell under the patient: a structure outside the body, with a constant cross-section."""
    low_mm = -(CAVITY_HALF_DEPTH_MM + WALL_MM + fat_mm) * size[1]
    i, j, _ = (np.arange(count) for count in torso.view.shape)
    affine = torso.view.affine
    x = affine[0, 0] * i[:, None] + affine[0, 3]
    y = affine[1, 1] * j + affine[1, 3]
    height = y - (low_mm - 9 + 0.0011 * x**2)
    torso.paint(((np.abs(height) < 2.2)[:, :, None]) & (torso.hu < -900), -250.0)


def _drop_crumbs(torso: _Torso) -> None:
    """Leave every organ in one piece: unlabel what others cut off (in the image it stays what it is)."""
    for name in ORGAN_PARTS:
        mask = torso.label == LABELS[name]
        torso.label[mask & ~_largest(mask)] = 0


def _largest(mask: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def _scan(torso: _Torso) -> np.ndarray:
    """int16 HU: blurred by the scanner's point spread, with noise that is correlated in plane."""
    spacing = np.sqrt((torso.view.affine[:3, :3] ** 2).sum(axis=0))
    sharp_mm = torso.rng.uniform(1.0, 1.5)
    blurred = ndimage.gaussian_filter(torso.hu, sharp_mm / spacing, truncate=3.0)
    noise_hu = torso.rng.uniform(9.0, 20.0)
    noise = ndimage.gaussian_filter(
        torso.rng.standard_normal(torso.view.shape, dtype=np.float32), (0.7, 0.7, 0.3), truncate=3.0
    )
    return np.rint(blurred + noise * (noise_hu / noise.std())).clip(-1024, 3071).astype(np.int16)
