"""Sets of augmented patches from one volume, for the loss over all their pairs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import MapTransform, Randomizable
from torch import Tensor

from scripts.data.intensity import only_body
from scripts.point_propagation.augmented_patches import Augmentation, augmented_patches
from scripts.point_propagation.patches import with_boxes_masked


class PatchSetsd(Randomizable, MapTransform):
    """Draw N patches of one volume with the places of their centres in mm.

    Centres lie anywhere in the body (`box_mm` None), or within a box around one of its voxels so small that no two are
    further apart than `box_mm`. Patches are 0 outside the body, and each is augmented by itself; places are those in
    the volume as it is.

    Args:
        image_key, body_key: (1, X, Y, Z) image in [0, 1] and body mask on the same grid.
        patch_size: (X, Y, Z) voxels, even.
        spacing_mm: voxel size of the volumes.
        patches_per_volume: N.
        box_mm: largest distance of two centres along each axis; None for the coarse network.
        mask_boxes: largest number of boxes set to zero in the input patches; 0 switches masking off.
        mask_box_share: side of such a box in patches, rounded down to voxels.
        augmentation: what is drawn for each patch.
    """

    def __init__(
        self,
        patch_size: Sequence[int],
        spacing_mm: Sequence[float],
        patches_per_volume: int = 16,
        box_mm: Sequence[float] | None = None,
        mask_boxes: int = 15,
        mask_box_share: float = 0.25,
        augmentation: Augmentation | None = None,
        image_key: str = "image",
        body_key: str = "body",
    ) -> None:
        MapTransform.__init__(self, [image_key, body_key])
        self.patch_size = tuple(int(size) for size in patch_size)
        self.spacing_mm = torch.tensor([float(step) for step in spacing_mm])
        self.patches_per_volume = patches_per_volume
        self.box_mm = None if box_mm is None else torch.tensor([float(side) for side in box_mm])
        self.mask_boxes, self.mask_box_share = mask_boxes, mask_box_share
        self.augmentation = augmentation or Augmentation()
        self.image_key, self.body_key = image_key, body_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[str, Tensor]:
        """{"patches": (N, X, Y, Z), "masked": the same with boxes zeroed, "places_mm": (N, 3)}."""
        image = torch.as_tensor(data[self.image_key]).float()
        body = torch.as_tensor(data[self.body_key]) > 0
        generator = torch.Generator().manual_seed(int(self.R.randint(2**31)))
        centres = self._centres(body[0], generator)
        patches = augmented_patches(
            torch.cat([only_body(image, body), body.float()]),
            centres,
            self.patch_size,
            self.spacing_mm,
            self.spacing_mm,
            self.augmentation,
            generator,
        )[:, 0]
        masked = with_boxes_masked(patches, self.mask_boxes, self.mask_box_share, self.R)
        return {"patches": patches, "masked": masked, "places_mm": centres * self.spacing_mm}

    def _centres(self, body: Tensor, generator: torch.Generator) -> Tensor:
        """(N, 3) voxels of the body, drawn with replacement; the middle of a volume without a body."""
        voxels = body.nonzero()
        if len(voxels) == 0:
            voxels = torch.tensor(body.shape)[None] // 2
        if self.box_mm is not None:
            anchor = voxels[torch.randint(len(voxels), (1,), generator=generator)]
            reach = torch.floor(self.box_mm / 2 / self.spacing_mm)
            voxels = voxels[((voxels - anchor).abs() <= reach).all(dim=1)]
        return voxels[torch.randint(len(voxels), (self.patches_per_volume,), generator=generator)].float()


def prepare_sets(
    batch: Mapping[str, Tensor], device: str | torch.device | None = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Network input and loss target of a batch of sets, for MONAI's engines (`prepare_batch`).

    Input (B * N, 1, X, Y, Z), the patches of a volume one after the other.
    """
    masked, patches, places_mm = (
        batch[key].to(device=device, non_blocking=non_blocking, **kwargs) for key in ("masked", "patches", "places_mm")
    )
    target = {"places_mm": places_mm, "patches": patches.flatten(0, 1)[:, None]}
    return masked.flatten(0, 1)[:, None], target
