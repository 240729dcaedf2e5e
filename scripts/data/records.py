"""The records that stages leave for each case, typed: read and written here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from scripts.common.errors import BundleError
from scripts.common.files import MADE_AGAIN, read_json
from scripts.common.names import in_ml

KEPT = ""  # the reason of a point that was not dropped
DIGITS_MM, DIGITS = 3, 4

Record = TypeVar("Record")


@dataclass(frozen=True)
class PointSet:
    """N points of the support, located in one case.

    Attributes:
        labels: (N,) class values, 0 for background.
        support_voxels: (N, 3) on the support's own grid.
        support_mm: (N, 3) in the support's world.
        located_mm: (N, 3) in the case's world.
        working_voxels: (N, 3) the same on the working grid.
        scores: (N,) what they are ranked by.
        reasons: (N,) why a point was dropped, `KEPT` where it was not.
        similarities: level -> (N,) cosine.
        evidence: name -> (N,) further numbers that speak for or against a point.
    """

    labels: np.ndarray
    support_voxels: np.ndarray
    support_mm: np.ndarray
    located_mm: np.ndarray
    working_voxels: np.ndarray
    scores: np.ndarray
    reasons: np.ndarray
    similarities: Mapping[str, np.ndarray] = field(default_factory=dict)
    evidence: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def kept(self) -> np.ndarray:
        """(N,) bool."""
        return self.reasons == KEPT

    def chosen(self, which: np.ndarray) -> PointSet:
        """Those of the points that `which`, (N,) bool or indices, says."""
        return PointSet(
            labels=self.labels[which],
            support_voxels=self.support_voxels[which],
            support_mm=self.support_mm[which],
            located_mm=self.located_mm[which],
            working_voxels=self.working_voxels[which],
            scores=self.scores[which],
            reasons=self.reasons[which],
            similarities={level: values[which] for level, values in self.similarities.items()},
            evidence={name: values[which] for name, values in self.evidence.items()},
        )

    def not_located(self, classes: Mapping[str, int]) -> list[str]:
        """Names of the classes of which no point was kept."""
        kept = set(self.labels[self.kept].tolist())
        return [name for name, value in classes.items() if value not in kept]

    def to_json(self) -> dict[str, Any]:
        """A column each; positions in mm to three digits, other numbers to four."""
        return {
            "labels": self.labels.astype(int).tolist(),
            "support_voxels": self.support_voxels.astype(int).tolist(),
            "support_mm": _rounded(self.support_mm, DIGITS_MM),
            "located_mm": _rounded(self.located_mm, DIGITS_MM),
            "working_voxels": self.working_voxels.astype(int).tolist(),
            "scores": _rounded(self.scores, DIGITS),
            "reasons": list(self.reasons),
            "similarities": {level: _rounded(values, DIGITS) for level, values in self.similarities.items()},
            "evidence": {name: _rounded(values, DIGITS) for name, values in self.evidence.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PointSet:
        """The points that `to_json` was called on, rounded."""
        return cls(
            labels=np.array(content["labels"], dtype=int),
            support_voxels=np.array(content["support_voxels"], dtype=int).reshape(-1, 3),
            support_mm=np.array(content["support_mm"], dtype=float).reshape(-1, 3),
            located_mm=np.array(content["located_mm"], dtype=float).reshape(-1, 3),
            working_voxels=np.array(content["working_voxels"], dtype=int).reshape(-1, 3),
            scores=np.array(content["scores"], dtype=float),
            reasons=np.array(content["reasons"], dtype=object),
            similarities={level: np.array(values, dtype=float) for level, values in content["similarities"].items()},
            evidence={name: np.array(values, dtype=float) for name, values in content["evidence"].items()},
        )

    def rounded(self) -> PointSet:
        """As its record will say."""
        return PointSet.from_json(self.to_json())

    @classmethod
    def empty(cls) -> PointSet:
        """No points."""
        none = np.zeros((0, 3))
        return cls(np.zeros(0, int), none.astype(int), none, none, none.astype(int), np.zeros(0), np.zeros(0, object))


@dataclass(frozen=True)
class PropagationRecord:
    """What was sent to a case, and what came of it.

    Attributes:
        case, support: identifiers.
        rule: what a kept point had to fulfil: "name", and the limits by name.
        spacing_mm: of the working grid.
        classes: name -> label value.
        points: the support's, located and judged.
        similarity: of the two bodies, at most 1 (mode `default`).
        turned: how the case's body is turned by 180 degrees or mirrored against the support's, in words; None where it
            is not (mode `default`).
        round_trip_dice: class -> Dice of the support mask and of what it becomes, sent to the case and back (mode
            `default`).
        atlases: atlas -> class -> weight in label fusion (mode `default`, after fusion).
        mean_round_trip_dice: class -> round-trip Dice of the atlases, mean by weight (mode `default`, after fusion).
    """

    case: str
    support: str
    rule: Mapping[str, Any]
    spacing_mm: tuple[float, float, float]
    classes: Mapping[str, int]
    points: PointSet
    similarity: float | None = None
    turned: str | None = None
    round_trip_dice: Mapping[str, float] = field(default_factory=dict)
    atlases: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    mean_round_trip_dice: Mapping[str, float] = field(default_factory=dict)

    @property
    def not_located(self) -> list[str]:
        """Names of the classes of which no point was kept."""
        return self.points.not_located(self.classes)

    def to_json(self) -> dict[str, Any]:
        """The fields, rounded to four digits."""
        return {
            "case": self.case,
            "support": self.support,
            "rule": dict(self.rule),
            "spacing_mm": list(self.spacing_mm),
            "classes": dict(self.classes),
            "not_located": self.not_located,
            "similarity": None if self.similarity is None else round(self.similarity, DIGITS),
            "turned": self.turned,
            "round_trip_dice": rounded_values(self.round_trip_dice),
            "atlases": {atlas: rounded_values(weights) for atlas, weights in self.atlases.items()},
            "mean_round_trip_dice": rounded_values(self.mean_round_trip_dice),
            "points": self.points.to_json(),
        }

    @classmethod
    def read(cls, file: str | Path) -> PropagationRecord:
        """Raises BundleError if the file is missing or damaged."""
        return read_record(file, cls._from_json)

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> PropagationRecord:
        x, y, z = (float(step) for step in content["spacing_mm"])
        return cls(
            case=content["case"],
            support=content["support"],
            rule=content["rule"],
            spacing_mm=(x, y, z),
            classes=content["classes"],
            points=PointSet.from_json(content["points"]),
            similarity=content["similarity"],
            turned=content.get("turned"),
            round_trip_dice=content["round_trip_dice"],
            atlases=content["atlases"],
            mean_round_trip_dice=content["mean_round_trip_dice"],
        )


@dataclass(frozen=True)
class PseudoLabelRecord:
    """How a label map grew.

    Attributes:
        case: identifier.
        classes: name -> label value.
        not_located: classes without a voxel.
        given: the user gave the label map.
        volume_ml: class -> volume.
        opened_share: class -> share of its volume that opening by reconstruction took.
        border_confidence: class -> how far the image, not a growth limit, made its border.
        kinds: class -> what its strokes say it is, of a support mask.
        parts: class -> how many parts it is in, of those in more than one, of a support mask.
        settings: that it grew with.
        image_sha256: fingerprint of the case's image, see `Case`; None where nobody noted it.
    """

    case: str
    classes: Mapping[str, int]
    not_located: tuple[str, ...] = ()
    given: bool = False
    volume_ml: Mapping[str, float] = field(default_factory=dict)
    opened_share: Mapping[str, float] = field(default_factory=dict)
    border_confidence: Mapping[str, float] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    image_sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields; no fingerprint where there is none."""
        return {
            "case": self.case,
            "classes": dict(self.classes),
            "not_located": list(self.not_located),
            "given": self.given,
            "volume_ml": dict(self.volume_ml),
            "opened_share": dict(self.opened_share),
            "border_confidence": dict(self.border_confidence),
            "kinds": dict(self.kinds),
            **({"parts": dict(self.parts)} if self.parts else {}),
            "settings": dict(self.settings),
            **({} if self.image_sha256 is None else {"image_sha256": self.image_sha256}),
        }

    @classmethod
    def read(cls, file: str | Path) -> PseudoLabelRecord:
        """Raises BundleError if the file is missing or damaged."""
        return read_record(file, cls._from_json)

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> PseudoLabelRecord:
        fields = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        return cls(**{**fields, "not_located": tuple(content["not_located"])})


def how_grown(volume_ml: float, kind: str | None, border_confidence: float | None) -> str:
    """Such as "231 ml, grown as a blob, border confidence 0.98", as far as it is known."""
    told = [in_ml(volume_ml)]
    told += [] if kind is None else [f"grown as a {kind}"]
    told += [] if border_confidence is None else [f"border confidence {border_confidence:.2f}"]
    return ", ".join(told)


def parts_of(record: str | Path) -> dict[str, int]:
    """Class -> how many parts it is in, of those in more than one, by a support mask's record."""
    return dict(PseudoLabelRecord.read(record).parts)


def read_record(file: str | Path, parse: Callable[[Mapping[str, Any]], Record]) -> Record:
    """The content of a JSON file as `parse` makes it; raises BundleError if the file is missing or damaged."""
    content = read_json(file, MADE_AGAIN)
    try:
        return parse(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError("the record is damaged", file=file, expected=MADE_AGAIN, found=repr(error)) from error


def _rounded(values: np.ndarray, digits: int) -> list[Any]:
    """As Python rounds, number by number."""
    if values.ndim > 1:
        return [[round(float(value), digits) for value in row] for row in values]
    return [round(float(value), digits) for value in values]


def rounded_values(values: Mapping[str, float]) -> dict[str, float]:
    """Four digits of each."""
    return {name: round(float(value), DIGITS) for name, value in values.items()}
