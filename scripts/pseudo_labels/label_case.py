"""One case's pseudo label, from values to values (section 2.3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage

from scripts.common.affines import spacing_of
from scripts.data.probability_maps import ClassProbabilities, probabilities_on_grid
from scripts.data.records import PointSet
from scripts.data.resampling import nearest_on_grid
from scripts.data.volume_io import Volume
from scripts.networks.prnet_weights import TrainedPRNet
from scripts.pseudo_labels.boundary_refinement import refined_distances
from scripts.pseudo_labels.em_posterior import em_posterior
from scripts.pseudo_labels.geodesic_labels import class_distances
from scripts.pseudo_labels.growth_limits import support_sizes
from scripts.pseudo_labels.label_resampling import label_on_grid
from scripts.pseudo_labels.post_processing import post_processed
from scripts.pseudo_labels.seeds import completed_seeds, seeds_from_points, seeds_from_probabilities, seeds_in_body
from scripts.pseudo_labels.settings import GeodesicSettings


@dataclass(frozen=True)
class WorkingVolume:
    """The case at the working spacing, as the stages before this one worked on it.

    Attributes:
        image: (X, Y, Z) in [0, 1].
        body: (X, Y, Z) bool.
        affine: (4, 4), canonical.
        spacing_mm: as asked for; an oblique affine has it but for rounding.
    """

    image: np.ndarray
    body: np.ndarray
    affine: np.ndarray
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class PseudoLabel:
    """A label map on the case's own grid, and what is known of how it grew.

    Attributes:
        channels: (X, Y, Z) uint8, 0 background, 1 to K the classes, `UNDECIDED`.
        not_located: classes without a voxel.
        opened_share: class -> share of its volume that opening by reconstruction took; empty where it is off.
        border_confidence: class -> how far the image, not a growth limit, made its border; of classes with seeds, where
            growth is limited.
    """

    channels: np.ndarray
    not_located: tuple[str, ...] = ()
    opened_share: Mapping[str, float] = field(default_factory=dict)
    border_confidence: Mapping[str, float] = field(default_factory=dict)


def label_case(
    image: Volume,
    points: PointSet,
    shape: Sequence[int],
    affine: np.ndarray,
    classes: Mapping[str, int],
    settings: GeodesicSettings,
    working: WorkingVolume | None = None,
    probabilities: ClassProbabilities | None = None,
    network: TrainedPRNet | None = None,
    device: torch.device | str = "cpu",
    support_volume_ml: Mapping[str, float] | None = None,
    with_edges: Collection[str] = (),
    parts: Mapping[str, int] | None = None,
) -> PseudoLabel:
    """Every voxel goes to the class whose seeds are geodesically nearest.

    Args:
        image: (X, Y, Z) in [0, 1], canonical, on the grid that distances are computed on.
        points: in the case's world; a kept one's label is 0 or a value of `classes`.
        shape: of the case's own grid.
        affine: (4, 4) of that.
        classes: name -> label value.
        settings: see `GeodesicSettings`.
        working: whose body ends all classes, if settings say so, and whose image sharpens the probabilities; the body
            is also all that a network sees that learned from bodies alone.
        probabilities: of label fusion, not sharpened; None takes points alone.
        network: the fine PRNet, needed with `refine` only.
        device: where distances and features are computed.
        support_volume_ml: class -> volume of the support's mask, for its limits; None for the support itself.
        with_edges: classes that the image has edges inside, see `decided_by_class`.
        parts: class -> how many parts it may be in, of those in more than one.

    Raises:
        BundleError: as `geodesic_distance`.
        ValueError: settings need `working` or the network, and it is None; or the grids' axes are not parallel.
    """
    probable = None
    if probabilities is not None and settings.from_probabilities:
        probable = sharpened(probabilities, working, settings)
    seeds, distances = _grown(image, points, classes, settings, working, probable, device)
    if settings.refinement.refine:
        if network is None:
            raise ValueError("refine needs the fine PRNet")
        seen = np.where(_body_on(image, working), image.array, 0) if network.body_only else image.array
        distances = refined_distances(distances, seen, network.network, settings, device)
    sizes = None if support_volume_ml is None else support_sizes(points, support_volume_ml, classes)
    processed = post_processed(distances, seeds, image.affine, settings, sizes)
    name_of = dict(enumerate(classes, start=1))
    edged = [channel for channel, name in name_of.items() if name in with_edges]
    several = {channel: parts[name] for channel, name in name_of.items() if parts and name in parts}
    channels = label_on_grid(processed.distances, image.affine, shape, affine, settings, probable, edged, several)
    return PseudoLabel(
        channels=channels,
        not_located=tuple(name for channel, name in name_of.items() if not (channels == channel).any()),
        opened_share={name_of[channel]: share for channel, share in processed.opened_share.items()},
        border_confidence={name_of[channel]: value for channel, value in processed.border_confidence.items()},
    )


def _grown(
    image: Volume,
    points: PointSet,
    classes: Mapping[str, int],
    settings: GeodesicSettings,
    working: WorkingVolume | None,
    probabilities: ClassProbabilities | None,
    device: torch.device | str,
) -> tuple[np.ndarray, np.ndarray]:
    """(1 + K, X, Y, Z) seeds, bool, and distances on the image's grid."""
    probable = None if probabilities is None else _on_image(probabilities, image)
    seeds = case_seeds(points, probable, classes, image, settings)
    if settings.body_only:
        seeds = seeds_in_body(seeds, _body_on(image, working))
    channels = path_channels(image, probable, settings)
    del probable  # as large as the channels
    return seeds, class_distances(channels, seeds, spacing_of(image.affine), settings, device)


def sharpened(
    probabilities: ClassProbabilities, working: WorkingVolume | None, settings: GeodesicSettings
) -> ClassProbabilities:
    """The probabilities after expectation and maximisation on the working grid, if settings say so."""
    if settings.sharpening is None:
        return probabilities
    volume = _needed(working)
    x, y, z = volume.body.shape
    prior = probabilities_on_grid(probabilities.array, probabilities.affine, volume.affine, (x, y, z))
    posterior = em_posterior(volume.image, prior, volume.body, volume.spacing_mm, settings.sharpening)
    return ClassProbabilities(posterior, volume.affine)


def case_seeds(
    points: PointSet,
    probabilities: np.ndarray | None,
    classes: Mapping[str, int],
    image: Volume,
    settings: GeodesicSettings,
) -> np.ndarray:
    """(1 + K, X, Y, Z) bool: where probabilities are beyond doubt; a class without such a place has its kept points.

    Args:
        points: see `label_case`.
        probabilities: (1 + K, X, Y, Z) on the image's grid; None takes points alone.
        classes: name -> label value.
        image: for its grid.
        settings: see `GeodesicSettings`.
    """
    from_points = seeds_from_points(points, classes, image.affine, image.array.shape)
    if probabilities is None or settings.seed_probability is None:
        return from_points
    confident = seeds_from_probabilities(probabilities, settings.seed_probability, settings.background_seed_probability)
    return completed_seeds(confident, from_points)


def path_channels(image: Volume, probabilities: np.ndarray | None, settings: GeodesicSettings) -> np.ndarray:
    """(C, X, Y, Z) whose steps make a path long: intensity, and the weighted probability of each class.

    Args:
        image: (X, Y, Z) in [0, 1].
        probabilities: (1 + K, X, Y, Z) on the image's grid, or None.
        settings: `image_smoothing_voxels` and `probability_weight` count.
    """
    intensity = image.array
    if settings.image_smoothing_voxels:
        spacing_mm = np.array(spacing_of(image.affine))
        width_mm = settings.image_smoothing_voxels * np.median(spacing_mm)
        intensity = ndimage.gaussian_filter(intensity, width_mm / spacing_mm)
    if probabilities is None or not settings.probability_weight:
        return intensity[None]
    channels = np.empty_like(probabilities)
    channels[0] = intensity
    np.multiply(probabilities[1:], settings.probability_weight, out=channels[1:])
    return channels


def _on_image(probabilities: ClassProbabilities, image: Volume) -> np.ndarray:
    x, y, z = image.array.shape
    values = probabilities.array.astype(np.float32)
    return probabilities_on_grid(values, probabilities.affine, image.affine, (x, y, z))


def _body_on(image: Volume, working: WorkingVolume | None) -> np.ndarray:
    """(X, Y, Z) bool on the image's grid."""
    volume = _needed(working)
    body = Volume(volume.body.astype(np.uint8), volume.affine)
    return nearest_on_grid(body, image.affine, image.array.shape) > 0


def _needed(working: WorkingVolume | None) -> WorkingVolume:
    if working is None:
        raise ValueError("body_only, em_rounds and a network of bodies alone need the case at the working spacing")
    return working
