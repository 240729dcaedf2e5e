"""Spine, ribs and pelvis."""

from __future__ import annotations

import numpy as np

from bundle.datasets.phantom.tissue import CANAL_HU, DISC_HU, HARD_BONE_HU, SPONGY_BONE_HU
from bundle.datasets.phantom.torso import CAVITY_HALF_DEPTH_MM, CAVITY_HALF_WIDTH_MM, Ellipsoid, Layer, Torso

RIB_PERIOD_MM, VERTEBRA_PERIOD_MM = 29.0, 34.0
SACRUM = Ellipsoid((0, -66, -212), (50, 24, 42))


def spine(torso: Torso, rng: np.random.Generator) -> list[Layer]:
    """Vertebral bodies with hard end plates, discs, canal, arch, transverse and spinous processes; periodic along z."""
    phase = rng.uniform(0, VERTEBRA_PERIOD_MM)
    level = (torso.z + phase) % VERTEBRA_PERIOD_MM - VERTEBRA_PERIOD_MM / 2
    sway = -50 - 5 * np.cos((torso.z + 90) / 70)
    body = torso.tube(0, sway, 23, 18)
    bone = np.abs(level) < 0.38 * VERTEBRA_PERIOD_MM
    spongy_hu = SPONGY_BONE_HU + 25 * torso.field(8.0, rng)
    arch = torso.tube(0, sway - 27, 19, 13)
    canal = torso.tube(0, sway - 25, 10, 9)
    transverse = (np.abs(level) < 6) & (np.abs(torso.y - sway + 24) < 5) & (np.abs(torso.x) < 38)
    spinous = (np.abs(level + 4) < 9) & (np.abs(torso.x) < 4) & (torso.y < sway - 34) & (torso.y > sway - 54)
    return [
        Layer(body < 1, DISC_HU),
        Layer((body < 1) & bone, HARD_BONE_HU),
        Layer((body < 0.86) & (np.abs(level) < 0.32 * VERTEBRA_PERIOD_MM), spongy_hu),
        Layer((arch < 1) & (np.abs(level) < 11), 0.7 * HARD_BONE_HU),
        Layer(transverse | spinous, 0.6 * HARD_BONE_HU),
        Layer(canal < 1, CANAL_HU),
        Layer((body < 1) | (arch < 1) | transverse | spinous, label=0),
    ]


def ribs(torso: Torso, rng: np.random.Generator) -> list[Layer]:
    """Ribs in the chest wall, descending forwards, with soft marrow; cartilage and sternum in front."""
    around = np.arctan2(np.abs(torso.x) / CAVITY_HALF_WIDTH_MM, -torso.y / CAVITY_HALF_DEPTH_MM)  # 0 back, pi front
    level = (torso.z + 32 * around + rng.uniform(0, RIB_PERIOD_MM)) % RIB_PERIOD_MM - RIB_PERIOD_MM / 2
    radius = np.hypot(level / 7.0, (torso.outside_cavity_mm - 5.0) / 4.0)
    margin_mm = -75 + 38 * np.maximum(around - 1.3, 0)
    rib = (radius < 1) & (torso.z > margin_mm) & (around > 0.33) & (around < 2.75)
    sternum = (around > 2.88) & (np.abs(torso.outside_cavity_mm - 5) < 5) & (torso.z > 48)
    return [
        Layer(rib, np.where(around < 2.3, 0.8 * HARD_BONE_HU, 130.0)),
        Layer(rib & (radius < 0.5) & (around < 2.3), 120.0),
        Layer(sternum, SPONGY_BONE_HU),
    ]


def pelvis(torso: Torso) -> list[Layer]:
    """Iliac wings, shells that open upwards, and the sacrum."""
    layers = []
    for side in (1, -1):
        bowl = torso.relative_radius(Ellipsoid((side * 30, 20, -265), (78, 100, 170), side * -14))
        crest_mm = -152 - 0.012 * (torso.y + 20) ** 2
        wing = (np.abs(bowl - 1) < 0.075) & (side * torso.x > 42) & (torso.z < crest_mm) & (torso.y < 35)
        layers += [
            Layer(wing, 0.9 * HARD_BONE_HU),
            Layer(wing & (np.abs(bowl - 1) < 0.04) & (torso.z < crest_mm - 4), SPONGY_BONE_HU),
        ]
    sacrum = torso.relative_radius(SACRUM)
    return [*layers, Layer(sacrum < 1, 0.7 * HARD_BONE_HU), Layer(sacrum < 0.85, SPONGY_BONE_HU)]
