"""Class probabilities of the network and of the atlases as one: a weighted mean by class, on one grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scripts.common.affines import are_parallel, between_grids
from scripts.data.probability_maps import ClassProbabilities, probabilities_on_grid
from scripts.segmentation.ensemble.volume_matching import with_volumes


def join_probabilities(network: np.ndarray, atlases: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """(1 + K, X, Y, Z) weighted mean by class; where classes claim more than all, each gets its part.

    Args:
        network: (1 + K, X, Y, Z) class probabilities, background first.
        atlases: the same.
        shares: weight of the network for each of the K classes.
    """
    weights = np.asarray(shares, dtype=np.float32)[:, None, None, None]
    joined = np.empty(network.shape, dtype=np.float32)
    joined[1:] = weights * network[1:] + (1 - weights) * atlases[1:]
    claimed = joined[1:].sum(axis=0)
    joined[1:] /= np.maximum(claimed, 1)
    joined[0] = np.maximum(1 - claimed, 0)
    return joined


def joined_on_grid(
    network: ClassProbabilities, atlases: ClassProbabilities, shares: Sequence[float], match_volumes: bool = False
) -> ClassProbabilities:
    """Both joined, see `join_probabilities`, on the network's grid; on the atlases' where their axes are not parallel.

    The network's grid has orthogonal axes, the atlases' those of the image, which a tilted gantry shears. What follows
    takes each axis of the image by itself.

    Args:
        network: class probabilities.
        atlases: the same.
        shares: see `join_probabilities`.
        match_volumes: the network's are brought to the atlases' volumes before, see `with_volumes`.
    """
    affine, own, theirs = network.affine, network.array, atlases.array
    if have_parallel_axes(affine, own.shape[1:], atlases.affine):
        theirs = probabilities_on_grid(theirs, atlases.affine, affine, own.shape[1:])
    else:
        own = probabilities_on_grid(own, affine, atlases.affine, theirs.shape[1:], parallel=False)
        affine = atlases.affine
    if match_volumes:
        own = with_volumes(own, theirs[1:].sum(axis=(1, 2, 3), dtype=float))
    return ClassProbabilities(join_probabilities(own, theirs, shares), affine)


def have_parallel_axes(affine: np.ndarray, shape: Sequence[int], other_affine: np.ndarray) -> bool:
    """Whether the axes of the grid of `affine` and `shape` are parallel to the other's."""
    return are_parallel(between_grids(affine, other_affine), shape)
