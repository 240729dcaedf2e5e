"""From logits on the network's grid to a label map on the image's own, which is never filled with numbers of classes.

An image of 512 x 512 x 600 voxels has 0.6 GB of them for each class. Between eight corners of one class lies no other,
so logits are interpolated at borders alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import CommonKeys

from scripts.common.affines import ROUNDING_VOXELS, are_parallel, between_grids
from scripts.common.boxes import slabs_of
from scripts.common.label_channels import LabelChannels
from scripts.common.masks.largest_parts import keep_largest_parts
from scripts.common.sampling import at_borders, finer_slabs, onto_grid, sample_at

NO_PARTS: Mapping[str, int] = {}


class LabelOnImaged(MapTransform):
    """Replaces logits by (1, X, Y, Z) uint8 label values on the image's own grid, as the file has it.

    Args:
        keys: logits (1 + K, x, y, z), background first.
        classes: name -> label value, in the order of the channels 1 to K.
        keep_largest: whether only each class's largest connected part is kept, on the image's grid; diagonals connect.
        parts: class -> up to how many parts are kept then, of those in more than one, see `keep_largest_parts`.
        image_key: the network's input, a MetaTensor on the grid of the logits that knows its file's grid.
    """

    def __init__(
        self,
        keys: KeysCollection,
        classes: Mapping[str, int],
        keep_largest: bool = True,
        parts: Mapping[str, int] = NO_PARTS,
        image_key: str = CommonKeys.IMAGE,
    ) -> None:
        super().__init__(keys)
        self.channels, self.keep_largest, self.image_key = LabelChannels(classes), keep_largest, image_key
        self.counts = {channel: parts[name] for channel, name in enumerate(classes, start=1) if name in parts}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result, image = dict(data), data[self.image_key]
        grid_affine, affine = (np.asarray(of, dtype=float) for of in (image.affine, image.meta["original_affine"]))
        shape = [int(size) for size in image.meta["spatial_shape"]]
        for key in self.key_iterator(result):
            logits = torch.as_tensor(result[key]).float().cpu().numpy()
            label = label_on_grid(logits, grid_affine, affine, shape)
            if self.keep_largest:
                keep_largest_parts(label, self.counts, diagonals=True)
            values = torch.from_numpy(self.channels.to_values(label))[None]
            result[key] = MetaTensor(values, meta={**image.meta, "affine": torch.from_numpy(affine)})
        return result


def label_on_grid(
    logits: np.ndarray, logits_affine: np.ndarray, affine: np.ndarray, shape: Sequence[int]
) -> np.ndarray:
    """(X, Y, Z) uint8 channels of the highest logit, interpolated linearly, on another grid.

    Beyond the outermost logits theirs hold for less than a voxel; from there on there is background.

    Args:
        logits: (1 + K, x, y, z) float32, background first.
        logits_affine: (4, 4) of their grid.
        affine: (4, 4) of the other one.
        shape: of that.
    """
    to_logits = between_grids(affine, logits_affine)
    logits, to_logits = _along_axes(logits, to_logits)
    label = np.zeros(tuple(shape), dtype=np.uint8)
    if are_parallel(to_logits, shape):
        _label_at_borders(logits, to_logits, label)
    else:
        _label_everywhere(logits, to_logits, label)
    return label


def _along_axes(logits: np.ndarray, to_logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits with axes in the order and direction of those of the other grid, and the map to them."""
    orientation = nib.io_orientation(np.linalg.inv(to_logits))
    turned = nib.apply_orientation(np.moveaxis(logits, 0, -1), orientation)
    to_turned = np.linalg.inv(nib.orientations.inv_ornt_aff(orientation, logits.shape[1:])) @ to_logits
    return np.ascontiguousarray(np.moveaxis(turned, -1, 0)), to_turned


def _label_at_borders(logits: np.ndarray, to_logits: np.ndarray, label: np.ndarray) -> None:
    """Fill a map of zeros on a grid whose axes are parallel to those of the logits."""
    places, sides = [], []
    for axis, (size, count) in enumerate(zip(label.shape, logits.shape[1:], strict=True)):
        along = to_logits[axis, axis] * np.arange(size) + to_logits[axis, 3]
        first, end = np.searchsorted(along, [-1 + ROUNDING_VOXELS, count - ROUNDING_VOXELS])
        sides.append(slice(first, end))
        places.append(np.clip(along[first:end], 0, count - 1))
    coarse, part = _highest(logits), label[tuple(sides)]
    for slab in finer_slabs(coarse, at_borders(coarse), places):
        found = part[slab.box]
        found[...] = slab.label
        found[slab.looked] = _highest(sample_at(channel, slab.at) for channel in logits)


def _label_everywhere(logits: np.ndarray, to_logits: np.ndarray, label: np.ndarray) -> None:
    """Fill a map of zeros on any grid, a part of it and a class at a time."""
    for box in slabs_of([slice(0, size) for size in label.shape]):
        start = np.eye(4)
        start[:3, 3] = [side.start for side in box]
        part = label[box]
        part[...] = _highest(
            onto_grid(channel, to_logits @ start, part.shape, order=1, outside=0.0) for channel in logits
        )


def _highest(channels: Iterable[np.ndarray]) -> np.ndarray:
    """uint8 index of the highest of several arrays, of which one at a time needs to exist; of equals the first."""
    remaining = iter(channels)
    highest = next(remaining).copy()
    index = np.zeros(highest.shape, dtype=np.uint8)
    for number, values in enumerate(remaining, start=1):
        higher = values > highest
        index[higher] = number
        highest[higher] = values[higher]
    return index
