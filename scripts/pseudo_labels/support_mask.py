"""The support mask: the support's whole organs, grown from its own strokes by kind of class (mode `default`)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.common.affines import nearest_voxels, to_voxels, voxel_ml
from scripts.common.boxes import boxes_of
from scripts.common.case_stage import CaseStage
from scripts.common.files import open_nifti, sha256_of_file
from scripts.common.label_channels import LabelChannels
from scripts.common.masks.largest_parts import LEAST_PART_SHARE, count_of_parts
from scripts.common.names import in_ml
from scripts.common.work_folder import LabelFolder, WorkFolder
from scripts.data.cohort import Cohort
from scripts.data.records import PseudoLabelRecord, how_grown
from scripts.data.scribbles import ScribblePoints, read_scribble_points
from scripts.data.volume_io import Volume, read_labels, read_volume
from scripts.points.propagated_points import points_at_home
from scripts.pseudo_labels.kinds.label_by_kind import label_by_kind
from scripts.pseudo_labels.kinds.stroke_kind import Kind, KindSettings
from scripts.pseudo_labels.label_case import PseudoLabel, WorkingVolume, label_case, path_channels
from scripts.pseudo_labels.parts import parts_with
from scripts.pseudo_labels.settings import GeodesicSettings
from scripts.pseudo_labels.stage import geodesic_image, on_geodesic_grid, working_volume, write_label

logger = logging.getLogger(__name__)

STAGE = "support_mask"
LEAST_GROWTH = 2.0  # times the strokes' volume; what grew less is no organ
PAINTED_SLICES = (
    "its strokes fill organs on their slices, so that an organ is what was painted there and the shape between. Where "
    "they are lines inside the organs, --set support_mask.painted=false."
)
NEIGHBOURS = np.array([*itertools.product((-1, 0, 1), repeat=3)])  # of a voxel, and itself


def grow_support_mask(
    image: Volume,
    scribbles: ScribblePoints,
    shape: Sequence[int],
    affine: np.ndarray,
    classes: Mapping[str, int],
    settings: GeodesicSettings,
    working: WorkingVolume | None = None,
    device: torch.device | str = "cpu",
) -> PseudoLabel:
    """The support's organs from its scribbled voxels.

    Args:
        image: (X, Y, Z) in [0, 1], canonical, on the grid that distances are computed on.
        scribbles: of the support, best all of its scribbled voxels.
        shape: of the support's own grid.
        affine: (4, 4) of that.
        classes: name -> label value.
        settings: see `GeodesicSettings`; there are no class probabilities.
        working: see `label_case`.
        device: where the distances are computed.
    """
    # Rounded as a record holds them: a coarser grid has places half way between its voxels.
    points = points_at_home(scribbles, image.affine, image.array.shape).rounded()
    mask = label_case(image, points, shape, affine, classes, settings, working, device=device)
    return replace(mask, channels=parts_with_strokes(mask.channels, scribbles, classes))


def parts_with_strokes(channels: np.ndarray, scribbles: ScribblePoints, classes: Mapping[str, int]) -> np.ndarray:
    """Channels, (X, Y, Z) uint8, without the parts of a class that no stroke of it touches.

    An organ may be in several parts, and strokes say of each that it belongs to it. A stroke may be rounded away, by a
    voxel, where distances have their own grid.

    Args:
        channels: 0 background, 1 to K the classes in order.
        scribbles: with voxels of this grid.
        classes: name -> label value.
    """
    result = channels.copy()
    boxes = boxes_of(channels)
    for channel, value in enumerate(classes.values(), start=1):
        if (box := boxes.get(channel)) is None:
            continue
        grown = channels[box] == channel
        drawn = scribbles.voxels[scribbles.labels == value] - [side.start for side in box]
        near = (drawn[:, None] + NEIGHBOURS).reshape(-1, 3)
        near = near[((near >= 0) & (near < grown.shape)).all(axis=1)]
        strokes = np.zeros(grown.shape, dtype=bool)
        strokes[tuple(near.T)] = True
        result[box][grown & ~parts_with(grown, strokes)] = 0
    return result


class SupportMaskStage(CaseStage):
    """Grows the support mask, on the support's own grid, into `support_mask/` of the work directory.

    The user may look at it, correct a copy and hand that in instead. Strokes still say the kind of each class then.

    Args:
        cohort: with support, scribbles and classes.
        output_dir: the work directory.
        settings: see `GeodesicSettings`.
        device: where the distances are computed.
        kinds: how tubes and bones are told and grown; None grows all classes as blobs.
        kinds_dir: the mask was given: nothing grows, and the kinds alone go there, as `SUPPORT.json`; or None.
        given: that mask, a label map on the support's grid.

    Raises:
        BundleError: no support with scribbles in the cohort.
    """

    name = "support mask"

    def __init__(
        self,
        cohort: Cohort,
        output_dir: str | Path,
        settings: GeodesicSettings,
        device: torch.device | str = "cpu",
        kinds: KindSettings | None = None,
        kinds_dir: str | Path | None = None,
        given: str | Path | None = None,
    ) -> None:
        self.support = cohort.scribbled_support(STAGE)
        self.cohort, self.settings, self.device, self.kinds = cohort, settings, torch.device(device), kinds
        self.only_kinds, self.given = kinds_dir is not None, None if given is None else Path(given)
        self.labels = WorkFolder(Path(output_dir)).support_mask if kinds_dir is None else LabelFolder(Path(kinds_dir))

    def cases(self) -> list[str]:
        """The support."""
        return [self.support.case.id]

    def inputs(self, case: str) -> Any:
        """Image, scribbles and settings."""
        return {
            "image": self.support.case.sha256,
            "scribbles": sha256_of_file(self.support.scribbles),
            "classes": list(self.cohort.classes.items()),
            "settings": asdict(self.settings),
            "kinds": None if self.kinds is None else asdict(self.kinds),
            "working_spacing_mm": self.cohort.spacing_mm,
            "least_part_share": LEAST_PART_SHARE,
            **({} if self.given is None else {"given": sha256_of_file(self.given)}),
        }

    def record(self, case: str) -> Path:
        """`SUPPORT.json`, beside the mask, or where the kinds alone go."""
        return self.labels.record(case)

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """Grow and write it; a class that hardly grew is pointed out."""
        cohort, support = self.cohort, self.support.case
        scribbles = read_scribble_points(self.support.scribbles, cohort.classes)
        if self.only_kinds:
            return self._of_given(scribbles).to_json(), []
        own = read_volume(support.image)
        image = geodesic_image(cohort, support, self.settings, own)
        mask = grow_support_mask(
            image,
            scribbles,
            support.shape,
            open_nifti(support.image).affine,
            cohort.classes,
            self.settings,
            working_volume(cohort, support, self.settings),
            self.device,
        )
        kinds: dict[str, Kind] = {}
        if self.kinds is not None:
            mask, kinds = self._by_kind(own, mask, scribbles, self.kinds)
        content, files = write_label(self.labels, support, cohort.classes, mask, self.settings)
        painted = Kind.PAINTED in kinds.values()
        if painted:
            logger.info("support mask: %s", PAINTED_SLICES)
        sentences = [] if painted else hardly_grown(content["volume_ml"], scribbles, image, cohort.classes)
        sentences += [in_air(name) for name, kind in kinds.items() if kind is Kind.HOLLOW]
        for sentence in sentences:
            logger.warning("support mask: %s", sentence)
        for name, kind in kinds.items():
            told = grown_as(name, kind, content["volume_ml"][name], mask.border_confidence.get(name))
            logger.info("support mask: %s", told)
        content |= {"kinds": {name: kind.value for name, kind in kinds.items()}} if kinds else {}
        if parts := count_of_parts(mask.channels, cohort.classes):
            logger.info("support mask: %s", in_parts(parts))
            content |= {"parts": parts}
        return content | ({"warnings": sentences} if sentences else {}), files

    def _of_given(self, scribbles: ScribblePoints) -> PseudoLabelRecord:
        """What is known of a mask that was given."""
        support, kinds = self.support.case, dict[str, Kind]()
        if self.kinds is not None:
            nothing = PseudoLabel(np.zeros(support.shape, dtype=np.uint8))
            _, kinds = self._by_kind(read_volume(support.image), nothing, scribbles, self.kinds)
        told = {name: kind.value for name, kind in kinds.items()}
        parts = {} if self.given is None else self._parts_of(self.given)
        return PseudoLabelRecord(support.id, self.cohort.classes, given=True, kinds=told, parts=parts)

    def _parts_of(self, mask: Path) -> dict[str, int]:
        classes = self.cohort.classes
        return count_of_parts(LabelChannels(classes).to_channels(read_labels(mask, classes).array), classes)

    def _by_kind(
        self, own: Volume, mask: PseudoLabel, scribbles: ScribblePoints, kinds: KindSettings
    ) -> tuple[PseudoLabel, dict[str, Kind]]:
        """See `label_by_kind`; on the support's own voxels, smoothed as for the distances."""
        image = on_geodesic_grid(own, None)
        smooth = Volume(path_channels(image, None, self.settings)[0], image.affine)
        affine = open_nifti(self.support.case.image).affine
        return label_by_kind(smooth, scribbles, mask, affine, self.cohort.classes, kinds)


def grown_as(name: str, kind: Kind, volume_ml: float, border_confidence: float | None) -> str:
    """How a class grew and how sure that is; what helps a tube."""
    helps = "; strokes on its first and last slice help it most" if kind is Kind.TUBE else ""
    return f"{name}: {how_grown(volume_ml, kind.value, border_confidence)}{helps}"


def in_parts(parts: Mapping[str, int]) -> str:
    """Which classes are in more than one part."""
    told = ", ".join(f"{name} in {count}" for name, count in parts.items())
    return f"organs in several parts, in other cases too: {told}."


def in_air(name: str) -> str:
    """What to do where strokes lie in the air of a hollow organ."""
    return f"{name}: its strokes lie mostly in air; if its wall belongs to it, draw on the wall too."


def hardly_grown(
    volume_ml: Mapping[str, float], scribbles: ScribblePoints, image: Volume, classes: Mapping[str, int]
) -> list[str]:
    """A sentence for each class that grew into little more than its strokes.

    Args:
        volume_ml: class -> volume of what grew.
        scribbles: that it grew from.
        image: on whose grid it grew: a stroke takes up whole voxels of it.
        classes: name -> label value.
    """
    voxels = nearest_voxels(to_voxels(scribbles.world_mm, image.affine), image.array.shape)
    sentences = []
    for name, label in classes.items():
        strokes_ml = len(np.unique(voxels[scribbles.labels == label], axis=0)) * voxel_ml(image.affine)
        if volume_ml[name] < LEAST_GROWTH * strokes_ml:
            sentences.append(
                f"{name} grew from {in_ml(strokes_ml)} of strokes to {in_ml(volume_ml[name])}; draw in more of the "
                "organ, and background beside it rather than in it. If the strokes are whole organs, give them as "
                "--support-mask, and a few lines in each as strokes."
            )
    return sentences
