"""From distances, and class probabilities, to a label map on the case's own grid.

A class gets one of two masks: the geodesic one, or that of the highest expected Dice. The image draws a better border
than probabilities do, so the geodesic mask may cost some expected Dice. Where it costs more it contradicts the
probabilities: its seeds were too few, or none, or it leaked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import nibabel as nib
import numpy as np

from scripts.common.affines import between_parallel_grids
from scripts.common.boxes import Box, box_of, boxes_of, overlap_of, slabs_of
from scripts.common.label_channels import UNDECIDED
from scripts.common.masks.largest_parts import keep_largest_parts
from scripts.common.overlap import best_mask
from scripts.common.sampling import onto_grid
from scripts.data.probability_maps import ClassProbabilities
from scripts.data.resampling import stored_order
from scripts.pseudo_labels.geodesic_labels import finer_label
from scripts.pseudo_labels.settings import GeodesicSettings


def label_on_grid(
    distances: np.ndarray,
    working_affine: np.ndarray,
    shape: Sequence[int],
    affine: np.ndarray,
    settings: GeodesicSettings,
    probabilities: ClassProbabilities | None = None,
    with_edges: Collection[int] = (),
    parts: Mapping[int, int] | None = None,
) -> np.ndarray:
    """Channels on the grid of `shape` and `affine` from canonical distances, made finer linearly.

    Args:
        distances: (K + 1, X, Y, Z) up to the truncation, background first.
        working_affine: (4, 4) of their grid, whose axes are parallel to the other's.
        shape: of the case's own grid, in any order of axes.
        affine: (4, 4) of that.
        settings: `largest_component`, `least_expected_share`, `undecided_margin` and `truncation` count.
        probabilities: by which each class's mask is judged, see `decided_by_class`; None leaves it as it grew.
        with_edges: see there.
        parts: channel -> how many parts it may be in, see `keep_largest_parts`.

    Returns:
        uint8 of `shape`, `UNDECIDED` where two classes are nearly as near.

    Raises:
        ValueError: axes that must be parallel are not.
    """
    orientation = nib.io_orientation(affine)
    canonical_affine = affine @ nib.orientations.inv_ornt_aff(orientation, shape)
    x, y, z = (int(shape[axis]) for axis in np.argsort(orientation[:, 0]))
    margin = settings.undecided_margin * settings.truncation
    to_working = between_parallel_grids(canonical_affine, working_affine, (x, y, z))
    label, undecided = finer_label(distances, to_working, (x, y, z), margin, settings.truncation)
    if settings.largest_component:
        keep_largest_parts(label, parts)
    if probabilities is not None and settings.least_expected_share:
        label = decided_by_class(label, canonical_affine, probabilities, settings.least_expected_share, with_edges)
        if settings.largest_component:
            keep_largest_parts(label, parts)
    label.flat[undecided] = UNDECIDED
    return stored_order(label, affine)


def decided_by_class(
    label: np.ndarray,
    affine: np.ndarray,
    probabilities: ClassProbabilities,
    least_share: float,
    with_edges: Collection[int] = (),
) -> np.ndarray:
    """Channels where a class whose geodesic mask fits its probabilities badly has its likely voxels instead.

    Where such a voxel is another class's, the more probable of both has it.

    Args:
        label: (X, Y, Z) uint8 channels: the geodesic masks.
        affine: (4, 4) of its grid, whose axes are parallel to the probabilities'.
        probabilities: of the case.
        least_share: a geodesic mask stays if its expected Dice is at least this share of the likely voxels'.
        with_edges: channels whose geodesic mask stays only if its expected Dice is no lower: the image has edges inside
            them, so that it may draw a border where there is none.

    Raises:
        ValueError: the axes are not parallel.
    """
    to_probabilities = between_parallel_grids(affine, probabilities.affine, label.shape)
    geodesic_boxes = boxes_of(label)
    shares = {
        channel: _FinerShare(coarse.astype(np.float32), to_probabilities, label.shape)
        for channel, coarse in enumerate(probabilities.array[1:], start=1)
    }
    least = {channel: 1.0 if channel in with_edges else least_share for channel in shares}
    changed = [
        channel
        for channel, share in shares.items()
        if not share.fits(label, channel, geodesic_boxes.get(channel), least[channel])
    ]
    if not changed:
        return label
    decided = label.copy()
    decided[np.isin(label, changed)] = 0
    for part in slabs_of(tuple(slice(0, size) for size in label.shape)):
        holder = np.zeros(label[part].shape, dtype=np.float32)  # the probability of the class that has a voxel
        for channel in shares.keys() - changed:
            if (box := overlap_of(geodesic_boxes.get(channel), part)) is not None:
                geodesic = label[box] == channel
                holder[_within(box, part)][geodesic] = shares[channel].at(box)[geodesic]
        for channel in changed:
            if (box := overlap_of(shares[channel].box, part)) is not None:
                share, held = shares[channel].at(box), holder[_within(box, part)]
                taken = (share >= shares[channel].limit) & (share > held)
                decided[box][taken] = channel
                held[taken] = share[taken]
    return decided


class _FinerShare:
    """A class's probability on the case's own grid, a part of it at a time.

    Attributes:
        limit: of its likely voxels.
        box: outside it there is none; None if there is none at all.
    """

    def __init__(self, coarse: np.ndarray, to_coarse: np.ndarray, shape: tuple[int, ...]) -> None:
        self.coarse, self.to_coarse = coarse, to_coarse
        self.limit = best_mask(coarse).limit
        self.box: Box | None = None
        if (box := box_of(coarse)) is not None:
            steps, shifts = np.diag(to_coarse), to_coarse[:, 3]
            low = [int(np.floor((side.start - 1 - shifts[axis]) / steps[axis])) for axis, side in enumerate(box)]
            high = [int(np.ceil((side.stop - shifts[axis]) / steps[axis])) + 1 for axis, side in enumerate(box)]
            whole = tuple(slice(0, size) for size in shape)
            x, y, z = (slice(max(0, start), max(0, stop)) for start, stop in zip(low, high, strict=True))
            self.box = overlap_of((x, y, z), whole)

    def at(self, box: Box) -> np.ndarray:
        """Float32, on a box of the finer grid."""
        to_part, part = self.to_coarse.copy(), []
        for axis, side in enumerate(box):
            step, shift = self.to_coarse[axis, axis], self.to_coarse[axis, 3]
            first = max(0, int(np.floor(step * side.start + shift)))
            last = int(np.floor(step * (side.stop - 1) + shift)) + 2
            part.append(slice(min(first, self.coarse.shape[axis] - 1), max(last, 1)))
            to_part[axis, 3] = step * side.start + shift - part[-1].start
        shape = [side.stop - side.start for side in box]
        return onto_grid(self.coarse[tuple(part)], to_part, shape, order=1, outside=0.0, parallel=True)

    def fits(self, label: np.ndarray, channel: int, geodesic_box: Box | None, least: float) -> bool:
        """Whether the expected Dice of a geodesic mask is at least this share of the likely voxels'."""
        total = inside = geodesic_count = likely_inside = likely_count = 0.0
        for box in slabs_of(self.box):
            share, geodesic = self.at(box), label[box] == channel
            likely = share >= self.limit
            total += float(share.sum(dtype=np.float64))
            inside += float(share[geodesic].sum(dtype=np.float64))
            likely_inside += float(share[likely].sum(dtype=np.float64))
            likely_count += np.count_nonzero(likely)
        for box in slabs_of(geodesic_box):
            geodesic_count += np.count_nonzero(label[box] == channel)
        geodesic_dice, likely_dice = (
            2 * found / (count + total) if count + total else 0.0
            for found, count in ((inside, geodesic_count), (likely_inside, likely_count))
        )
        return geodesic_dice >= least * likely_dice


def _within(box: Box, part: Box) -> Box:
    """A box of a volume as one of a part of it that holds it."""
    x, y, z = (slice(side.start - of.start, side.stop - of.start) for side, of in zip(box, part, strict=True))
    return x, y, z
