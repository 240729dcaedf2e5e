"""Pairs of patches from one volume and the masks PRNet reconstructs under (paper, section 2.1)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable
from torch import Tensor

from scripts.data.intensity import only_body
from scripts.point_propagation.patches import extract_patches, pad_for_patches, with_boxes_masked
from scripts.point_propagation.relative_position import offset_mm

MAX_DRAWS = 1000


class PatchPairsd(Randomizable, MapTransform):
    """Draw pairs of patches with their offset in mm.

    Coarse (`box_mm` None): both centres anywhere in the body. Fine: the second centre in the body within a box of
    +-`box_mm` around the first. Patches are zero-padded where they leave the volume.

    Args:
        image_key, body_key: (1, X, Y, Z) image in [0, 1] and body mask on the same grid.
        patch_size: (X, Y, Z) voxels.
        spacing_mm: voxel size of the volumes.
        pairs_per_volume: pairs of patches drawn from one volume each time.
        box_mm: half the side, along X, Y, Z, in mm, of the box for the second centre; None for the coarse network.
        mask_boxes: largest number of boxes set to zero in the input patches; 0 switches masking off.
        mask_box_share: side of a box that is set to zero, as a share of the patch's, rounded down to voxels.
        body_only: patches are 0 outside the body.
        fixed_seed: every call draws the same pairs for the same volume (validation).
    """

    def __init__(
        self,
        patch_size: Sequence[int],
        spacing_mm: Sequence[float],
        pairs_per_volume: int = 2,
        box_mm: Sequence[float] | None = None,
        mask_boxes: int = 15,
        mask_box_share: float = 0.25,
        body_only: bool = False,
        fixed_seed: int | None = None,
        image_key: str = "image",
        body_key: str = "body",
    ) -> None:
        MapTransform.__init__(self, [image_key, body_key])
        self.patch_size = tuple(int(size) for size in patch_size)
        self.spacing_mm = tuple(float(s) for s in spacing_mm)
        self.pairs_per_volume = pairs_per_volume
        self.box_mm = None if box_mm is None else tuple(float(b) for b in box_mm)
        self.mask_boxes, self.mask_box_share = mask_boxes, mask_box_share
        self.body_only, self.fixed_seed = body_only, fixed_seed
        self.image_key, self.body_key = image_key, body_key

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[str, Tensor]]:
        """One dictionary per pair: "patches" (2, X, Y, Z), "masked" (the same with boxes zeroed), "offset_mm" (3,)."""
        if self.fixed_seed is not None:
            self.set_random_state(seed=self.fixed_seed)
        image = torch.as_tensor(data[self.image_key]).float()
        body = np.asarray(data[self.body_key])[0] > 0
        if self.body_only:
            image = only_body(image, torch.as_tensor(body))
        padded = pad_for_patches(image, self.patch_size)
        return [self._pair(padded, body) for _ in range(self.pairs_per_volume)]

    def _pair(self, padded: Tensor, body: np.ndarray) -> dict[str, Tensor]:
        shape = np.array(body.shape)
        first = self._draw(body, np.zeros(3, dtype=int), shape, fallback=shape // 2)
        low, high = np.zeros(3, dtype=int), shape
        if self.box_mm is not None:
            reach = np.floor(np.divide(self.box_mm, self.spacing_mm)).astype(int)
            low, high = np.maximum(first - reach, 0), np.minimum(first + reach + 1, shape)
        second = self._draw(body, low, high, fallback=first)
        centres = torch.as_tensor(np.stack([first, second]))
        patches = extract_patches(padded, centres, self.patch_size)[:, 0]
        offset = offset_mm(centres[0].float(), centres[1].float(), torch.tensor(self.spacing_mm))
        masked = with_boxes_masked(patches, self.mask_boxes, self.mask_box_share, self.R)
        return {"patches": patches, "masked": masked, "offset_mm": offset}

    def _draw(self, body: np.ndarray, low: np.ndarray, high: np.ndarray, fallback: np.ndarray) -> np.ndarray:
        """A body voxel with low <= voxel < high, by rejection."""
        for _ in range(MAX_DRAWS):
            voxel = self.R.randint(low, high)
            if body[tuple(voxel)]:
                return voxel
        return fallback


def prepare_pairs(
    batch: Mapping[str, Tensor], device: str | torch.device | None = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Network input and loss target of a batch of pairs, for MONAI's engines (`prepare_batch`).

    Both patches go through the shared network in one batch: input (2B, 1, X, Y, Z), patch 0 of every pair first.
    """

    def to_device(tensor: Tensor) -> Tensor:
        return tensor.to(device=device, non_blocking=non_blocking, **kwargs)

    masked = to_device(batch["masked"])
    patches = to_device(batch["patches"])
    target = {"offset_mm": to_device(batch["offset_mm"]), "patches": _stack_pairs(patches)}
    return _stack_pairs(masked), target


def _stack_pairs(patches: Tensor) -> Tensor:
    """(B, 2, X, Y, Z) -> (2B, 1, X, Y, Z)."""
    return torch.cat([patches[:, :1], patches[:, 1:]])
