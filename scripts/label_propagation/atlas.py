"""An atlas: a case whose labels are known, and its embedding (mode `default`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from scripts.common.label_channels import LabelChannels
from scripts.data.cached_volume import CachedVolume
from scripts.data.resampling import shares_on_grid
from scripts.data.volume_io import read_labels
from scripts.registration.body import Body


@dataclass(frozen=True)
class Atlas:
    """A case with its labels.

    Attributes:
        volume: at the working spacing.
        body: its embedding.
        shares: (1 + K, X, Y, Z) float32 share of each class in each voxel, background first.
    """

    volume: CachedVolume
    body: Body
    shares: np.ndarray

    @cached_property
    def fractions(self) -> Tensor:
        """(1 + K, x, y, z) share of each class in each fine cell, background first."""
        return self.body.embedding.grid().fractions(self.shares[1:])


def read_atlas(path: str | Path, volume: CachedVolume, body: Body, classes: LabelChannels) -> Atlas:
    """An atlas whose label map is in a file.

    Args:
        path: the label map, on the case's own grid.
        volume: at the working spacing.
        body: its embedding.
        classes: of the label map; other values are background.
    """
    return Atlas(volume, body, read_shares(path, volume, classes))


def read_shares(path: str | Path, volume: CachedVolume, classes: LabelChannels) -> np.ndarray:
    """(1 + K, X, Y, Z) shares at the working spacing, of a label map in a file; see `read_atlas`.

    Whole voxels would take from a class that is as thin as they are, or give to it: shares keep its volume.
    """
    label = read_labels(path, classes.classes)
    shares = shares_on_grid(label, list(classes.classes.values()), volume.affine, volume.body.shape)
    return np.concatenate([1 - shares.sum(axis=0, keepdims=True), shares])
