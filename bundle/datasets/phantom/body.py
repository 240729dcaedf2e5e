"""Body wall, bowel, unlabelled neighbours and chest: what the labelled organs lie in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bundle.datasets.phantom.tissue import BOWEL_HU, FAT_HU, HEART_HU, LUNG_HU, MUSCLE_HU
from bundle.datasets.phantom.torso import WALL_MM, Ellipsoid, Layer, Torso

SKIN_MM, DIAPHRAGM_MM = 2.0, 4.0
UNLABELLED_ORGANS: tuple[tuple[Ellipsoid, float], ...] = (
    (Ellipsoid((-22, 8, -20), (56, 12, 14), -18), 88.0),  # pancreas
    (Ellipsoid((36, 44, -62), (16, 22, 20), 10), 12.0),  # gallbladder
)
HEART = Ellipsoid((-22, 28, 112), (62, 46, 50), -12)


def body_wall(torso: Torso, fat_mm: float, rng: np.random.Generator) -> list[Layer]:
    """Skin, subcutaneous fat (thicker in front and at the sides), muscle wall and the fat everything else lies in."""
    outside = torso.outside_cavity_mm
    bump = 1 + 0.15 * torso.field(60.0, rng)
    thickness = fat_mm * bump * np.where(torso.y < 0, 1 - 0.35 * np.clip(-torso.y / 90, 0, 1), 1.0)
    skin_mm = WALL_MM + np.maximum(thickness, 4.0)
    return [
        Layer(outside < skin_mm, 20.0),
        Layer(outside < skin_mm - SKIN_MM, FAT_HU),
        Layer(outside < WALL_MM, MUSCLE_HU),
        Layer(outside < 0, FAT_HU + 8 * torso.field(14.0, rng)),
    ]


def bowel(torso: Torso, rng: np.random.Generator) -> list[Layer]:
    """Loops of small bowel in front of the lower abdomen, and the colon with gas and faeces at both sides."""
    loops = torso.field(19.0, rng) + 0.5 * torso.field(11.0, rng)
    peritoneum = torso.cavity & (torso.outside_cavity_mm < -4) & (torso.z < torso.diaphragm_mm - 6)
    small = peritoneum & (torso.y > -12 - 0.1 * (torso.z + 60)) & (torso.z < 10 - 0.25 * np.abs(torso.x)) & (loops > 0)
    content = torso.field(28.0, rng)
    contrast_hu = rng.choice((15.0, 220.0))
    layers = [
        Layer(small, BOWEL_HU),
        Layer(small & (loops > 0.45) & (content > 0.6), contrast_hu),
        Layer(small & (loops > 0.6) & (content < -1.0) & (torso.y > 25), -850.0),
    ]
    faeces_hu = -150 + 220 * torso.field(9.0, rng)
    for side in (1, -1):
        colon = torso.tube(side * 101 + 6 * np.sin(torso.z / 19), -4 + 8 * np.cos(torso.z / 27), 21, 23)
        colon = colon + 0.12 * np.cos(torso.z / 5.5)
        below = peritoneum & (torso.z < (-92 if side > 0 else -58))
        layers += [
            Layer(below & (colon < 1), BOWEL_HU),
            Layer(below & (colon < 0.84), np.clip(faeces_hu, -900, 120)),
        ]
    return layers


def unlabelled_organs(torso: Torso, rng: np.random.Generator) -> list[Layer]:
    """Pancreas and gallbladder: neighbours that no class of the cohort names."""
    layers = []
    for shape, hu in UNLABELLED_ORGANS:
        x_mm, y_mm, z_mm = np.array(shape.centre_mm) + rng.uniform(-6.0, 6.0, 3)
        moved = Ellipsoid((x_mm, y_mm, z_mm), shape.radii_mm, shape.tilt_deg)
        layers.append(Layer(torso.cavity & (torso.relative_radius(moved) + 0.12 * torso.field(25.0, rng) < 1), hu))
    return layers


def chest(torso: Torso, enhancement_hu: Mapping[str, float], rng: np.random.Generator) -> list[Layer]:
    """Diaphragm, lungs with vessels, and the heart in the mediastinum."""
    above = torso.z - torso.diaphragm_mm
    inside = torso.outside_cavity_mm < -1
    mediastinum = np.abs(torso.x + 4) < 30 - 0.12 * torso.y
    lung = inside & (above > DIAPHRAGM_MM / 2) & ~mediastinum
    texture = torso.field(9.0, rng)
    layers = [
        Layer(inside & (np.abs(above) < DIAPHRAGM_MM), MUSCLE_HU),
        Layer(inside & (above > DIAPHRAGM_MM / 2) & mediastinum, FAT_HU),
        Layer(lung, LUNG_HU + 25 * torso.field(40.0, rng) + 35 * texture),
        Layer(lung & (np.abs(texture) < 0.07) & (np.abs(torso.x) < 100), -150.0),
    ]
    heart = torso.relative_radius(HEART) + 0.05 * torso.field(40.0, rng)
    blood_hu = 0.5 * (enhancement_hu["aorta"] + enhancement_hu["vein"])
    return [
        *layers,
        Layer(inside & (above > 0) & (heart < 1.08), FAT_HU),
        Layer(inside & (above > 0) & (heart < 1), HEART_HU),
        Layer(inside & (above > 0) & (heart < 0.78), blood_hu),
    ]


def back_muscles(torso: Torso, label: np.ndarray) -> list[Layer]:
    """Erector spinae behind the ribs' heads, psoas beside the lumbar spine; not where something is labelled."""
    free = (label == 0) & (torso.outside_cavity_mm < WALL_MM)
    layers = []
    for side in (1, -1):
        erector = torso.tube(side * 34, -82, 31, 20)
        psoas = torso.tube(side * (32 + 0.10 * np.maximum(-70 - torso.z, 0)), -46, 17, 16)
        layers += [
            Layer(free & (erector < 1), MUSCLE_HU),
            Layer(free & (psoas < np.clip((-20 - torso.z) / 60, 0, 1)), MUSCLE_HU),
        ]
    return layers
