"""An atlas: a case whose labels are known, and its embedding (mode `default`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from scripts.common.label_channels import LabelChannels
from scripts.data.cached_volume import CachedVolume
from scripts.data.resampling import nearest_on_grid
from scripts.data.volume_io import read_labels
from scripts.registration.body import Body


@dataclass(frozen=True)
class Atlas:
    """A case with its labels.

    Attributes:
        volume: at the working spacing.
        body: its embedding.
        one_hot: (1 + K, X, Y, Z), which of its voxels are of which class, background first.
    """

    volume: CachedVolume
    body: Body
    one_hot: np.ndarray

    @cached_property
    def fractions(self) -> Tensor:
        """(1 + K, x, y, z) share of each class in each fine cell, background first."""
        return self.body.embedding.grid().fractions(self.one_hot[1:])


def read_atlas(path: str | Path, volume: CachedVolume, body: Body, classes: LabelChannels) -> Atlas:
    """An atlas whose label map is in a file.

    Args:
        path: the label map, on the case's own grid.
        volume: at the working spacing.
        body: its embedding.
        classes: of the label map; other values are background.
    """
    return Atlas(volume, body, read_one_hot(path, volume, classes))


def read_one_hot(path: str | Path, volume: CachedVolume, classes: LabelChannels) -> np.ndarray:
    """(1 + K, X, Y, Z) at the working spacing, of a label map in a file; see `read_atlas`."""
    label = nearest_on_grid(read_labels(path, classes.classes), volume.affine, volume.body.shape)
    return classes.one_hot(label)
