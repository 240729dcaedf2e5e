"""What the self-check judges by: limits, measurements of a class, what lowers confidence, what each atlas predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scripts.common.overlap import dice_of_share, joined_dice
from scripts.quality.case_spread import spread_of_cases
from scripts.quality.tissue import Tissue

LEAST_CASES = 3  # from which on one alone does not move a median as it likes
SLIGHT = 0.9  # what lowers a prediction by less is not told beside a heavier reason


@dataclass(frozen=True)
class TrustRule:
    """From evidence to a flag.

    Attributes:
        least_dice: a class is flagged whose predicted Dice would be below if the losses of support mask and transfer
            added up, or whose Dice with what the network alone says is.
        least_similarity: a case whose body is less similar to the support's, once registered, is flagged as a whole.
        volume_factor: a class this many times larger or smaller than the cohort's median is flagged; see
            `CohortStatistics.with_support` for few cases.
        tissue_hu: a class is flagged, too, if its median intensity is further from the cohort's than this, in HU or an
            MR's standard units, and than `tissue_spread` allows.
        tissue_spread: so many times the cohort's median distance from its median must be exceeded, too: contrast
            differs between scans.
        good_round_trip: round-trip Dice of an organ that was located well. Its labels pass two borders on the way, so
            that only what is below lowers the confidence.
        calibration_doubt: how much all classes together count for one class, in label maps of its own, see `calibrate`.
        interval_coverage: share of the results whose true Dice the interval shall hold.
        case_concentration: how little true Dice spreads around predicted Dice from case to case, see
            `spread_of_cases`.
        case_loss_power: the higher, the fewer results are expected to be lost altogether, see `spread_of_cases`.
        tissue_coverage: share of a class's voxels in the support mask, around the median, whose intensities are those
            of its tissue; what a label map holds beyond them lowers its predicted Dice. Of CT alone.
    """

    least_dice: float = 0.5
    least_similarity: float = 0.26
    volume_factor: float = 4.0
    tissue_hu: float = 60.0
    tissue_spread: float = 5.0
    good_round_trip: float = 0.7
    calibration_doubt: float = 1.0
    interval_coverage: float = 0.9
    case_concentration: float = 15.0
    case_loss_power: float = 4.0
    tissue_coverage: float = 0.9

    def interval(self, predicted_dice: float) -> tuple[float, float]:
        """Lowest and highest Dice that cases of this predicted Dice are expected to have."""
        return spread_of_cases(predicted_dice, self.case_concentration, self.case_loss_power, self.interval_coverage)


@dataclass(frozen=True)
class ClassMeasurement:
    """A class in a label map.

    Attributes:
        volume_ml: 0 where it is absent.
        median_hu: of the image inside it; NaN where it is absent.
        tissue_share: share of it with tissue of the support mask, see `tissue_shares`; 1 where nothing is known.
    """

    volume_ml: float
    median_hu: float
    tissue_share: float = 1.0


def measure_classes(
    tissues: Mapping[str, Tissue], voxel_ml: float, shares: Mapping[str, float] = {}
) -> dict[str, ClassMeasurement]:
    """Class -> its volume, median intensity and tissue.

    Args:
        tissues: class -> its intensities.
        voxel_ml: volume of a voxel.
        shares: class -> see `tissue_share`.
    """
    return {
        name: ClassMeasurement(
            tissue.values_hu.size * voxel_ml,
            float(np.median(tissue.values_hu)) if tissue.values_hu.size else float("nan"),
            shares.get(name, 1.0),
        )
        for name, tissue in tissues.items()
    }


@dataclass(frozen=True)
class CohortStatistics:
    """A class over the cases of a cohort.

    Attributes:
        volume_ml: median, absent ones as 0.
        median_hu: median over the cases that have the class; NaN if none has.
        spread_hu: median distance from it.
        of_support: all are the support's alone.
    """

    volume_ml: float
    median_hu: float
    spread_hu: float
    of_support: bool = False

    @classmethod
    def with_support(cls, cases: Sequence[ClassMeasurement], support: ClassMeasurement) -> CohortStatistics:
        """Of one class in each of at least one case; few are held against the support mask, too, if that has the class.

        Two cases and the support have one median. A single case is held against the support alone: with itself it would
        never be far from the middle. From three cases on they are enough.
        """
        if len(cases) >= LEAST_CASES or support.volume_ml == 0:
            return cls.of(cases)
        if len(cases) == 1:
            return replace(cls.of([support]), of_support=True)
        return cls.of([*cases, support])

    @classmethod
    def of(cls, cases: Sequence[ClassMeasurement]) -> CohortStatistics:
        """Of one class in each of at least one case."""
        present = np.array([case.median_hu for case in cases if case.volume_ml > 0])
        median_hu = float(np.median(present)) if len(present) else float("nan")
        spread_hu = float(np.median(np.abs(present - median_hu))) if len(present) else float("nan")
        return cls(float(np.median([case.volume_ml for case in cases])), median_hu, spread_hu)


@dataclass(frozen=True)
class ConfidencePenalty:
    """What lowers the confidence in a class although all segmentations agree: 1 where nothing does.

    Attributes:
        border_confidence: of the support mask's border.
        mean_round_trip_dice: of the atlases that vote for the class, mean by weight.
        good_round_trip: see `TrustRule`.
        atlases: how many vote for the class. What one alone gets wrong only the round trip can show; of several, their
            probabilities show it as well, so that each has its part of the penalty.
        stroke_confidence: of the support mask, see `stroke_confidence`.
        tissue_share: of the label map itself, see `ClassMeasurement`.
    """

    border_confidence: float = 1.0
    mean_round_trip_dice: float = 1.0
    good_round_trip: float = 1.0
    atlases: int = 1
    stroke_confidence: float = 1.0
    tissue_share: float = 1.0

    @property
    def round_trip_factor(self) -> float:
        """At most 1."""
        return min(1.0, self.mean_round_trip_dice / self.good_round_trip) ** (1 / max(self.atlases, 1))

    @property
    def mask_confidence(self) -> float:
        """Of the support mask; of two doubts about one mask the heavier one counts."""
        return min(self.border_confidence, self.stroke_confidence)

    def predicted(self, agreed_dice: float) -> float:
        """Dice of a class whose mask and transfer err independently, see `joined_dice`.

        Other tissue is what the label map has too much: it may hold all of the organ.
        """
        joined = joined_dice(agreed_dice, self.mask_confidence)
        return joined * self.round_trip_factor * dice_of_share(self.tissue_share)

    def at_worst(self, agreed_dice: float) -> float:
        """Dice of a class where mask and transfer err in different places, so that their losses add up.

        Other tissue lies where the organ is not, and so much of the organ is left out elsewhere.
        """
        return agreed_dice * self.mask_confidence * self.round_trip_factor * self.tissue_share

    def in_words(self) -> list[str]:
        """Every reason for the penalty that weighs something beside the heaviest, which comes first."""
        reasons = self._reasons()
        return [sentence for place, (factor, sentence) in enumerate(reasons) if not place or factor < SLIGHT]

    def heavier_than(self, factor: float) -> list[str]:
        """Every reason that lowers the confidence by more than a factor does, the heaviest first."""
        return [sentence for own, sentence in self._reasons() if own < factor]

    def _reasons(self) -> list[tuple[float, str]]:
        """(factor, sentence), the heaviest first."""
        trip, strokes, border = self.mean_round_trip_dice, self.stroke_confidence, self.border_confidence
        of_mask = "the support mask {} ({} confidence {:.2f}): look at that mask and correct it"
        found = [
            (
                self.round_trip_factor,
                f"labels sent to another case and back match little: mean round-trip Dice {trip:.2f}",
            ),
            (strokes, of_mask.format("leaves out strokes of its class", "stroke", strokes)),
            (border, of_mask.format("has no clear border", "border", border)),
            (self.tissue_share, f"{1 - self.tissue_share:.0%} of it is tissue that the support mask does not have"),
        ]
        return sorted((factor, sentence) for factor, sentence in found if factor < 1)


def stroke_confidence(mask: np.ndarray, strokes: np.ndarray, classes: Mapping[str, int]) -> dict[str, float]:
    """Class -> Dice of a support mask that is right where it is, but holds no more of the organ than of its strokes.

    A class without a stroke is left out.

    Args:
        mask: (X, Y, Z) label values of the support mask, grown or given.
        strokes: (X, Y, Z) label values of the strokes on the same grid.
        classes: name -> label value.
    """
    drawn = {name: strokes == value for name, value in classes.items() if (strokes == value).any()}
    shares = {name: float((mask[where] == classes[name]).mean()) for name, where in drawn.items()}
    return {name: dice_of_share(share) for name, share in shares.items()}


@dataclass(frozen=True)
class AtlasLabels:
    """What each atlas alone predicts for a case.

    Attributes:
        labels: atlas -> (X, Y, Z) label values on the working grid.
        classes: atlas -> the classes that it votes for in label fusion.
    """

    labels: Mapping[str, np.ndarray]
    classes: Mapping[str, frozenset[str]]

    def voting(self, name: str) -> dict[str, np.ndarray]:
        """Atlas -> (X, Y, Z) label values, of those that vote for a class."""
        return {atlas: label for atlas, label in self.labels.items() if name in self.classes[atlas]}
