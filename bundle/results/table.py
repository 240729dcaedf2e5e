"""What a run made and how far to trust it, as rows: values in, a table out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.data.records import DIGITS
from scripts.quality.records import CheckRecord

SCHEMA_VERSION = 2  # of docs/results.schema.json
SUPPORT, ACCEPTED, UNLABELLED = "support", "accepted", "unlabelled"  # what a case is to the run
ADMITTED, REMARKED, LEFT_OUT = "admitted", "with remarks", "left out"  # what the gate says of its volume
VOLUME_DIGITS = 3


@dataclass(frozen=True)
class ResultRow:
    """One class of one case; of a case that was left out, the case alone.

    Attributes:
        case: identifier.
        role: `SUPPORT`, `ACCEPTED` (the user accepted its label map) or `UNLABELLED`.
        admission: `ADMITTED`, `REMARKED` (there are remarks) or `LEFT_OUT`; no word on how good the label map is.
        class_name: None of a case that was left out; so are label and label map.
        label: value of the class in the label map.
        volume_ml: of the class in the label map.
        predicted_dice: with the unknown truth; None where there was no self-check.
        interval: lowest and highest Dice, see `ClassCheck`.
        flagged: whether a user should look; None where there was no self-check.
        reasons: why, in words.
        remarks: on the case's volume, or on its label map as a whole.
        source: the input file or folder.
        label_map: file, relative to the table's folder.
    """

    case: str
    role: str
    admission: str
    class_name: str | None
    label: int | None
    volume_ml: float | None
    predicted_dice: float | None
    interval: tuple[float, float] | None
    flagged: bool | None
    reasons: tuple[str, ...]
    remarks: tuple[str, ...]
    source: str
    label_map: str | None

    def columns(self) -> dict[str, Any]:
        """Column -> value, in the table's order; Dice to four digits, volumes to three."""
        low, high = self.interval or (None, None)
        return {
            "case": self.case,
            "role": self.role,
            "admission": self.admission,
            "class": self.class_name,
            "label": self.label,
            "volume_ml": _rounded(self.volume_ml, VOLUME_DIGITS),
            "predicted_dice": _rounded(self.predicted_dice, DIGITS),
            "dice_low": _rounded(low, DIGITS),
            "dice_high": _rounded(high, DIGITS),
            "flagged": self.flagged,
            "reasons": list(self.reasons),
            "remarks": list(self.remarks),
            "source": self.source,
            "label_map": self.label_map,
        }


@dataclass(frozen=True)
class ResultTable:
    """All rows of a run, cases by name, and what made them.

    Attributes:
        version: of the bundle.
        weights: network -> SHA-256 of its weights' file.
        rows: those of left out cases come last.
    """

    version: str
    weights: Mapping[str, str]
    rows: tuple[ResultRow, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields, as docs/results.schema.json says."""
        return {
            "schema_version": SCHEMA_VERSION,
            "version": self.version,
            "weights_sha256": dict(self.weights),
            "rows": [row.columns() for row in self.rows],
        }


@dataclass(frozen=True)
class CaseFacts:
    """What is known of one case that has a label map.

    Attributes:
        case, role, source, label_map: see `ResultRow`.
        remarks: see `ResultRow`.
        volume_ml: class -> volume in the label map.
        check: what the self-check says; None where there was none.
    """

    case: str
    role: str
    source: str
    label_map: str
    remarks: tuple[str, ...]
    volume_ml: Mapping[str, float]
    check: CheckRecord | None = None


def case_rows(facts: CaseFacts, classes: Mapping[str, int]) -> Iterator[ResultRow]:
    """A row for each class; reasons that hold for the whole case count for each of its classes that is flagged."""
    for name, label in classes.items():
        of_class = None if facts.check is None else facts.check.classes.get(name)
        reasons: tuple[str, ...] = ()
        if facts.check is not None and of_class is not None and of_class.flagged:
            reasons = (*facts.check.reasons, *of_class.reasons)
        yield ResultRow(
            case=facts.case,
            role=facts.role,
            admission=REMARKED if facts.remarks else ADMITTED,
            class_name=name,
            label=label,
            volume_ml=facts.volume_ml.get(name),
            predicted_dice=None if of_class is None else of_class.predicted_dice,
            interval=None if of_class is None else of_class.interval,
            flagged=None if of_class is None else of_class.flagged,
            reasons=reasons,
            remarks=facts.remarks,
            source=facts.source,
            label_map=facts.label_map,
        )


def left_out_row(case: str, rejected: Mapping[str, str]) -> ResultRow:
    """The row of a case that the gate left out; `rejected` is its entry in `cohort.json` (see `rejection`)."""
    remarks = [rejected.get("reason", "")]
    if rejected.get("remedy"):
        remarks.append(f"expected: {rejected['remedy']}")
    return ResultRow(
        case=case,
        role=UNLABELLED,
        admission=LEFT_OUT,
        class_name=None,
        label=None,
        volume_ml=None,
        predicted_dice=None,
        interval=None,
        flagged=None,
        reasons=(),
        remarks=tuple(remarks),
        source=rejected.get("file", ""),
        label_map=None,
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)
