"""Strokes that a client sends with one study to see what grows from them; the server remembers them for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.monai_label.names import INSIDE_PANEL, OUTSIDE, OUTSIDE_PANEL
from bundle.monai_label.submissions import (
    INSIDE_ORGANS,
    OUTSIDE_ORGANS,
    STAGE,
    names_of_values,
    refuse_same_rows,
    same_grid,
)
from scripts.common.errors import BundleError
from scripts.common.files import write_nifti
from scripts.data.reading.alignment import aligned
from scripts.data.reading.slicer_segments import BACKGROUND_SEGMENTS, is_background
from scripts.data.volume_io import Volume, peek_grid, read_labels

# MONAI Label's values where a client names none (and the task has no labels of its own).
UNNAMED = {OUTSIDE_PANEL: 2, INSIDE_PANEL: 3}
ONE_CLASS = "organ"


@dataclass(frozen=True)
class Strokes:
    """What was drawn on one study.

    Attributes:
        file: label map of the strokes, on the study's grid.
        drawn: what the file holds.
        classes: name -> value in `file`.
        background: value of the background strokes in `file`.
        selected: the one class that the client shows, as value 1; None for all, with their values.
    """

    file: Path
    drawn: Volume
    classes: dict[str, int]
    background: int
    selected: str | None


def read_strokes(request: Mapping[str, Any], folder: Path, image: Path | None = None) -> Strokes:
    """Read a request's strokes and keep them as `folder/strokes.nii.gz`.

    3D Slicer's scribbles panel draws one organ at a time, in segments `foreground_scribbles` and
    `background_scribbles`; what it draws belongs to the organ `selected_label_name`, and the other segments may hold
    whole organs. Where nothing is drawn in the first, but something in a segment `outside`, they hold the strokes of
    their organs, as they do in a label that is submitted for training.

    Args:
        request: MONAI Label's: "label" (file), "label_info", "selected_label_name".
        folder: receives the file.
        image: the study's file; None where the strokes are known to fit it.

    Raises:
        BundleError: no strokes, none inside or none outside, two segments of strokes with one name, or strokes on
            another grid than the study's.
    """
    if not request.get("label"):
        raise _error("no strokes came with the request", request.get("study"), "a label map of strokes", "no file")
    sent = Path(request["label"])
    label = read_labels(sent)
    if image is not None:
        check_grid(label, image, "strokes", request.get("study"))
    values = np.unique(label.array[label.array > 0]).tolist()
    rows = request.get("label_info") or []
    names = {name: value for name, value in (names_of_values(rows, values) or UNNAMED).items() if value in values}
    outside = {name: value for name, value in names.items() if name == OUTSIDE_PANEL or is_background(name)}
    selected = request.get("selected_label_name")
    classes = {}
    if INSIDE_PANEL in names:
        classes = {selected or ONE_CLASS: names[INSIDE_PANEL]}
    elif set(outside) - {OUTSIDE_PANEL}:
        classes = {name: value for name, value in names.items() if name not in outside}
    drawn_in = [*BACKGROUND_SEGMENTS, OUTSIDE_PANEL, *([INSIDE_PANEL] if INSIDE_PANEL in names else classes)]
    refuse_same_rows(rows, request.get("study"), sent, drawn_in)
    if not classes or not outside or (selected and selected not in classes):
        expected = f'strokes inside {selected or "an organ"}, and outside in "{OUTSIDE_PANEL}" or "{OUTSIDE}"'
        raise _error("strokes are missing", request.get("study"), expected, ", ".join(names) or "none")
    array = np.where(np.isin(label.array, list(classes.values())), label.array, 0).astype(np.uint8)
    background, *_ = outside.values()
    array[np.isin(label.array, list(outside.values()))] = background
    file = folder / "strokes.nii.gz"
    write_nifti(file, array, label.affine)
    return Strokes(file, Volume(array, label.affine), classes, background, selected)


def remember(strokes: Strokes, file: Path) -> None:
    """Add strokes to those drawn on the same study before, in `file`: `INSIDE_ORGANS`, `OUTSIDE_ORGANS`, 0 elsewhere.

    All strokes ever drawn are kept: the organs that are submitted later say which of them hold, and of what.
    """
    sent = strokes.drawn
    drawn = np.zeros(sent.array.shape, np.uint8)
    if file.exists():
        before = read_labels(file)
        if same_grid(before, sent):
            drawn = before.array.astype(np.uint8)
    drawn[(sent.array == strokes.background) & (drawn == 0)] = OUTSIDE_ORGANS
    drawn[np.isin(sent.array, list(strokes.classes.values()))] = INSIDE_ORGANS
    write_nifti(file, drawn, sent.affine)


def check_grid(label: Volume, image: Path, what: str, study: str | None = None) -> None:
    """Compare the grids of a label map and its study, from headers alone.

    Args:
        label: the label map.
        image: the study's file.
        what: "strokes" or what else it is.
        study: its name.

    Raises:
        BundleError: voxels of the one are none of the other.
    """
    shape, affine = peek_grid(image)
    if aligned(label, shape, affine) is not None:
        return
    if label.array.shape != shape:
        expected, found = (" x ".join(map(str, size)) + " voxels" for size in (shape, label.array.shape))
    else:
        expected, found = "the study's place and spacing", "the same shape at another place or spacing"
    raise BundleError(
        f"the {what} {'do not lie' if what.endswith('s') else 'does not lie'} on the study's grid",
        case=study,
        stage=STAGE,
        expected=f"{expected}: draw on the study as the server sent it",
        found=found,
    )


def within_roi(label: np.ndarray, roi: Sequence[int] | None) -> np.ndarray:
    """(X, Y, Z) labels, 0 outside a box that the user drew in 3D Slicer's panel.

    Args:
        label: on the study's grid.
        roi: voxels [x, x, y, y, z, z], two corners, in either order; none, or an empty one, is everywhere.
    """
    if not roi:
        return label
    corners = [sorted(pair) for pair in zip(roi[::2], roi[1::2], strict=True)]
    box = tuple(slice(max(0, low), max(0, high)) for low, high in corners)
    limited = np.zeros_like(label)
    limited[box] = label[box]
    return limited


def _error(problem: str, study: str | None, expected: object, found: object) -> BundleError:
    """What was sent lies in a file of the server's own, whose name helps nobody."""
    return BundleError(problem, case=study, stage=STAGE, expected=expected, found=found)
