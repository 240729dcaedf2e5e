"""Self-support boundary refinement: a label map's border redrawn by what its own inside and outside look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from scripts.common.errors import BundleError
from scripts.networks.autocast_inferers import AutocastSlidingWindowInferer
from scripts.networks.prnet import PRNet

INNER_RADIUS = 1
OUTER_RADIUS = 2


def dense_features(
    network: PRNet,
    image: np.ndarray,
    patch_size: Sequence[int],
    overlap: float = 0.25,
    batch_size: int = 4,
    bfloat16: bool = False,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """PRNet's last decoder map over a whole volume: (X, Y, Z) in [0, 1] -> (C, X, Y, Z) float32.

    Windows of `patch_size`, as the network was trained; overlapping windows are averaged, a smaller volume is padded
    with zeros.
    """
    inferer = AutocastSlidingWindowInferer(
        roi_size=tuple(patch_size), sw_batch_size=batch_size, overlap=overlap, device="cpu", enabled=bfloat16
    )
    inputs = torch.as_tensor(np.ascontiguousarray(image), dtype=torch.float32, device=device)[None, None]
    with torch.inference_mode():
        return inferer(inputs, network.dense_features)[0].float().cpu().numpy()


def refine_boundary(
    label: np.ndarray,
    features: np.ndarray,
    inner_radius: int = INNER_RADIUS,
    outer_radius: int = OUTER_RADIUS,
    clusters: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Decide the voxels near each class's border by cosine similarity to prototypes from both sides of it.

    Per class: voxels within `inner_radius` of the border are undecided. The foreground prototype is the mean feature
    of the shell between `inner_radius` and `outer_radius` inside, the background prototypes are k-means centres of
    the shell outside; all have unit length. An undecided voxel joins the class if the foreground is the more similar;
    one that several classes claim goes to the most similar. After the later version of the paper's code.

    Args:
        label: (X, Y, Z) class indices, 0 background.
        features: (C, X, Y, Z), best those of `dense_features`.
        inner_radius: voxels; structuring elements are boxes of 2 * radius + 1.
        outer_radius: voxels, larger than `inner_radius`.
        clusters: background prototypes.
        seed: of k-means.

    Returns:
        (X, Y, Z), dtype of `label`. A class that is absent, or too thin for either shell, stays as it was.

    Raises:
        BundleError: shapes or radii do not fit.
    """
    if label.shape != features.shape[1:]:
        found = f"label {label.shape}, features {features.shape}"
        raise BundleError("the features do not fit the label map", expected=f"(C, {label.shape})", found=found)
    if not 0 < inner_radius < outer_radius or clusters < 1:
        found = f"radii {inner_radius} and {outer_radius}, clusters {clusters}"
        raise BundleError("unusable refinement settings", expected="0 < inner < outer, clusters > 0", found=found)
    refined = np.zeros_like(label)
    score = np.full(label.shape, -np.inf, dtype=np.float32)
    for index in range(1, int(label.max()) + 1):
        mask = label == index
        if not mask.any():
            continue
        box = _grown_box(mask, outer_radius + 1)
        shells = _shells(mask[box], inner_radius, outer_radius)
        claim = _claim(mask[box], shells, features[(slice(None), *box)], clusters, seed)
        wins = claim > score[box]
        refined[box][wins] = index
        score[box][wins] = claim[wins]
    return refined


@dataclass(frozen=True)
class _Shells:
    """Masks around one border: surely inside, undecided, and the shells the prototypes come from."""

    core: np.ndarray
    undecided: np.ndarray
    inside: np.ndarray
    outside: np.ndarray


def _shells(mask: np.ndarray, inner_radius: int, outer_radius: int) -> _Shells:
    near, far = (np.ones((2 * radius + 1,) * 3, dtype=bool) for radius in (inner_radius, outer_radius))
    dilated, dilated_far = ndimage.binary_dilation(mask, near), ndimage.binary_dilation(mask, far)
    # what the field of view cuts off is no border
    eroded = ndimage.binary_erosion(mask, near, border_value=1)
    eroded_far = ndimage.binary_erosion(mask, far, border_value=1)
    return _Shells(eroded, dilated & ~eroded, eroded & ~eroded_far, dilated_far & ~dilated)


def _claim(mask: np.ndarray, shells: _Shells, features: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Similarity with which the class claims each voxel: infinite where it stays as it was, -infinite for no claim."""
    claim = np.full(mask.shape, -np.inf, dtype=np.float32)
    if not shells.inside.any() or not shells.outside.any():
        claim[mask] = np.inf
        return claim
    foreground = _unit(_voxels(features, shells.inside).mean(axis=0, keepdims=True))
    background = _unit(_cluster_centres(_voxels(features, shells.outside), clusters, seed))
    undecided = _voxels(features, shells.undecided)
    similarity = (undecided @ foreground.T)[:, 0]
    similarity[similarity <= (undecided @ background.T).max(axis=1)] = -np.inf
    claim[shells.undecided] = similarity
    claim[shells.core] = np.inf
    return claim


def _voxels(features: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(N, C) unit feature vectors of the mask's voxels."""
    return _unit(features[:, mask].T.astype(np.float64))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-8)


def _cluster_centres(vectors: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """At most `clusters` k-means centres; fewer where the vectors are fewer or alike."""
    distinct = np.unique(vectors.round(6), axis=0)
    if len(distinct) <= clusters:
        return distinct
    centres, member_of = kmeans2(vectors, clusters, minit="++", seed=np.random.default_rng(seed), missing="warn")
    return centres[np.unique(member_of)]


def _grown_box(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    """Bounding box of a non-empty mask, grown by `margin` voxels within the volume."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, size in zip(box, mask.shape, strict=True)
    )
