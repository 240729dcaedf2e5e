"""What the self-check says about a label map: its record, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.data.records import DIGITS, read_record, rounded_values

STAGE = "self_check"

# Raters: reference segmentations beside the atlases, as records name them.
PSEUDO_LABEL = "pseudo label"
NETWORK = "network"  # also the folder of its own label maps


def distrusted(checks_dir: str | Path, case: str, least_agreed_dice: float) -> list[str]:
    """Classes of a case with an agreed Dice below `least_agreed_dice`; none where the case was not checked.

    The confidence penalty, which concerns the support and so all cases, does not count: else there would be nothing to
    learn from.

    Raises:
        BundleError: the case's record is damaged.
    """
    file = Path(checks_dir) / f"{case}.json"
    if not file.exists():
        return []
    return [name for name, check in CheckRecord.read(file).classes.items() if check.agreed_dice < least_agreed_dice]


def agreed_dice(checks_dir: str | Path) -> dict[str, dict[str, float]]:
    """Case -> class -> agreed Dice, of all records in a folder: all that `distrusted` goes by.

    Raises:
        BundleError: a record is damaged.
    """
    files = sorted(file for file in Path(checks_dir).glob("*.json") if not file.name.startswith("."))
    records = [CheckRecord.read(file) for file in files]
    return {record.case: {name: check.agreed_dice for name, check in record.classes.items()} for record in records}


@dataclass(frozen=True)
class ClassCheck:
    """How far to trust one class of a label map.

    Attributes:
        predicted_dice: with the unknown truth.
        interval: holds it as often as the rule asks for, as far as the support mask is right.
        agreed_dice: the same before anything lowers it.
        border_confidence: of the support mask, 1 where nothing is known.
        agreement: atlas -> Dice with what it alone predicts.
        volume_ml: 0 where the class is absent.
        median_hu: None where it is absent.
        flagged: a user should look.
        reasons: why, in words.
        rater_agreement: `PSEUDO_LABEL` or `NETWORK` -> Dice with it; earlier versions had these among the atlases.
    """

    predicted_dice: float
    interval: tuple[float, float]
    agreed_dice: float
    border_confidence: float
    agreement: Mapping[str, float]
    volume_ml: float
    median_hu: float | None
    flagged: bool
    reasons: tuple[str, ...] = ()
    rater_agreement: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The fields, Dice to four digits."""
        return {
            "predicted_dice": round(self.predicted_dice, DIGITS),
            "interval": [round(value, DIGITS) for value in self.interval],
            "agreed_dice": round(self.agreed_dice, DIGITS),
            "border_confidence": round(self.border_confidence, DIGITS),
            "agreement": rounded_values(self.agreement),
            "volume_ml": round(self.volume_ml, 2),
            "median_hu": None if self.median_hu is None else round(self.median_hu, 1),
            "flagged": self.flagged,
            "reasons": list(self.reasons),
            # Of pseudo labels, which have no raters, records stay as they were, and so does what learns from them.
            **({"rater_agreement": rounded_values(self.rater_agreement)} if self.rater_agreement else {}),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ClassCheck:
        """What `to_json` was called on, rounded."""
        low, high = content["interval"]
        content = {"rater_agreement": {}, **content}
        fields = {name: content[name] for name in cls.__dataclass_fields__}
        return cls(**{**fields, "interval": (float(low), float(high)), "reasons": tuple(content["reasons"])})


@dataclass(frozen=True)
class CheckRecord:
    """How far to trust a label map.

    Attributes:
        case: identifier.
        similarity: of the case's body to the support's.
        shared_quality: true over predicted Dice on the support: what all reference segmentations get wrong together.
        flagged: the case as a whole.
        reasons: why, in words.
        classes: name -> what holds for it.
    """

    case: str
    similarity: float
    shared_quality: float
    flagged: bool
    reasons: tuple[str, ...]
    classes: Mapping[str, ClassCheck]

    def to_json(self) -> dict[str, Any]:
        """The fields, rounded to four digits."""
        return {
            "case": self.case,
            "similarity": round(self.similarity, DIGITS),
            "shared_quality": round(self.shared_quality, DIGITS),
            "flagged": self.flagged,
            "reasons": list(self.reasons),
            "classes": {name: check.to_json() for name, check in self.classes.items()},
        }

    @classmethod
    def read(cls, file: str | Path) -> CheckRecord:
        """Raises BundleError if the file is missing or damaged."""
        return read_record(file, cls._from_json)

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> CheckRecord:
        return cls(
            case=content["case"],
            similarity=float(content["similarity"]),
            shared_quality=float(content["shared_quality"]),
            flagged=content["flagged"],
            reasons=tuple(content["reasons"]),
            classes={name: ClassCheck.from_json(check) for name, check in content["classes"].items()},
        )
