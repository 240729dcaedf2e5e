"""What is implausible about a label map without knowing the true one: nothing in it, or a class that fills the body or
lies outside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from scripts.common.affines import nearest_voxels, spacing_of, to_voxels, to_world
from scripts.data.intensity import BodySelector
from scripts.data.volume_io import Volume

BODY_SPACING_MM = 4.0  # fine enough to tell a body's volume
LARGEST_SHARE = 0.75  # of the body: an organ fills about half of the tightest box around it
MOST_OUTSIDE = 0.5  # of a class: skin, and what a body mask cuts off, is less
MOST_VOXELS = 20_000  # of a class that are looked at


def label_map_warnings(
    label_ml: Mapping[int, float],
    body_ml: float,
    names: Mapping[int, str] | None = None,
    outside: Mapping[int, float] | None = None,
) -> list[str]:
    """Sentences about a label map, none if it is plausible.

    Args:
        label_ml: label value -> volume, without 0.
        body_ml: volume of the body, as far as the image shows it.
        names: label value -> class.
        outside: label value -> share of it outside the body.
    """
    names = names or {}
    if not any(label_ml.values()):
        return ["the label map is empty; look whether the volume shows the organs, in Hounsfield units"]
    beside = [
        f"{share:.0%} of {names.get(value, f'label {value}')} lies outside the body; correct it, or crop the volume to "
        "the body and label it again"
        for value, share in (outside or {}).items()
        if share > MOST_OUTSIDE
    ]
    return beside + [
        f"{names.get(value, f'label {value}')} {_filled(volume / body_ml)}; look whether the volume is in Hounsfield "
        "units, and the network trained for long enough"
        for value, volume in label_ml.items()
        if volume > LARGEST_SHARE * body_ml
    ]


def _filled(share: float) -> str:
    return f"fills {share:.0%} of the body" if share <= 1 else "is larger than the body"


def label_volumes_ml(labels: np.ndarray, voxel_ml: float) -> dict[int, float]:
    """Label value -> volume in ml, of an array of whole numbers, without 0."""
    values, counts = np.unique(labels, return_counts=True)
    return {int(value): float(count) * voxel_ml for value, count in zip(values, counts, strict=True) if value != 0}


def body_of(image: torch.Tensor, affine: np.ndarray) -> Volume:
    """Body mask of a (1, X, Y, Z) normalised image on RAS axes, on a coarser grid; all of it where no body is found."""
    steps = [max(1, round(BODY_SPACING_MM / step)) for step in spacing_of(affine)]
    coarse = affine @ np.diag([*steps, 1.0])
    mask = BodySelector(list(spacing_of(coarse)))(image[(slice(None), *(slice(None, None, count) for count in steps))])
    return Volume(np.asarray(mask[0], dtype=bool), coarse)


def outside_shares(values: Iterable[int], labels: np.ndarray, affine: np.ndarray, body: Volume) -> dict[int, float]:
    """Label value -> share of its voxels, (X, Y, Z) on the grid of `affine`, that lie outside a body mask.

    Args:
        values: those that the label map holds, without 0.
        labels: (X, Y, Z) label values.
        affine: (4, 4) of their grid.
        body: (X, Y, Z) bool mask on a grid of its own.
    """
    shares: dict[int, float] = {}
    for value in values:
        voxels = np.argwhere(labels == value)
        world_mm = to_world(voxels[:: 1 + len(voxels) // MOST_VOXELS], affine)
        places = nearest_voxels(to_voxels(world_mm, body.affine), body.array.shape)
        shares[value] = 1 - float(body.array[tuple(places.T)].mean())
    return shares
