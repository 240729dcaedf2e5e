"""The labelled volume's grid, on which everything is learnt: all volumes come there by an affine map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch

from bundle.benchmark.rivals.convex_adam import AIR_HU, at_spacing
from bundle.benchmark.rivals.data_aug.affine import affine_map

WINDOW_HU = (-250.0, 350.0)  # what lies beyond is cut off; then 0 to 1
BODY_HU = -300.0
MULTIPLE = 16  # of voxels along each axis, for the networks


@dataclass(frozen=True)
class Frame:
    """The labelled volume's grid at a coarse spacing, cropped to its body.

    Attributes:
        grid: the labelled volume there, in HU; padded with air to a multiple of 16 voxels.
    """

    grid: sitk.Image

    @classmethod
    def of(cls, volume: sitk.Image, spacing_mm: float) -> Frame:
        """The frame of a labelled volume."""
        cropped = _body(volume, spacing_mm)
        missing = [-size % MULTIPLE for size in cropped.GetSize()]
        return cls(sitk.ConstantPad(cropped, [0, 0, 0], missing, AIR_HU))

    def image(self) -> torch.Tensor:
        """(Z, Y, X): the labelled volume, 0 to 1."""
        return _scaled(self.grid)

    def labels(self, label_map: sitk.Image) -> torch.Tensor:
        """(Z, Y, X) int64: its label map."""
        here = sitk.Resample(label_map, self.grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        return torch.from_numpy(sitk.GetArrayFromImage(here).astype(np.int64))

    def brought_here(self, volume: sitk.Image) -> tuple[torch.Tensor, sitk.Transform]:
        """(Z, Y, X): another volume, 0 to 1; and the map from places of the frame to its places."""
        body = _body(volume, self.grid.GetSpacing()[0])
        found = affine_map(*(sitk.Clamp(image, sitk.sitkFloat32, *WINDOW_HU) for image in (self.grid, body)))
        return _scaled(sitk.Resample(body, self.grid, found, sitk.sitkLinear, AIR_HU)), found

    def sent_back(self, probabilities: torch.Tensor, found: sitk.Transform, volume: sitk.Image) -> sitk.Image:
        """The label map of a volume that was brought here.

        Args:
            probabilities: (C, Z, Y, X); background first. Each class is taken linearly, then the highest one.
            found: as `brought_here` gave it.
            volume: the label map's grid.
        """
        back = found.GetInverse()
        shape = volume.GetSize()[::-1]
        highest, label_map = np.full(shape, -1.0, np.float32), np.zeros(shape, np.uint8)
        for label, share in enumerate(probabilities.float().numpy()):
            image = sitk.GetImageFromArray(share)
            image.CopyInformation(self.grid)
            outside = 1.0 if label == 0 else 0.0
            here = sitk.GetArrayFromImage(sitk.Resample(image, volume, back, sitk.sitkLinear, outside))
            label_map[here > highest] = label
            highest = np.maximum(highest, here)
        result = sitk.GetImageFromArray(label_map)
        result.CopyInformation(volume)
        return result


def _body(volume: sitk.Image, spacing_mm: float) -> sitk.Image:
    """The volume with cubic voxels, cropped to the box of everything that is no air."""
    coarse = at_spacing(volume, spacing_mm)
    body = np.argwhere(sitk.GetArrayViewFromImage(coarse) > BODY_HU)
    first, last = body.min(0)[::-1].tolist(), body.max(0)[::-1].tolist()
    return coarse[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))]


def _scaled(image: sitk.Image) -> torch.Tensor:
    low, high = WINDOW_HU
    values = torch.from_numpy(sitk.GetArrayFromImage(image).astype(np.float32))
    return (values.clamp(low, high) - low) / (high - low)
