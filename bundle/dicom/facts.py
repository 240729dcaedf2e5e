"""What a DICOM label map says beside its voxels: who made it, and of each class what it is and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.dicom.terms import Anatomy, anatomy_of
from bundle.pipeline.configs import CONFIGS
from bundle.report.pictures import colours_of
from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.common.made_of import content_of
from scripts.quality.check_case import without_names
from scripts.quality.records import CheckRecord, ClassCheck

LONGEST_NAME, LONGEST_DESCRIPTION = 64, 1024  # what DICOM can hold
BY_USER = "Given by the user."
UNCHECKED = "No predicted Dice: this label map was not checked."


@dataclass(frozen=True)
class Maker:
    """The program, as DICOM names equipment and algorithms."""

    name: str
    version: str


@dataclass(frozen=True)
class ClassFacts:
    """One class of a label map.

    Attributes:
        name: of the class.
        value: in the label map.
        description: what the self-check says of it.
        by_user: the user made the label map, not the method.
        colour: "#RRGGBB".
        anatomy: what it is, coded.
    """

    name: str
    value: int
    description: str
    by_user: bool
    colour: str
    anatomy: Anatomy

    @property
    def label(self) -> str:
        """The name as far as DICOM can hold it."""
        return self.name[:LONGEST_NAME]

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green, blue, 0 to 255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


def maker() -> Maker:
    """This bundle, as its metadata say."""
    metadata = read_json(CONFIGS / "metadata.json")
    return Maker(str(metadata["name"])[:LONGEST_NAME], str(metadata["version"])[:LONGEST_NAME])


def class_facts(classes: Mapping[str, int], record: Path, check: Path | None) -> list[ClassFacts]:
    """Of each class, in their order.

    Args:
        classes: name -> value.
        record: of the label map; one that is missing or damaged tells nothing.
        check: of the self-check, where there may be one.
    """
    made = _content(record)
    by_user, checked = bool(made.get("given")), None if check is None else _checked(check)
    remarks = made.get("warnings")
    shared = [str(sentence) for sentence in remarks] if isinstance(remarks, Sequence) else []
    colours = colours_of(classes)
    return [
        ClassFacts(
            name=name,
            value=value,
            description=_described(name, by_user, checked, shared)[:LONGEST_DESCRIPTION],
            by_user=by_user,
            colour=colours[name],
            anatomy=anatomy_of(name),
        )
        for name, value in classes.items()
    ]


def _described(name: str, by_user: bool, checked: CheckRecord | None, remarks: Sequence[str]) -> str:
    if by_user:
        return BY_USER
    if checked is None or name not in checked.classes:
        return " ".join([UNCHECKED, *remarks])
    return " ".join([_trust(checked.classes[name], checked.reasons), *remarks])


def _trust(check: ClassCheck, reasons_of_case: Sequence[str]) -> str:
    low, high = check.interval
    words = f"Predicted Dice {check.predicted_dice:.2f} ({low:.2f} to {high:.2f})."
    if not check.flagged:
        return f"{words} Not flagged."
    reasons = [*reasons_of_case, *map(without_names, check.reasons)]  # atlases are other patients
    return f"{words} Flagged: {'; '.join(reasons) or 'no reason given'}."


def _checked(file: Path) -> CheckRecord | None:
    try:
        return CheckRecord.read(file)
    except BundleError:
        return None


def _content(record: Path) -> dict[str, Any]:
    try:
        return content_of(record)
    except BundleError:
        return {}
