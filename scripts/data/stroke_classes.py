"""What the values of a scribble map mean: which class, which background, and what was assumed about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.common.names import CLASS_NAME, is_class_name
from scripts.data.reading.slicer_segments import BACKGROUND_SEGMENTS, is_background, plain_name

STAGE = "cohort"
LARGEST_LABEL = 254  # label maps are uint8, 255 stands for undecided


@dataclass(frozen=True)
class StrokeClasses:
    """Meaning of stroke values.

    Args:
        classes: name -> value.
        background: value of the background strokes.
        assumptions: sentences about what nobody said.
    """

    classes: dict[str, int]
    background: int
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class DatasetLabels:
    """What a `dataset.json` says: class name -> value, and the value of background strokes if it names one."""

    file: Path
    classes: dict[str, int]
    background: int | None


def parse_classes(text: str) -> dict[str, int]:
    """Read "spleen:1,left_kidney:3", or JSON where names hold a comma or colon, as {"spleen": 1, "left_kidney": 3}.

    Raises:
        BundleError: bad syntax, a name or a value given twice.
    """
    classes: dict[str, int] = {}
    for name, value in _json_pairs(text) if text.lstrip().startswith("{") else _listed_pairs(text):
        if name in classes or value in classes.values():
            raise BundleError(
                "a class name or value is given twice",
                stage=STAGE,
                expected="a name and a value of its own for each class",
                found=f'"{name}:{value}" in "{text}"',
            )
        classes[name] = value
    return classes


def _listed_pairs(text: str) -> Iterator[tuple[str, int]]:
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.rpartition(":"))
        if not name or ":" in name or not (value.isascii() and value.isdecimal()):
            raise _unreadable(text)
        yield name, int(value)


def _json_pairs(text: str) -> list[tuple[str, int]]:
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise _unreadable(text) from error
    if not all(type(value) is int for _, value in pairs):
        raise _unreadable(text)
    return [(str(name), value) for name, value in pairs]


def _unreadable(text: str) -> BundleError:
    expected = 'such as "spleen:1,liver:6", or as JSON {"kidney, left": 3}'
    return BundleError("cannot read the classes", stage=STAGE, expected=expected, found=f'"{text}"')


def dataset_labels(images: str | Path) -> DatasetLabels | None:
    """Labels of the `dataset.json` beside the images folder, None if it is missing or names none.

    Both {"1": "spleen"} and {"spleen": 1} are read; the value 0 is no class.

    Raises:
        BundleError: the file is damaged.
    """
    file = Path(images).absolute().parent / "dataset.json"
    if not file.is_file():
        return None
    content = read_json(file)
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict):
        return None
    try:
        pairs = [(name, int(value)) if isinstance(value, int) else (value, int(name)) for name, value in labels.items()]
    except (TypeError, ValueError) as error:
        raise BundleError(
            "cannot read the labels", stage=STAGE, file=file, expected='such as {"1": "spleen"}', found=labels
        ) from error
    classes = {str(name): value for name, value in pairs if value != 0}
    return DatasetLabels(file, classes, content.get("background_scribble")) if classes else None


def labels_beside(
    scribbles: Path, names: Mapping[str, int], classes: Mapping[str, int] | None, images: str | Path
) -> DatasetLabels | None:
    """Labels that the scribbles' own file names where no classes are given, else those of `dataset_labels`.

    Raises:
        BundleError: a class is given with another value than the segment of its name has.
    """
    if names and classes is None:
        return _segment_labels(names, scribbles)
    values = {plain_name(name): value for name, value in names.items()}
    for name, value in (classes or {}).items():
        if (own := values.get(plain_name(name), value)) != value:
            expected = f"{name}:{own}, or no classes: those that the file names are then taken"
            raise _error(f"the segment {name} has another value than the class", scribbles, expected, f"{name}:{value}")
    return dataset_labels(images)


def _segment_labels(names: Mapping[str, int], file: Path) -> DatasetLabels:
    """Labels that a file names itself (see `Volume.names`); a segment called background or outside is no class."""
    background = [value for name, value in names.items() if is_background(name)]
    classes = {name: value for name, value in names.items() if value not in background}
    return DatasetLabels(file, classes, background[0] if background else None)


def resolve_classes(
    drawn: Sequence[int],
    classes: Mapping[str, int] | None,
    background: int | None,
    dataset: DatasetLabels | None,
    scribbles: Path,
) -> StrokeClasses:
    """Decide classes and background from the stroke values `drawn` (without 0) and what was said about them.

    Raises:
        BundleError: no strokes, a class named but not drawn or unknown, no background stroke, a value out of range.
    """
    if not drawn:
        raise _error("the scribbles are empty", scribbles, "strokes of each class and of the background", "none")
    if min(drawn) < 0 or max(drawn) > LARGEST_LABEL + 1:
        raise _error("a scribble value is out of range", scribbles, f"0 to {LARGEST_LABEL + 1}", list(drawn))
    background, assumptions = _background(drawn, classes, background, dataset, scribbles)
    if classes is None:
        classes, assumption = _assumed_classes(drawn, background, dataset)
        assumptions.append(assumption)
    _check_classes(drawn, classes, background, dataset, scribbles)
    others = [value for value in drawn if value != background and value not in classes.values()]
    if others:
        names = {value: name for name, value in dataset.classes.items()} if dataset else {}
        listed = ", ".join(f"{value} ({names[value]})" if value in names else str(value) for value in others)
        assumptions.append(f"Strokes of classes that were not named count as background: {listed}.")
    return StrokeClasses(dict(classes), background, tuple(assumptions))


def _background(
    drawn: Sequence[int],
    classes: Mapping[str, int] | None,
    background: int | None,
    dataset: DatasetLabels | None,
    scribbles: Path,
) -> tuple[int, list[str]]:
    """The value of the background strokes, and what was assumed for it."""
    named = set(classes.values()) if classes else set()
    if background is not None:
        clash = next((name for name, value in (classes or {}).items() if value == background), None)
        if clash is not None:
            raise _error(f"the class {clash} has the background's value", None, "different values", background)
        if background not in drawn:
            raise _error("there is no background stroke", scribbles, f"strokes of value {background}", list(drawn))
        return background, []
    if dataset and dataset.background is not None and dataset.background in drawn and dataset.background not in named:
        sentence = f"The background strokes are those of value {dataset.background}, as {dataset.file.name} says."
        return int(dataset.background), [sentence]
    free = [value for value in drawn if value not in named]
    if not free or (classes is None and len(drawn) == 1):
        expected = "strokes of each class and, as another value, of the background"
        raise _error("there is no background stroke", scribbles, expected, f"values {list(drawn)}")
    return free[-1], [f"The background strokes are those of the largest value, {free[-1]}."]


def _assumed_classes(
    drawn: Sequence[int], background: int, dataset: DatasetLabels | None
) -> tuple[dict[str, int], str]:
    """Classes that nobody named, and the sentence that says so."""
    values = [value for value in drawn if value != background]
    if dataset is None:
        sentence = "No classes were named: each stroke value but the background's is a class, class_<value>."
        return {f"class_{value}": value for value in values}, sentence
    sentence = f"No classes were named: those of {dataset.file.name} that have strokes are used."
    return {name: value for name, value in dataset.classes.items() if value in values}, sentence


def _check_classes(
    drawn: Sequence[int], classes: Mapping[str, int], background: int, dataset: DatasetLabels | None, scribbles: Path
) -> None:
    if not classes:
        raise _error("no class has a stroke", scribbles, "strokes of at least one class", f"values {list(drawn)}")
    if len(set(classes.values())) < len(classes):
        raise _error("two classes have the same value", None, "different values", dict(classes))
    for name, value in classes.items():
        if not is_class_name(name):
            raise _error(
                "a class cannot have this name", None if dataset is None else dataset.file, CLASS_NAME, ascii(name)
            )
        if not 1 <= value <= LARGEST_LABEL:
            raise _error(f"the value of the class {name} is out of range", None, f"1 to {LARGEST_LABEL}", value)
        if is_background(name):
            # Viewers, DICOM segmentations and MONAI Label would take its label maps for background strokes.
            expected = f"another name: {' and '.join(BACKGROUND_SEGMENTS)} are those of the background strokes"
            raise _error(f"the class {name} is the background", None, expected, f"{name}:{value}")
        if value == background:
            raise _error(f"the class {name} is the background", None, "a class of its own", f"{name}:{value}")
        if dataset and dataset.classes.get(name) != value:
            expected = ", ".join(f"{other}:{number}" for other, number in dataset.classes.items())
            raise _error(f"unknown class {name}", dataset.file, expected, f"{name}:{value}")
        if value not in drawn:
            expected = f"strokes of value {value}"
            raise _error(f"the class {name} is named but not drawn", scribbles, expected, f"values {list(drawn)}")


def drawn_values(strokes: np.ndarray) -> list[int]:
    """Sorted values of the strokes, without 0."""
    return [int(value) for value in np.unique(strokes) if value != 0]


def _error(problem: str, file: Path | None, expected: object, found: Any) -> BundleError:
    return BundleError(problem, stage=STAGE, file=file, expected=expected, found=found)
