"""Strokes that a client sends with one study to see what grows from them; the server remembers them for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.monai_label.names import OUTSIDE
from bundle.monai_label.submissions import STAGE, names_of_values
from scripts.errors import BundleError
from scripts.files import read_json, write_json, write_nifti
from scripts.volume_io import read_labels

# MONAI Label's own names, and their values where a client names none (and the task has no labels of its own).
INSIDE_PANEL, OUTSIDE_PANEL = "foreground_scribbles", "background_scribbles"
UNNAMED = {OUTSIDE_PANEL: 2, INSIDE_PANEL: 3}
ONE_CLASS = "organ"
DRAWN_OUTSIDE = 255  # in what is remembered


@dataclass(frozen=True)
class Strokes:
    """What was drawn on one study.

    Attributes:
        file: label map of the strokes, on the study's grid.
        classes: name -> value in `file`.
        background: value of the background strokes in `file`.
        wanted: the one class that the client shows, as value 1; None for all, with their values.
    """

    file: Path
    classes: dict[str, int]
    background: int
    wanted: str | None


def read_strokes(request: Mapping[str, Any], folder: Path) -> Strokes:
    """Read a request's strokes and keep them as `folder/strokes.nii.gz`.

    3D Slicer's scribbles panel draws one organ at a time, in segments `foreground_scribbles` and
    `background_scribbles`; what it draws belongs to the organ `selected_label_name`. Where nothing is drawn in the
    first, every other segment holds the strokes of its organ, as it does in a label that is submitted for training.

    Args:
        request: MONAI Label's: "label" (file), "label_info", "selected_label_name".
        folder: receives the file.

    Raises:
        BundleError: no strokes, none inside or none outside.
    """
    if not request.get("label"):
        raise _error("no strokes came with the request", None, "a label map of strokes", "no file")
    sent = Path(request["label"])
    label = read_labels(sent)
    values = np.unique(label.array[label.array > 0]).tolist()
    names = {name: value for name, value in _names(request, values).items() if value in values}
    outside = [value for name, value in names.items() if name in (OUTSIDE, OUTSIDE_PANEL)]
    wanted = request.get("selected_label_name")
    if INSIDE_PANEL in names:
        classes = {wanted or ONE_CLASS: names[INSIDE_PANEL]}
    else:
        classes = {name: value for name, value in names.items() if name not in (OUTSIDE, OUTSIDE_PANEL)}
    if not classes or not outside or (wanted and wanted not in classes):
        expected = f'strokes inside {wanted or "an organ"}, and outside in "{OUTSIDE_PANEL}" or "{OUTSIDE}"'
        raise _error("strokes are missing", sent, expected, ", ".join(names) or "none")
    array = np.where(np.isin(label.array, list(classes.values())), label.array, 0)
    array[np.isin(label.array, outside)] = outside[0]
    file = folder / "strokes.nii.gz"
    write_nifti(file, array.astype(np.uint8), label.affine)
    return Strokes(file, classes, outside[0], wanted)


def remember(strokes: Strokes, folder: Path) -> None:
    """Add strokes to those drawn on the same study before; a class's new strokes replace its old ones.

    Args:
        strokes: what was drawn now.
        folder: receives `drawn.nii.gz` and `drawn.json`, {"classes": name -> value, "background": value}.
    """
    sent = read_labels(strokes.file)
    file, about = folder / "drawn.nii.gz", folder / "drawn.json"
    before = read_labels(file) if about.exists() else None
    same = before is not None and before.array.shape == sent.array.shape and np.allclose(before.affine, sent.affine)
    classes = read_json(about)["classes"] if same else {}
    drawn = before.array if same else np.zeros(sent.array.shape, np.int16)
    for name, value in strokes.classes.items():
        number = classes.setdefault(name, len(classes) + 1)
        drawn[drawn == number] = 0
        drawn[sent.array == value] = number
    drawn[(sent.array == strokes.background) & (drawn == 0)] = DRAWN_OUTSIDE
    write_nifti(file, drawn.astype(np.uint8), sent.affine)
    write_json(about, {"classes": classes, "background": DRAWN_OUTSIDE})


def _names(request: Mapping[str, Any], values: list[int]) -> dict[str, int]:
    rows = request.get("label_info") or []
    return names_of_values(rows, values) or UNNAMED


def _error(problem: str, file: Path | None, expected: object, found: object) -> BundleError:
    return BundleError(problem, stage=STAGE, file=file, expected=expected, found=found)
