"""PRNet: where a patch lies in the body (position) and what tissue it shows (reconstruction)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LEVELS = ("m1", "m2", "m3", "m4")
DOWNSAMPLINGS = 4


class ConvBlock(nn.Sequential):
    """3x3x3 convolution, instance norm without affine parameters, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1),
            nn.InstanceNorm3d(out_channels),
            nn.ReLU(inplace=True),
        )


class DoubleBlock(nn.Sequential):
    """Two ConvBlocks in a row."""

    def __init__(self, in_channels: int, middle_channels: int, out_channels: int) -> None:
        super().__init__(ConvBlock(in_channels, middle_channels), ConvBlock(middle_channels, out_channels))


class PRNet(nn.Module):
    """Position and reconstruction network (paper, section 2.1, Fig. 2).

    Four conv-blocks-and-downsampling, a bottleneck m0, a fully connected head to the anatomical coordinate p of the
    patch centre, and a plain U-Net decoder m1..m4 with skips and a reconstruction head. The three fully connected
    layers have no activation between them, as in the official code.

    Args:
        patch_size: (X, Y, Z) voxels, each a multiple of 16 * pooling, more than one such cell; the fully connected
            head is tied to it.
        width: channels of the network's first stage (16 in the paper's configuration).
        pooling: patches are averaged over pooling^3 voxels first: a wider field of view at the same cost (1 in the
            paper's configuration).
        in_channels: image channels.
        float32_head: the position head leaves autocast. bfloat16 tells 256 steps between 1 and 2, each of millimetres
            where r is hundreds of them.

    Raises:
        ValueError: `patch_size` is no such size; instance norm cannot take a single cell.
    """

    def __init__(
        self,
        patch_size: Sequence[int] = (128, 128, 48),
        width: int = 16,
        pooling: int = 1,
        in_channels: int = 1,
        float32_head: bool = False,
    ) -> None:
        super().__init__()
        self.patch_size = tuple(int(size) for size in patch_size)
        self.width, self.pooling = width, pooling
        self.float32_head = float32_head
        step = 2**DOWNSAMPLINGS * pooling
        if len(self.patch_size) != 3 or any(size < step or size % step for size in self.patch_size):
            raise ValueError(f"patch_size must be three multiples of {step}, got {self.patch_size}")
        cells = self.patch_size[0] * self.patch_size[1] * self.patch_size[2] // step**3
        if cells < 2:
            raise ValueError(f"patch_size must be larger than {step} along one axis, got {self.patch_size}")
        w = width
        self.pool = nn.AvgPool3d(pooling)
        self.unpool = nn.Upsample(scale_factor=pooling, mode="trilinear", align_corners=False)
        self.encoder = nn.ModuleList(
            [
                DoubleBlock(in_channels, w, w),
                DoubleBlock(w, w, 2 * w),
                DoubleBlock(2 * w, 2 * w, 4 * w),
                DoubleBlock(4 * w, 4 * w, 8 * w),
            ]
        )
        self.downsample = nn.MaxPool3d(2)
        self.bottleneck = DoubleBlock(8 * w, 8 * w, 16 * w)
        self.decoder = nn.ModuleList(
            [
                DoubleBlock(16 * w + 8 * w, 8 * w, 8 * w),
                DoubleBlock(8 * w + 4 * w, 4 * w, 4 * w),
                DoubleBlock(4 * w + 2 * w, 2 * w, w),
                DoubleBlock(w + w, w, w),
            ]
        )
        self.upsample = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
        self.reconstruction_head = nn.Conv3d(w, in_channels, kernel_size=1)
        self.position_head = nn.Sequential(
            nn.Linear(cells * 16 * w, 128),
            nn.Linear(128, 64),
            nn.Linear(64, 3),
        )

    def position(self, patches: Tensor) -> Tensor:
        """Anatomical coordinate p of each patch centre: (B, C, X, Y, Z) -> (B, 3). Runs no decoder."""
        bottleneck, _ = self._encode(patches)
        return self._head(bottleneck)

    def describe(self, patches: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Position (B, 3) and the features f1..f4 of the centre voxel, {"m1": (B, 8w), ..., "m4": (B, w)}.

        The centre voxel is index size // 2 of each axis at every level: for a patch cropped from c - size / 2 to
        c + size / 2, that is voxel c itself at full resolution.
        """
        bottleneck, skips = self._encode(patches)
        maps = self._decode(bottleneck, skips)
        features = {level: _centre_voxel(feature_map) for level, feature_map in zip(LEVELS, maps, strict=True)}
        return self._head(bottleneck), features

    def maps(self, patches: Tensor) -> dict[str, Tensor]:
        """The decoder's maps, {"m1": (B, 8w, x, y, z), ..., "m4": (B, w, X, Y, Z) after pooling}."""
        return dict(zip(LEVELS, self._decode(*self._encode(patches)), strict=True))

    def forward(self, patches: Tensor) -> dict[str, Tensor]:
        """Everything training needs: {"position": (B, 3), "reconstruction": (B, C, X, Y, Z) in [0, 1]}."""
        bottleneck, skips = self._encode(patches)
        last = self._decode(bottleneck, skips)[-1]
        return {
            "position": self._head(bottleneck),
            "reconstruction": torch.sigmoid(self.unpool(self.reconstruction_head(last)).float()),
        }

    def dense_features(self, patches: Tensor) -> Tensor:
        """Last decoder map m4, (B, C, X, Y, Z) -> (B, width, X, Y, Z), for boundary refinement."""
        return self.unpool(self.maps(patches)["m4"])

    def _encode(self, patches: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = []
        features = self.pool(patches)
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
            features = self.downsample(features)
        # float32 always: torch 2.13's bfloat16 weight gradients of 3x3x3 convolutions on 2x2x2 maps are wrong on CPUs.
        with torch.autocast(features.device.type, enabled=False):
            return self.bottleneck(features.float()), skips

    def _decode(self, bottleneck: Tensor, skips: list[Tensor]) -> list[Tensor]:
        maps = []
        features = bottleneck
        for stage, skip in zip(self.decoder, reversed(skips), strict=True):
            features = stage(torch.cat([self.upsample(features), skip], dim=1))
            maps.append(features)
        return maps

    def _head(self, bottleneck: Tensor) -> Tensor:
        features = bottleneck.flatten(1)
        if not self.float32_head:
            return self.position_head(features).float()
        with torch.autocast(features.device.type, enabled=False):
            return self.position_head(features)


def _centre_voxel(feature_map: Tensor) -> Tensor:
    x, y, z = (size // 2 for size in feature_map.shape[2:])
    return feature_map[:, :, x, y, z].float()
