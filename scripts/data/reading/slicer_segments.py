"""Segments of a 3D Slicer segmentation: several layers become one label map.

The format: https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scripts.common.errors import BundleError
from scripts.data.reading.volume import Volume

BACKGROUND_SEGMENTS = ("background", "outside")  # of strokes
TRY_A_FILE = "rename them, or save a plain label map as NIfTI"


@dataclass(frozen=True)
class Segment:
    """One segment: its name, the layer it lies in, its value there."""

    name: str
    layer: int
    value: int


def segments_of(metadata: Mapping[str, str], layers: int) -> list[Segment]:
    """Segments that a header names, in order; empty if it is none of a segmentation.

    Args:
        metadata: the header's own fields.
        layers: how many the file holds. Old files name neither layer nor value: one layer a segment, value 1.
    """
    segments: list[Segment] = []
    while f"Segment{len(segments)}_ID" in metadata or f"Segment{len(segments)}_Name" in metadata:
        number = len(segments)
        key = f"Segment{number}_"
        name = metadata.get(key + "Name") or metadata[key + "ID"]
        layer = int(metadata.get(key + "Layer", min(number, layers - 1)))
        segments.append(Segment(name.strip(), layer, int(metadata.get(key + "LabelValue", 1))))
    return segments


def merge_layers(layers: np.ndarray, segments: Sequence[Segment]) -> tuple[np.ndarray, dict[str, int], int]:
    """One label map of all segments.

    Values stay if no two segments share one, else the segments are numbered 1 to N. Where segments overlap, the later
    one wins.

    Args:
        layers: (C, X, Y, Z) labels.
        segments: which there are.

    Returns:
        (X, Y, Z) int32 labels, name -> value, and how many voxels lie in several segments.
    """
    values = [segment.value for segment in segments]
    if len(set(values)) < len(values) or min(values, default=1) < 1:
        values = list(range(1, len(segments) + 1))
    labels = np.zeros(layers.shape[1:], np.int32)
    overlap = np.zeros(layers.shape[1:], bool)
    for segment, value in zip(segments, values, strict=True):
        inside = layers[segment.layer] == segment.value
        overlap |= inside & (labels > 0)
        labels[inside] = value
    return labels, dict(zip(distinct_names([s.name for s in segments]), values, strict=True)), int(overlap.sum())


def of_classes(volume: Volume, classes: Mapping[str, int], path: Path, advice: str = TRY_A_FILE) -> Volume:
    """The label map of those segments alone that are called like a class, with its value: numbers mean nothing.

    Args:
        volume: label map; one without names of segments stays as it is.
        classes: name -> value; see `plain_name`.
        path: its file, for the message.
        advice: what to do where no segment is called like a class, for the message.

    Returns:
        Other segments are 0, and a remark names them, but for those of the background.

    Raises:
        BundleError: no segment is called like a class, or two are like one.
    """
    if not volume.names:
        return volume
    refuse_same_names(volume.segments, classes, path)
    values = {plain_name(name): value for name, value in classes.items()}
    known = {name: values[plain_name(name)] for name in volume.names if plain_name(name) in values}
    if not known:
        raise BundleError(
            "no segment is called like a class",
            file=path,
            expected=f"segments of these names: {', '.join(classes)}; {advice}",
            found=", ".join(volume.names),
        )
    array = np.zeros_like(volume.array)
    for name, value in known.items():
        array[volume.array == volume.names[name]] = value
    others = [name for name in volume.names if name not in known and not is_background(name)]
    remark = f"Segments that are called like no class are not taken: {', '.join(others)}."
    return replace(volume, array=array, names=known, remarks=(*volume.remarks, *((remark,) if others else ())))


def refuse_same_names(segments: Sequence[str], names: Iterable[str], path: Path) -> None:
    """Refuse a segmentation in which two segments are called like one of `names`; no names stand for all.

    Args:
        segments: what its segments are called, in their order.
        names: of those that matter.
        path: its file, for the message.

    Raises:
        BundleError: two are, see `plain_name`: nobody can know whether one counts, or both.
    """
    numbers = defaultdict[str, list[int]](list)
    for number, name in enumerate(segments, start=1):
        numbers[plain_name(name)].append(number)
    wanted = {plain_name(name) for name in names} or set(numbers)
    for name, same in numbers.items():
        if len(same) > 1 and name in wanted:
            raise BundleError(
                "two segments have the same name",
                file=path,
                expected="one segment of each name: merge them, rename one or remove it",
                found=", ".join(f"segment {number}: {segments[number - 1]}" for number in same),
            )


def is_background(name: str) -> bool:
    """Whether a segment of this name holds background strokes."""
    return plain_name(name) in BACKGROUND_SEGMENTS


def plain_name(name: str) -> str:
    """In which names of segments and classes are compared: capitals do not count, and a blank is an underscore."""
    return name.strip().lower().replace(" ", "_")


def distinct_names(names: Sequence[str]) -> list[str]:
    """Names that no two segments share: "a", "a" -> "a", "a (2)"."""
    distinct: list[str] = []
    for name in names:
        number, candidate = 1, name
        while candidate in distinct:
            number += 1
            candidate = f"{name} ({number})"
        distinct.append(candidate)
    return distinct
