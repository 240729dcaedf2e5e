"""Densities: of what does not enhance, and of what does, by contrast phase."""

from __future__ import annotations

import numpy as np

AIR_HU, FAT_HU, MUSCLE_HU, LUNG_HU, HEART_HU, BOWEL_HU = -1000.0, -100.0, 58.0, -850.0, 120.0, 45.0
SPONGY_BONE_HU, HARD_BONE_HU, DISC_HU, CANAL_HU = 190.0, 520.0, 85.0, 25.0

# HU of the enhancing tissues per contrast phase; a patient is a random mixture of the phases.
TISSUES = ("liver", "spleen", "cortex", "medulla", "aorta", "vein", "stomach")
PHASES: dict[str, tuple[float, ...]] = {
    "arterial": (82, 118, 175, 110, 230, 105, 70),
    "portal": (112, 122, 168, 145, 160, 155, 75),
    "delayed": (94, 98, 138, 146, 118, 120, 65),
}


def draw_enhancement_hu(rng: np.random.Generator) -> dict[str, float]:
    """Tissue -> HU of one patient."""
    mixture = rng.dirichlet((0.6, 1.2, 0.6)) @ np.array(list(PHASES.values()))
    return dict(zip(TISSUES, (mixture + rng.normal(0.0, 5.0, len(TISSUES))).tolist(), strict=True))
