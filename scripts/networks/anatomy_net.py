"""AnatomyNet: dense anatomical embeddings; the same place of two bodies gets similar vectors (mode `default`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = {"fine": 2, "coarse": 8}  # voxels of the input per cell of each embedding
DEEPEST_STRIDE = 16


class Block(nn.Sequential):
    """Two 3x3x3 convolutions, each with group norm and ReLU; the first one may halve the resolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(*_convolution(in_channels, out_channels, stride), *_convolution(out_channels, out_channels, 1))


def _convolution(in_channels: int, out_channels: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv3d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
    # Group norm, not instance norm: a channel's mean over a window says where in the body the window lies.
    return convolution, nn.GroupNorm(min(4, out_channels), out_channels), nn.ReLU(inplace=True)


class AnatomyTrunk(nn.Module):
    """The U-Net without its last step and without heads: what the embedding and the segmentation network share.

    Args:
        widths: channels at strides 1, 2, 4, 8, 16.
        in_channels: image channels.

    Raises:
        ValueError: not five widths.
    """

    def __init__(self, widths: Sequence[int], in_channels: int = 1) -> None:
        super().__init__()
        if len(widths) != 5:
            raise ValueError(f"AnatomyNet needs five widths, for strides 1 to {DEEPEST_STRIDE}, got {list(widths)}")
        self.deepest_stride = DEEPEST_STRIDE  # TorchScript knows attributes, but no module's constants
        w1, w2, w4, w8, w16 = self.widths = [int(width) for width in widths]
        self.encoder = nn.ModuleList(
            [
                nn.Sequential(*_convolution(in_channels, w1, 1)),
                Block(w1, w2, stride=2),
                Block(w2, w4, stride=2),
                Block(w4, w8, stride=2),
                Block(w8, w16, stride=2),
            ]
        )
        self.decoder = nn.ModuleList([Block(w16 + w8, w8), Block(w8 + w4, w4), Block(w4 + w2, w2)])

    def features(self, windows: Tensor) -> dict[int, Tensor]:
        """(B, 1, X, Y, Z) windows -> stride -> (B, C, ...) features: the decoder's at 8, 4 and 2, the encoder's at 1.

        Raises:
            ValueError: a side is no multiple of 16.
        """
        # Written for TorchScript: no comprehension, no zip.
        sides = windows.shape[2:]
        for side in sides:
            if side % self.deepest_stride != 0:
                raise ValueError(f"window sides must be multiples of {self.deepest_stride}, got {list(sides)}")
        skips = []
        features = windows
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
        maps = {1: skips[0]}
        stride = self.deepest_stride
        for level, stage in enumerate(self.decoder):
            stride = stride // 2
            features = stage(torch.cat([upsampled(features), skips[3 - level]], dim=1))
            maps[stride] = features
        return maps


class AnatomyNet(AnatomyTrunk):
    """Fully convolutional U-Net with two embedding heads.

    Position in the body is learnt by contrast (`ContrastiveLoss`): no offset in mm is regressed, because bodies differ
    in size. The fine head sees detail, the coarse one tells far places apart, left from right too.

    Args:
        widths: channels of the network at strides 1, 2, 4, 8, 16.
        fine_channels, coarse_channels: numbers that describe a place, in each of both heads.
        in_channels: image channels.

    Raises:
        ValueError: not five widths.
    """

    def __init__(
        self,
        widths: Sequence[int] = (12, 24, 48, 96, 192),
        fine_channels: int = 64,
        coarse_channels: int = 64,
        in_channels: int = 1,
    ) -> None:
        super().__init__(widths, in_channels)
        self.coarse_head = nn.Conv3d(self.widths[3], coarse_channels, kernel_size=1)
        self.fine_head = nn.Conv3d(self.widths[1], fine_channels, kernel_size=1)

    def forward(self, windows: Tensor) -> dict[str, Tensor]:
        """Unit vectors per cell: (B, C, X, Y, Z) -> {"fine": (B, F, X/2, Y/2, Z/2), "coarse": (B, G, X/8, Y/8, Z/8)}.

        Raises:
            ValueError: a side is no multiple of 16.
        """
        maps = self.features(windows)
        return {"fine": _unit(self.fine_head(maps[2])), "coarse": _unit(self.coarse_head(maps[8]))}


def upsampled(features: Tensor) -> Tensor:
    """(B, C, X, Y, Z) features at twice the resolution, nearest."""
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")


def _unit(embedding: Tensor) -> Tensor:
    return functional.normalize(embedding.float(), dim=1)
