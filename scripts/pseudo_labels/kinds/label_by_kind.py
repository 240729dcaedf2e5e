"""From a case grown as blobs to one grown by kind: the same label map, strokes and image on the case's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from scripts.common.affines import spacing_of
from scripts.common.label_channels import LabelChannels
from scripts.common.overlap import dice_of_share
from scripts.data.resampling import canonical, stored_order
from scripts.data.scribbles import ScribblePoints
from scripts.data.volume_io import Volume
from scripts.pseudo_labels.kinds.growers import GrownByKind, grown_by_kind
from scripts.pseudo_labels.kinds.stroke_kind import Kind, KindSettings
from scripts.pseudo_labels.label_case import PseudoLabel

OWN_GROWERS = (Kind.TUBE, Kind.BONE, Kind.WALLED, Kind.PAINTED)


def label_by_kind(
    image: Volume,
    scribbles: ScribblePoints,
    blobs: PseudoLabel,
    affine: np.ndarray,
    classes: Mapping[str, int],
    settings: KindSettings,
) -> tuple[PseudoLabel, dict[str, Kind]]:
    """The label map with its tubes, bones and hollow organs grown by their own rules, and each class's kind.

    The border confidence of such a class is how well its growers agree. That of all else is at most the Dice between
    the mask before and after opening, since what hung on by a neck may have been right; of a thin blob at most how well
    the growers of tubes agree; and of a hollow organ of which only the air was drawn at most `hollow_confidence`.

    Args:
        image: (X, Y, Z) in [0, 1], canonical, on the case's own voxels.
        scribbles: of the case, all of its scribbled voxels.
        blobs: on the case's own grid, all classes grown as blobs.
        affine: (4, 4) of that grid.
        classes: name -> label value.
        settings: see `KindSettings`.
    """
    strokes = _stroke_channels(scribbles, blobs.channels.shape, classes)
    grown = grown_by_kind(
        image.array,
        canonical(Volume(strokes, affine)).array,
        canonical(Volume(blobs.channels, affine)).array,
        len(classes),
        spacing_of(image.affine),
        settings,
    )
    name_of = dict(enumerate(classes, start=1))
    confidence = {
        name_of[channel]: round(_confidence(grown, channel, blobs, name_of[channel], settings), 3)
        for channel in grown.kinds
    }
    label = replace(
        blobs,
        channels=stored_order(grown.label, affine),
        opened_share={
            name: 0.0 if grown.kinds.get(channel) in OWN_GROWERS else blobs.opened_share[name]
            for channel, name in name_of.items()
            if name in blobs.opened_share
        },
        border_confidence={**blobs.border_confidence, **confidence},
    )
    return label, {name_of[channel]: kind for channel, kind in grown.kinds.items()}


def _confidence(grown: GrownByKind, channel: int, blobs: PseudoLabel, name: str, settings: KindSettings) -> float:
    agreement = grown.agreement.get(channel, 1.0)
    if grown.kinds[channel] in OWN_GROWERS:
        return agreement
    opened = blobs.opened_share.get(name, 0.0)
    most = settings.hollow_confidence if grown.kinds[channel] is Kind.HOLLOW else 1.0
    return min(blobs.border_confidence.get(name, 1.0), dice_of_share(1 - opened), agreement, most)


def _stroke_channels(scribbles: ScribblePoints, shape: tuple[int, ...], classes: Mapping[str, int]) -> np.ndarray:
    """(X, Y, Z) uint8: 1 to K the classes' strokes, K + 1 those of background, 0 where nothing is drawn."""
    channel_of = LabelChannels(classes).channel_of() | {0: len(classes) + 1}
    drawn = np.zeros(shape, dtype=np.uint8)
    drawn[tuple(scribbles.voxels.T)] = [channel_of[label] for label in scribbles.labels.tolist()]
    return drawn
