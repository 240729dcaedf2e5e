"""The segmentation networks by name: MONAI's residual U-Net (mode `paper`), and one that starts from an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from monai.networks.nets import UNet
from torch import Tensor, nn

from scripts.common.errors import BundleError
from scripts.common.schema import BOOLEAN, CLASSES, list_of, one_of, table_of, whole
from scripts.networks.anatomy_net import AnatomyTrunk, Block, upsampled
from scripts.networks.embedding_weights import load_embedding
from scripts.networks.loading import IMAGES, MOST_CHANNELS, SPACING_MM, WINDOW, Card, fitting_weights, read_card

WEIGHTS = "segmentation weights"
MOST_PARTS = 255  # of one class
# What decides its label maps, in the order in which fingerprints have it.
CARD = {
    "classes": CLASSES,
    "spacing_mm": SPACING_MM,
    "patch_size": WINDOW,
    "architecture": one_of("unet", "anatomy"),
    "channels": list_of(whole(1, MOST_CHANNELS), 2, 8),
    "crop_to_body": BOOLEAN,
    **IMAGES,
    "parts": table_of(whole(2, MOST_PARTS)),
}


class AnatomySegmenter(AnatomyTrunk):
    """AnatomyNet's trunk, taken to full resolution, with one channel per class.

    Args:
        out_channels: classes and background.
        widths: as the trunk's.
    """

    def __init__(self, out_channels: int, widths: Sequence[int]) -> None:
        super().__init__(widths)
        w1, w2, *_ = self.widths
        self.full = Block(w2 + w1, w1)
        self.head = nn.Conv3d(w1, out_channels, kernel_size=1)

    def forward(self, windows: Tensor) -> Tensor:
        """(B, 1, X, Y, Z) -> (B, out_channels, X, Y, Z) logits.

        Raises:
            ValueError: a side is no multiple of 16.
        """
        maps = self.features(windows)
        return self.head(self.full(torch.cat([upsampled(maps[2]), maps[1]], dim=1)))


def segmentation_network(
    architecture: str, out_channels: int, channels: Sequence[int], dropout: float = 0.0
) -> nn.Module:
    """A segmentation network, (B, 1, X, Y, Z) -> (B, out_channels, X, Y, Z) logits.

    Args:
        architecture: "unet" (MONAI's, with residual units; section 2.4 of arXiv 2111.10773) or "anatomy".
        out_channels: classes and background.
        channels: channels of the network at each resolution, finest first.
        dropout: share of the plain U-Net's features that are dropped in training; "anatomy" drops none.

    Raises:
        BundleError: another architecture.
    """
    if architecture == "anatomy":
        return AnatomySegmenter(out_channels, channels)
    if architecture == "unet":
        strides = [2] * (len(channels) - 1)
        return UNet(3, 1, out_channels, channels, strides, num_res_units=2, norm="INSTANCE", dropout=dropout)
    raise BundleError("unknown network", stage="segmentation", expected="unet or anatomy", found=architecture)


def output_bias(network: nn.Module) -> Tensor:
    """(out_channels,) what a segmentation network adds to the logits of each channel, whatever it sees.

    In MONAI's U-Net it is that of the last convolution; where that has another one beside it both are added.
    """
    *_, last = (module for module in network.modules() if isinstance(module, nn.Conv3d | nn.ConvTranspose3d))
    if last.bias is None:
        raise BundleError("the network's last layer has no bias", stage="segmentation", found=type(last).__name__)
    return last.bias


def check_segmentation(folder: str | Path) -> Card:
    """The card of the segmentation network in `folder`, which its weights fit.

    Raises:
        BundleError: no network, a damaged card, or weights that are damaged or another network's.
    """
    card = read_card(folder, WEIGHTS, CARD)
    fitting_weights(folder, WEIGHTS, card, _untrained)
    return card


def _untrained(card: Card) -> nn.Module:
    return segmentation_network(card["architecture"], len(card["classes"]) + 1, card["channels"])


def start_from_embedding(network: nn.Module, embedding_dir: str | Path | None) -> None:
    """Give the trunk of an `AnatomySegmenter` the weights of a trained AnatomyNet; None leaves it as it is.

    Raises:
        BundleError: the network has no such trunk, the embedding network does not load, or its widths differ.
    """
    if embedding_dir is None:
        return
    trained = load_embedding(embedding_dir).network
    if not isinstance(network, AnatomySegmenter) or network.widths != trained.widths:
        raise BundleError(
            "the segmentation network cannot start from this embedding network",
            stage="segmentation",
            file=Path(embedding_dir) / "model.pt",
            expected=f'architecture "anatomy" with channels {trained.widths}',
            found=getattr(network, "widths", type(network).__name__),
        )
    shared = {key: value for key, value in trained.state_dict().items() if key in network.state_dict()}
    network.load_state_dict(shared, strict=False)
