"""Self-support boundary refinement: a label map's border redrawn by what its own inside and outside look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from scripts.common.boxes import box_of
from scripts.common.errors import BundleError
from scripts.common.masks.largest_parts import keep_largest_parts
from scripts.networks.autocast_inferers import AutocastSlidingWindowInferer
from scripts.networks.prnet import PRNet
from scripts.pseudo_labels.geodesic_labels import nearest_class
from scripts.pseudo_labels.settings import GeodesicSettings, RefinementSettings


def refined_distances(
    distances: np.ndarray,
    image: np.ndarray,
    network: PRNet,
    settings: GeodesicSettings,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """The distances; where refinement changed the label, 0 to the new class and the truncation to all others.

    Args:
        distances: (K + 1, X, Y, Z) up to the truncation, background first.
        image: (X, Y, Z) in [0, 1], at the spacing that the network was trained at.
        network: the fine PRNet.
        settings: `refinement`, `largest_component` and `truncation` count.
        device: where the network is.
    """
    before, *_ = nearest_class(distances)
    label = before.copy()
    if settings.largest_component:
        keep_largest_parts(label)
    box = box_of(label, margins=[size // 2 for size in network.patch_size])
    if box is None:
        return distances
    refinement = settings.refinement
    features = dense_features(network, image[box], network.patch_size, refinement.refine_overlap, device=device)
    label[box] = refine_boundary(label[box], features, refinement)
    changed = label != before
    refined = distances.copy()
    channels = np.arange(len(distances))[:, None]
    refined[:, changed] = np.where(channels == label[changed], 0.0, settings.truncation)
    return refined


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


def refine_boundary(label: np.ndarray, features: np.ndarray, settings: RefinementSettings) -> np.ndarray:
    """Decide the voxels near each class's border by cosine similarity to prototypes from both sides of it.

    Per class: voxels within the inner radius of the border are undecided. The foreground prototype is the mean feature
    of the shell between the inner and the outer radius inside, the background prototypes are k-means centres of the
    shell outside; all have unit length. An undecided voxel joins the class if the foreground is the more similar; one
    that several classes claim goes to the most similar. After the later version of the paper's code.

    Args:
        label: (X, Y, Z) channels, 0 background.
        features: (C, X, Y, Z), best those of `dense_features`.
        settings: see `RefinementSettings`.

    Returns:
        (X, Y, Z), dtype of `label`. A class that is absent, or too thin for either shell, stays as it was.

    Raises:
        BundleError: shapes do not fit.
    """
    if label.shape != features.shape[1:]:
        found = f"label {label.shape}, features {features.shape}"
        raise BundleError("the features do not fit the label map", expected=f"(C, {label.shape})", found=found)
    inner, outer = settings.refine_inner_voxels, settings.refine_outer_voxels
    refined = np.zeros_like(label)
    score = np.full(label.shape, -np.inf, dtype=np.float32)
    for index in range(1, int(label.max()) + 1):
        mask = label == index
        if (box := box_of(mask, margins=3 * [outer + 1])) is None:
            continue
        shells = _shells(mask[box], inner, outer)
        claim = _claim(mask[box], shells, features[(slice(None), *box)], settings.refine_clusters, settings.refine_seed)
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
