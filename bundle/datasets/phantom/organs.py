"""The labelled organs and the great vessels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bundle.datasets.phantom.body import DIAPHRAGM_MM
from bundle.datasets.phantom.classes import LABELS
from bundle.datasets.phantom.tissue import FAT_HU
from bundle.datasets.phantom.torso import Ellipsoid, Layer, Mm, Torso, largest_part

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
POSITION_SPREAD_MM: dict[str, Mm] = {
    "liver": (4, 4, 5),
    "spleen": (4, 6, 10),
    "right_kidney": (5, 5, 11),
    "left_kidney": (5, 5, 11),
    "stomach": (7, 7, 8),
}
SHAPE_SPREAD = 0.09  # of an organ's radius, where its surface bulges or dents
PERIRENAL_FAT = 1.14  # its outer border, in radii of the kidney
AORTIC_FORK_MM = -142.0  # z of the torso frame


def organs(torso: Torso, enhancement_hu: Mapping[str, float], rng: np.random.Generator) -> list[Layer]:
    """Stomach, liver, spleen and kidneys, each later one pushing the earlier ones aside."""
    room = (torso.outside_cavity_mm < -1.5) & (torso.z < torso.diaphragm_mm - DIAPHRAGM_MM / 2)
    radii = {name: _organ_radius(torso, name, rng) for name in ORGAN_PARTS}
    stomach = room & (radii["stomach"] < 1)
    layers = _stomach(torso, stomach, radii["stomach"], enhancement_hu, rng)
    clear_of_kidneys = (radii["right_kidney"] > PERIRENAL_FAT) & (radii["left_kidney"] > PERIRENAL_FAT)
    solid = {}
    for name in ("liver", "spleen"):
        solid[name] = largest_part(room & (radii[name] < 1) & clear_of_kidneys)
        layers.append(Layer(solid[name], enhancement_hu[name] + 3 * torso.field(25.0, rng), LABELS[name]))
    layers.append(_liver_vessels(torso, solid["liver"] & ~solid["spleen"], enhancement_hu, rng))
    labelled = stomach | solid["liver"] | solid["spleen"]
    for name in ("right_kidney", "left_kidney"):
        kidney = largest_part((torso.outside_cavity_mm < 4) & (radii[name] < 1))
        layers += _kidney(torso, name, kidney, radii[name], labelled, enhancement_hu, rng)
        labelled = labelled | kidney
    return layers


def vessels(
    torso: Torso, label: np.ndarray, enhancement_hu: Mapping[str, float], rng: np.random.Generator
) -> list[Layer]:
    """Aorta down to its bifurcation, both common iliac arteries, the inferior vena cava.

    Args:
        torso: frame.
        label: (X, Y, Z) label map so far; of all organs the cava passes through the liver only.
        enhancement_hu: tissue -> HU.
        rng: draws the aorta's width and course.
    """
    radius = rng.uniform(9.5, 12.5)
    x_mm = -9 + 4 * np.sin(torso.z / 55 + rng.uniform(0, 6))
    y_mm = -20 - 0.12 * np.maximum(torso.z - 30, 0) + 0.04 * np.maximum(-torso.z, 0)
    aorta = torso.cavity & (torso.z > AORTIC_FORK_MM) & (torso.tube(x_mm, y_mm, radius, radius) < 1)
    cava = torso.cavity & (torso.tube(19, y_mm + 4, 11, 9) < 1) & (torso.z < 72) & ~aorta
    cava &= (label == 0) | (label == LABELS["liver"])
    below_fork = np.maximum(AORTIC_FORK_MM - torso.z, 0)
    beside_mm = 0.45 * below_fork * np.sign(torso.x)
    iliac = torso.cavity & (torso.z <= AORTIC_FORK_MM) & (torso.tube(beside_mm, y_mm, 8, 8) < 1)
    return [
        Layer(cava, enhancement_hu["vein"], label=0),
        Layer(aorta | iliac, enhancement_hu["aorta"]),
        Layer(aorta, label=LABELS["aorta"]),
    ]


def without_crumbs(label: np.ndarray) -> np.ndarray:
    """A label map with every organ in one piece: what others cut off is unlabelled (in the image it stays)."""
    kept = label.copy()
    for name in ORGAN_PARTS:
        mask = label == LABELS[name]
        kept[mask & ~largest_part(mask)] = 0
    return kept


def _organ_radius(torso: Torso, name: str, rng: np.random.Generator) -> np.ndarray:
    """(X, Y, Z) below 1 inside the organ, whose position, size and surface are drawn for this patient."""
    position_mm = rng.normal(0.0, 0.5, 3).clip(-1, 1) * POSITION_SPREAD_MM[name]
    scale = rng.uniform(0.9, 1.1)
    anchor_mm = np.array(ORGAN_PARTS[name][0].centre_mm)

    def drawn(shape: Ellipsoid) -> Ellipsoid:
        x_mm, y_mm, z_mm = anchor_mm + position_mm + scale * (np.array(shape.centre_mm) - anchor_mm)
        rx_mm, ry_mm, rz_mm = scale * np.array(shape.radii_mm)
        return Ellipsoid((x_mm, y_mm, z_mm), (rx_mm, ry_mm, rz_mm), shape.tilt_deg)

    radius = np.min([torso.relative_radius(drawn(part)) for part in ORGAN_PARTS[name]], axis=0)
    radius += SHAPE_SPREAD * torso.field(38.0, rng).clip(-1.5, 1.5)
    for bite in ORGAN_BITES[name]:
        radius = np.maximum(radius, 2.0 - torso.relative_radius(drawn(bite)))
    return radius


def _stomach(
    torso: Torso,
    stomach: np.ndarray,
    radius: np.ndarray,
    enhancement_hu: Mapping[str, float],
    rng: np.random.Generator,
) -> list[Layer]:
    """Wall, fluid or oral contrast, and gas above it (the patient lies on the back)."""
    fluid_hu = rng.choice((12.0, 25.0, 180.0), p=(0.4, 0.35, 0.25))
    level_mm = rng.uniform(42.0, 62.0)
    return [
        Layer(stomach, enhancement_hu["stomach"], LABELS["stomach"]),
        Layer(stomach & (radius < 0.84), fluid_hu + 6 * torso.field(15.0, rng)),
        Layer(stomach & (radius < 0.84) & (torso.y > level_mm), -900.0),
    ]


def _liver_vessels(
    torso: Torso, liver: np.ndarray, enhancement_hu: Mapping[str, float], rng: np.random.Generator
) -> Layer:
    """Thin branching vessels: where two smooth random fields cross zero together. They stay liver in the label map."""
    crossing = np.hypot(torso.field(34.0, rng), torso.field(34.0, rng))
    return Layer(liver & (crossing < 0.22), enhancement_hu["vein"])


def _kidney(
    torso: Torso,
    name: str,
    kidney: np.ndarray,
    radius: np.ndarray,
    labelled: np.ndarray,
    enhancement_hu: Mapping[str, float],
    rng: np.random.Generator,
) -> list[Layer]:
    """Perirenal fat, cortex, medullary pyramids and the fat of the renal sinus (no part of the label)."""
    surrounding = (torso.outside_cavity_mm < 4) & (radius < PERIRENAL_FAT) & ~labelled
    return [
        Layer(surrounding, FAT_HU),
        Layer(kidney, enhancement_hu["cortex"], LABELS[name]),
        Layer(kidney & (radius < 0.72) & (torso.field(13.0, rng) > -0.5), enhancement_hu["medulla"]),
    ]
