"""The three networks: one bends the labelled volume, one recolours it, one learns to segment from what they made."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass

import torch
from monai.losses import DiffusionLoss, LocalNormalizedCrossCorrelationLoss
from monai.networks.blocks import Warp
from monai.networks.nets import UNet, VoxelMorph
from torch.nn.functional import avg_pool3d, grid_sample, interpolate

from scripts.networks import segmenter
from scripts.segmentation.loss import LocatedDiceCELoss

HALF = 2  # displacements are found on every other voxel
LNCC_VOXELS = 9
SMOOTH_SPATIAL = 1.0
SMOOTH_APPEARANCE = 0.02
CHANNELS = (16, 32, 32, 32)  # of the appearance network
ARCHITECTURE, FEATURES = "anatomy", (12, 24, 48, 96, 192)  # of the segmentation network: as ours
CLASS_BALANCE, CLASS_BALANCE_END = 1.0, 0.5  # as ours


@dataclass(frozen=True)
class Recipe:
    """How long and how everything is trained: about an hour on one core by the defaults.

    Attributes:
        spacing_mm: of the cubic voxels.
        spatial_steps: of one pair each.
        appearance_steps: of one volume each.
        segmentation_steps: of one window each, around a voxel of any class, each class as often.
        window: voxels along each axis.
        learning_rate: Adam's at first, of all three; falls to 0 along a cosine.
        seed: of everything random.
    """

    spacing_mm: float = 4.0
    spatial_steps: int = 600
    appearance_steps: int = 150
    segmentation_steps: int = 2000
    window: int = 48
    learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class Changes:
    """What the unlabelled volumes taught: how the labelled one would have to change to look like each of them.

    Attributes:
        displacements: N x (3, Z, Y, X), voxels: where in the labelled volume each place comes from.
        recolourings: N x (Z, Y, X): what is added to the labelled volume, on its own grid.
    """

    displacements: list[torch.Tensor]
    recolourings: list[torch.Tensor]


def learn_changes(image: torch.Tensor, labels: torch.Tensor, others: Sequence[torch.Tensor], recipe: Recipe) -> Changes:
    """Displacements first, then recolourings.

    Args:
        image: (Z, Y, X), 0 to 1: the labelled volume.
        labels: (Z, Y, X): its label map; a recolouring may jump at its borders.
        others: the unlabelled volumes, brought to the same grid.
        recipe: see there.
    """
    torch.manual_seed(recipe.seed)
    bend = _learn_to_bend(image, others, recipe)
    warp = Warp(padding_mode="zeros")
    with torch.no_grad():
        there = [bend(image, other) for other in others]
        back = [warp(_batch(other), bend(other, image)[None])[0, 0] for other in others]
    return Changes(there, _learn_to_recolour(image, labels, others, back, there, recipe))


def learn_to_segment(image: torch.Tensor, labels: torch.Tensor, changes: Changes, recipe: Recipe) -> torch.nn.Module:
    """A network that saw the labelled volume alone, in as many shapes and colours as two unlabelled ones give.

    Args:
        image: (Z, Y, X), 0 to 1.
        labels: (Z, Y, X) int64, 0 is background.
        changes: shape and colour are drawn independently.
        recipe: see there.
    """
    torch.manual_seed(recipe.seed + 1)
    classes = int(labels.max())
    network = segmentation_network(classes + 1)
    loss = LocatedDiceCELoss()
    falling = iter(torch.linspace(CLASS_BALANCE, CLASS_BALANCE_END, recipe.segmentation_steps).tolist())
    located = torch.ones(1, classes)
    voxels = [torch.nonzero(labels == value) for value in labels.unique()]

    def step() -> torch.Tensor:
        loss.class_balance = next(falling)
        chosen = voxels[_any(voxels)]
        window = _window(image.shape, chosen[_any(chosen)].tolist(), recipe.window)
        numbers = _any(changes.displacements), _any(changes.recolourings)
        changed, bent = synthesised(image, labels, changes, *numbers, window)
        return loss(network(_batch(changed)), {"label": _batch(bent), "located": located})

    _train(network, step, recipe.segmentation_steps, recipe.learning_rate)
    return network.eval()


def segmentation_network(channels: int) -> torch.nn.Module:
    """Untrained; as many output channels."""
    return segmenter.segmentation_network(ARCHITECTURE, channels, FEATURES, dropout=0.0)


def synthesised(
    image: torch.Tensor,
    labels: torch.Tensor,
    changes: Changes,
    shape: int,
    colour: int,
    window: tuple[slice, ...] = (slice(None),) * 3,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The labelled volume recoloured as one unlabelled volume and bent as another, and its label map bent alike.

    Args:
        image: (Z, Y, X).
        labels: (Z, Y, X).
        changes: what is known of the unlabelled volumes.
        shape: number of the one that it is bent as.
        colour: number of the one that it is recoloured as.
        window: the part of the result that is wanted.
    """
    axes = [torch.arange(size)[part] for size, part in zip(image.shape, window, strict=True)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij")) + changes.displacements[shape][(slice(None), *window)]
    last = torch.tensor(image.shape).view(3, 1, 1, 1) - 1
    grid = (2 * places / last - 1).flip(0).movedim(0, -1)[None]
    bent = grid_sample(_batch(image + changes.recolourings[colour]), grid, align_corners=True)[0, 0]
    label_map = grid_sample(_batch(labels.float()), grid, mode="nearest", align_corners=True)[0, 0]
    return bent, label_map.round().long()


def _learn_to_bend(
    image: torch.Tensor, others: Sequence[torch.Tensor], recipe: Recipe
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A diffeomorphic VoxelMorph, trained in both directions; what comes back gives (3, Z, Y, X) for a pair."""
    network = VoxelMorph()
    similar = LocalNormalizedCrossCorrelationLoss(kernel_size=LNCC_VOXELS)
    smooth = DiffusionLoss()

    def step() -> torch.Tensor:
        moving, fixed = _coarse(image), _coarse(others[_any(others)])
        if _any((0, 1)):
            moving, fixed = fixed, moving
        warped, field = network(moving, fixed)
        return similar(warped, fixed) + SMOOTH_SPATIAL * smooth(field)

    _train(network, step, recipe.spatial_steps, recipe.learning_rate)
    network.eval()

    def bend(moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        field = network(_coarse(moving), _coarse(fixed))[1]
        return interpolate(field * HALF, size=tuple(moving.shape), mode="trilinear")[0]

    return bend


def _learn_to_recolour(
    image: torch.Tensor,
    labels: torch.Tensor,
    others: Sequence[torch.Tensor],
    back: Sequence[torch.Tensor],
    there: Sequence[torch.Tensor],
    recipe: Recipe,
) -> list[torch.Tensor]:
    """What is added to the labelled volume so that it looks like each other one once it is bent (`there`)."""
    network = UNet(3, in_channels=2, out_channels=1, channels=CHANNELS, strides=(2, 2, 2), num_res_units=1)
    warp, inside = Warp(padding_mode="zeros"), _inside(labels)

    def added(number: int) -> torch.Tensor:
        return network(torch.stack([image, back[number]])[None])[0, 0]

    def step() -> torch.Tensor:
        number = _any(others)
        colour = added(number)
        bent = warp(_batch(image + colour), there[number][None])[0, 0]
        jumps = sum(((inside[axis] * colour.diff(dim=axis)).abs().mean() for axis in range(3)), torch.zeros(()))
        return (bent - others[number]).square().mean() + SMOOTH_APPEARANCE * jumps

    _train(network, step, recipe.appearance_steps, recipe.learning_rate)
    network.eval()
    with torch.no_grad():
        return [added(number) for number in range(len(others))]


def _train(network: torch.nn.Module, step: Callable[[], torch.Tensor], steps: int, learning_rate: float) -> None:
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        step().backward()
        optimizer.step()
        falling.step()


def _inside(labels: torch.Tensor) -> list[torch.Tensor]:
    """Along each axis, 1 between two voxels of one label, 0 at a border."""
    return [(labels.diff(dim=axis) == 0).float() for axis in range(3)]


def _coarse(image: torch.Tensor) -> torch.Tensor:
    return avg_pool3d(_batch(image), HALF)


def _batch(volume: torch.Tensor) -> torch.Tensor:
    return volume[None, None]


def _any(choices: Sized) -> int:
    return int(torch.randint(len(choices), ()))


def _window(shape: Sequence[int], centre: Sequence[int], side: int) -> tuple[slice, ...]:
    """Around a voxel, as far as the volume reaches."""
    firsts = [min(max(at - side // 2, 0), max(size - side, 0)) for size, at in zip(shape, centre, strict=True)]
    return tuple(slice(first, first + side) for first in firsts)
