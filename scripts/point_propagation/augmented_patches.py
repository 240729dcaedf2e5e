"""Patches around places of one volume, each turned, scaled, cut off and recoloured by itself.

A patch goes on saying where its centre lies in the body as it is: a network that sees bodies of random size cannot
measure its way there and has to recognise the place. Everything runs where the volume is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """What is drawn anew for every patch. No mirroring: left and right must stay apart.

    Attributes:
        zoom: largest logarithm of the zoom, either way.
        stretch: largest logarithm of a further zoom of each axis of its own.
        rotation_deg: largest angle about each axis.
        cut: probability that a patch ends before its volume does, at either end of the body's axis.
        least_mm: of the volume, along that axis, that is left on either side of the centre.
        log_gamma: largest logarithm of the exponent of the intensities, either way.
        gain: largest relative change of the intensities.
        offset: largest shift of the intensities.
        noise: largest standard deviation of Gaussian noise.
    """

    zoom: float = 0.2
    stretch: float = 0.08
    rotation_deg: float = 10.0
    cut: float = 0.35
    least_mm: float = 16.0
    log_gamma: float = 0.2
    gain: float = 0.1
    offset: float = 0.05
    noise: float = 0.03


PLAIN = Augmentation(zoom=0, stretch=0, rotation_deg=0, cut=0, log_gamma=0, gain=0, offset=0, noise=0)


def augmented_patches(
    volume: Tensor,
    centres: Tensor,
    patch_size: Sequence[int],
    volume_spacing_mm: Tensor,
    patch_spacing_mm: Tensor,
    augmentation: Augmentation,
    generator: torch.Generator,
) -> Tensor:
    """Patches (N, 1, x, y, z) in [0, 1] around (N, 3) voxels, 0 outside the body.

    Args:
        volume: (2, X, Y, Z) image in [0, 1] and body mask.
        centres: voxels of the volume, fractional ones too; index size / 2 of a patch is its centre.
        patch_size: (x, y, z) voxels, even.
        volume_spacing_mm: (3,) voxel size of the volume, on its device like all else.
        patch_spacing_mm: (3,) that of the patches.
        augmentation: what is drawn for each patch.
        generator: of that device.
    """
    affine_mm = random_affines_mm(len(centres), augmentation, generator)
    matrices = affine_mm * patch_spacing_mm / volume_spacing_mm[:, None]
    sampled, slices = sample_patches(volume, centres, matrices, patch_size)
    ends = _ends(centres[:, 2], volume.shape[3], augmentation, volume_spacing_mm[2], generator)
    low, high = (end[:, None, None, None] for end in ends)
    image, body = sampled[:, :1], sampled[:, 1:] > 0.5
    shown = (body & ((slices >= low) & (slices <= high))[:, None]).float()
    # Interpolation mixed what lies outside into the border of the body: it is taken out again.
    image = image / sampled[:, 1:].clamp(min=0.5)
    return recoloured(image, augmentation, generator) * shown


def sample_patches(
    volume: Tensor, centres: Tensor, matrices: Tensor, patch_size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Linear interpolation: (C, X, Y, Z) -> (N, C, x, y, z), 0 outside, and the slice of each voxel, (N, x, y, z).

    Args:
        volume: to sample; 0 outside the body, so that the body's border is interpolated alike in all channels.
        centres: (N, 3) voxels of the volume.
        matrices: (N, 3, 3); volume voxel = matrix @ (patch voxel - size / 2) + centre.
        patch_size: (x, y, z) voxels.
    """
    axes = [torch.arange(size, device=volume.device, dtype=torch.float32) - size // 2 for size in patch_size]
    steps = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    voxels = torch.einsum("xyzj,nij->nxyzi", steps, matrices.float()) + centres[:, None, None, None].float()
    # grid_sample wants coordinates from -1 to 1 (align_corners), last axis first.
    x, y, z = (2 * voxels[..., axis] / max(size - 1, 1) - 1 for axis, size in enumerate(volume.shape[1:]))
    grid = torch.stack([z, y, x], dim=-1).flatten(0, 1)
    sampled = functional.grid_sample(volume[None], grid[None], align_corners=True)[0]
    return sampled.unflatten(1, (len(centres), int(patch_size[0]))).transpose(0, 1), voxels[..., 2]


def random_affines_mm(count: int, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """(count, 3, 3) rotation and zoom in mm: patch step -> step in the body. A zoom above 1 shows less of the body."""

    def draw(largest: float, *shape: int) -> Tensor:
        return largest * _uniform((count, *shape), generator)

    angles = draw(math.radians(augmentation.rotation_deg), 3)
    zoom = torch.exp(draw(augmentation.zoom, 1) + draw(augmentation.stretch, 3))
    turned = torch.eye(3, device=generator.device).expand(count, 3, 3)
    for axis in range(3):
        turned = turned @ _rotations(axis, angles[:, axis])
    return turned / zoom[:, None]


def recoloured(image: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """(N, ...) in [0, 1] with a monotone change of each item's intensities, and noise."""

    def draw(largest: float) -> Tensor:
        return (largest * _uniform((len(image),), generator)).reshape(-1, *[1] * (image.ndim - 1))

    changed = image.clamp(0, 1) ** torch.exp(draw(augmentation.log_gamma))
    changed = (1 + draw(augmentation.gain)) * changed + draw(augmentation.offset)
    if augmentation.noise:
        noise = torch.randn(image.shape, generator=generator, device=image.device)
        changed = changed + draw(augmentation.noise).abs() * noise
    return changed.clamp(0, 1)


def _ends(
    middle: Tensor, slices: int, augmentation: Augmentation, spacing_mm: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """First and last slice (N,) of each patch whose volume may be cut off on either side of the slice `middle`."""
    least = augmentation.least_mm / spacing_mm
    drawn = torch.rand((4, len(middle)), generator=generator, device=middle.device)
    low = drawn[0] * (middle - least).clamp(min=0)
    high = slices - drawn[1] * (slices - middle - least).clamp(min=0)
    cut = drawn[2:] < augmentation.cut
    return low.where(cut[0], -math.inf), high.where(cut[1], math.inf)


def _rotations(axis: int, angles: Tensor) -> Tensor:
    """(N, 3, 3) rotations by (N,) rad about one axis."""
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    rotations = torch.eye(3, device=angles.device).repeat(len(angles), 1, 1)
    rotations[:, i, i] = rotations[:, j, j] = angles.cos()
    rotations[:, j, i] = angles.sin()
    rotations[:, i, j] = -angles.sin()
    return rotations


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """From -1 to 1."""
    return 2 * torch.rand(shape, generator=generator, device=generator.device) - 1
