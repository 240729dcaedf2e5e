"""Located points judged by votes: a point stays where its class is beyond doubt, or is moved there if that is near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from scripts.common.affines import spacing_of, to_world
from scripts.points.denoising import KEPT, TISSUE

LOW_PROBABILITY = "low probability"


def check_points(
    rows: Sequence[Mapping[str, Any]],
    probabilities: np.ndarray,
    values: Sequence[int],
    affine: np.ndarray,
    confident: float,
    reach_mm: float,
) -> list[dict[str, Any]]:
    """The rows of a record, each kept or not by the votes at its place.

    A stroke marks an organ, not a place to the millimetre: where its class is in doubt, the nearest voxel where it is
    not takes its place. Tissue speaks against a point only where it stays.

    Args:
        rows: of `propagation/ID.json`, places on the working grid.
        probabilities: (1 + K, X, Y, Z) class probabilities on the working grid, background first.
        values: the K classes' label values.
        affine: (4, 4) of the working grid.
        confident: vote above which a class is beyond doubt.
        reach_mm: how far a point may be moved.

    Returns:
        Rows with "located_mm", "working_voxel", "kept" and "reason" as they are now, and "moved_mm".
    """
    spacing_mm = spacing_of(affine)
    judged = []
    channels = {0: 0} | {value: channel for channel, value in enumerate(values, start=1)}
    sure: dict[int, tuple[np.ndarray, cKDTree]] = {}
    for row in rows:
        channel = channels[row["label"]]
        if probabilities[(channel, *row["working_voxel"])] > confident:
            reason = TISSUE if row["reason"] == TISSUE else KEPT
            judged.append({**row, "kept": reason == KEPT, "reason": reason, "moved_mm": 0.0})
            continue
        moved_mm, voxel = np.inf, None
        if channel not in sure:
            found = np.argwhere(probabilities[channel] > confident)
            sure[channel] = found, cKDTree(found * spacing_mm)
        places, tree = sure[channel]
        if len(places):
            moved_mm, number = tree.query(np.array(row["working_voxel"]) * spacing_mm)
            voxel = places[number]
        if moved_mm > reach_mm:
            judged.append({**row, "kept": False, "reason": LOW_PROBABILITY, "moved_mm": 0.0})
            continue
        place = {
            "located_mm": [round(float(v), 3) for v in to_world(voxel[None], affine)[0]],
            "working_voxel": [int(v) for v in voxel],
        }
        judged.append({**row, **place, "kept": True, "reason": KEPT, "moved_mm": round(float(moved_mm), 3)})
    return judged
