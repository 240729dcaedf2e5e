"""How far to trust a label map without knowing the truth: values in, a `CheckRecord` out (mode `default`).

The atlases' class probabilities say what Dice a label map can be expected to have (see `modelled_dice`). They are wrong
together in places; how much is measured on the support, whose mask is known: there the selected atlases alone make a
label map (see `support_calibration`). The support mask itself may be wrong, and then all are: a result is trusted as
far as the image, not growth limits, made the support mask's border, as far as that mask holds its strokes, and, where
few atlases know a class, as far as labels sent to another case and back still match. What all atlases put into the
wrong place shows in the image: a label map that took in other tissues is trusted as far as its own goes.

Reference segmentations of the case tell which of them the label map contradicts: the labels that each atlas alone
predicts, and those of raters, the pseudo label and what the trained network alone says. Atlases are called like cases,
which may have any name, so the two are kept apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from scripts.common.overlap import dice_of
from scripts.data.intensity import normalise_hu
from scripts.quality.evidence import AtlasLabels, ClassMeasurement, CohortStatistics, ConfidencePenalty, TrustRule
from scripts.quality.modelled_dice import modelled_dice
from scripts.quality.records import NETWORK, CheckRecord, ClassCheck
from scripts.quality.support_calibration import KnownLabel, SupportCalibration, calibrate

MOST_NAMED = 3  # reference segmentations named in a reason
UNSURE, LEAST_WITH = "the atlases are not sure of it", "; it agrees least with "


@dataclass(frozen=True)
class CaseEvidence:
    """All that is known about one label map.

    Attributes:
        case: identifier.
        result: (X, Y, Z) label values of the label map to be checked.
        probabilities: class -> (X, Y, Z) probability on the same grid, by the atlases.
        raters: `PSEUDO_LABEL` or `NETWORK` -> (X, Y, Z) label values of that segmentation of the case.
        atlases: what each of them alone predicts, and for which classes it votes.
        similarity: of the case's body to the support's.
        mean_round_trip_dice: class -> round-trip Dice of the atlases, mean by weight.
        measurements: class -> its volume and intensity in the result.
        turned: how the body is turned against the support's, in words; None where it is not.
        truth: (X, Y, Z) label values of the label map that the user accepted; None where there is none.
    """

    case: str
    result: np.ndarray
    probabilities: Mapping[str, np.ndarray]
    raters: Mapping[str, np.ndarray]
    atlases: AtlasLabels
    similarity: float
    mean_round_trip_dice: Mapping[str, float]
    measurements: Mapping[str, ClassMeasurement]
    turned: str | None = None
    truth: np.ndarray | None = None


@dataclass(frozen=True)
class CohortEvidence:
    """What holds for every label map of a cohort.

    Attributes:
        classes: name -> label value.
        statistics: class -> medians over the label maps, of few with the support mask.
        calibration: see `calibrate_on_support`.
        border_confidence: class -> how far the image made the support mask's border; classes of which nothing is
            known, such as all of a support mask that the user gave, are left out.
        stroke_confidence: class -> how far the support mask holds its strokes; a class without strokes is left out.
        is_mr: intensities are an MR's standard units, not Hounsfield units.
    """

    classes: Mapping[str, int]
    statistics: Mapping[str, CohortStatistics]
    calibration: SupportCalibration = field(default_factory=SupportCalibration)
    border_confidence: Mapping[str, float] = field(default_factory=dict)
    stroke_confidence: Mapping[str, float] = field(default_factory=dict)
    is_mr: bool = False


def check_case(case: CaseEvidence, cohort: CohortEvidence, rule: TrustRule) -> CheckRecord:
    """How far to trust each class of a label map, and the label map as a whole."""
    reasons = reasons_to_flag_case(case, rule)
    return CheckRecord(
        case=case.case,
        similarity=case.similarity,
        shared_quality=cohort.calibration.shared_quality,
        flagged=bool(reasons),
        reasons=tuple(reasons),
        classes={name: _check_class(name, case, cohort, rule, not reasons) for name in cohort.classes},
    )


def calibrate_on_support(
    label: np.ndarray,
    truth: np.ndarray,
    probabilities: Mapping[str, np.ndarray],
    voted: Collection[str],
    classes: Mapping[str, int],
    rule: TrustRule,
) -> SupportCalibration:
    """How true and modelled Dice go together where the truth is known.

    Args:
        label: (X, Y, Z) label values that the selected atlases alone make on the support.
        truth: (X, Y, Z) the support mask on the same grid.
        probabilities: class -> (X, Y, Z) probability there, by the same atlases.
        voted: classes that one of them votes for.
        classes: name -> label value.
        rule: the constants.
    """
    fused = [
        _known(name, label == value, truth == value, probabilities[name])
        for name, value in classes.items()
        if name in voted
    ]
    return calibrate(fused, rule.calibration_doubt)


def _known(name: str, mask: np.ndarray, truth: np.ndarray, probability: np.ndarray) -> KnownLabel:
    return KnownLabel(name, modelled_dice(mask, probability), dice_of(mask, truth, of_nothing=0.0))


def reasons_to_flag(
    agreed_dice: float,
    penalty: ConfidencePenalty,
    agreement: Mapping[str, float],
    rater_agreement: Mapping[str, float],
    measurement: ClassMeasurement,
    statistics: CohortStatistics,
    rule: TrustRule,
    is_mr: bool = False,
) -> list[str]:
    """Why a user should look at a class, in words; nothing if there is no reason.

    Args:
        agreed_dice: predicted Dice before the penalty.
        penalty: what lowers it.
        agreement: atlas -> its Dice with the result.
        rater_agreement: rater -> its Dice with the result.
        measurement: of the class in the result.
        statistics: of the class over the cohort.
        rule: the limits.
        is_mr: see `CohortEvidence`.
    """
    if measurement.volume_ml == 0:
        return ["not found"]
    reasons = []
    if agreed_dice < rule.least_dice:
        lowest = sorted([*rater_agreement.items(), *agreement.items()], key=lambda item: item[1])[:MOST_NAMED]
        raters = ", ".join(f"{rater} {dice:.2f}" for rater, dice in lowest)
        reasons += [*penalty.heavier_than(agreed_dice), f"{UNSURE}{LEAST_WITH}{raters}"]
    elif penalty.at_worst(agreed_dice) < rule.least_dice:
        reasons += penalty.in_words()
    if rater_agreement.get(NETWORK, 1.0) < rule.least_dice:  # which is right, it or the atlases, nobody knows
        reasons.append(f"the network alone finds something else: Dice {rater_agreement[NETWORK]:.2f}")
    whose = "the support's:" if statistics.of_support else "the cohort's: median"
    volume_ml, usual_ml = measurement.volume_ml, statistics.volume_ml
    if usual_ml > 0 and not 1 / rule.volume_factor <= volume_ml / usual_ml <= rule.volume_factor:
        reasons.append(f"its volume, {volume_ml:.0f} ml, is unlike {whose} {usual_ml:.0f} ml")
    deviation_hu = abs(measurement.median_hu - statistics.median_hu)
    if deviation_hu > max(rule.tissue_hu, rule.tissue_spread * statistics.spread_hu):
        found, usual = (_intensity(value, is_mr) for value in (measurement.median_hu, statistics.median_hu))
        reasons.append(f"its tissue, {found}, is unlike {whose} {usual}")
    return reasons


def reasons_to_flag_accepted(accepted_dice: float, measurement: ClassMeasurement, rule: TrustRule) -> list[str]:
    """Why a user should look at a class of a case whose label map she accepted; nothing if there is no reason.

    What is unlike other cases is so by her word.

    Args:
        accepted_dice: Dice with the label map that she accepted.
        measurement: of the class in the result.
        rule: the limits.
    """
    if measurement.volume_ml == 0:
        return ["not found"]
    if accepted_dice < rule.least_dice:
        return [f"it is not what was accepted: Dice {accepted_dice:.2f} with that"]
    return []


def without_names(reason: str) -> str:
    """A reason of `reasons_to_flag` for those who may not know what other cases are called."""
    return UNSURE if reason.startswith(UNSURE + LEAST_WITH) else reason


def _intensity(value: float, is_mr: bool) -> str:
    """In words: standard units mean nothing to a reader, what the networks see of them does."""
    return f"intensity {normalise_hu(np.array(value)):.2f} of 0 to 1" if is_mr else f"{value:.0f} HU"


def reasons_to_flag_case(case: CaseEvidence, rule: TrustRule) -> list[str]:
    """Why no class of the label map can be right, in words, what can be mended first; nothing if there is no reason."""
    reasons = []
    if case.turned is not None:
        reasons.append(
            f"the body is {case.turned} against the support's: correct the orientation in the header of its file, or "
            "that of the support"
        )
    if case.similarity < rule.least_similarity:
        reasons.append(f"the body is unlike the support's: similarity {case.similarity:.2f}")
    return reasons


def _check_class(
    name: str, case: CaseEvidence, cohort: CohortEvidence, rule: TrustRule, comparable: bool
) -> ClassCheck:
    """`comparable`: whether the case's body is of the support's kind, and turned as it is."""
    value = cohort.classes[name]
    mask = case.result == value
    agreement, rater_agreement = (
        {rater: dice_of(mask, label == value, of_nothing=0.0) for rater, label in labels.items()}
        for labels in (case.atlases.voting(name), case.raters)
    )
    measurement = case.measurements[name]
    # What bodies of another kind say of this one, they may well agree about.
    agreed_dice = _agreed_dice(name, mask, case, cohort) if comparable else 0.0
    penalty = _penalty(name, case, cohort, rule)
    predicted_dice = penalty.predicted(agreed_dice)
    interval = predicted_dice, predicted_dice
    if case.truth is None:
        if comparable:
            interval = rule.interval(predicted_dice) if cohort.calibration.is_known else (0.0, 1.0)
        reasons = reasons_to_flag(
            agreed_dice, penalty, agreement, rater_agreement, measurement, cohort.statistics[name], rule, cohort.is_mr
        )
    elif comparable and not (mask | (case.truth == value)).any():  # the user says that it is not there, and it is not
        predicted_dice, interval, reasons = 1.0, (1.0, 1.0), []
    else:
        reasons = reasons_to_flag_accepted(agreed_dice, measurement, rule) if comparable else []
    return ClassCheck(
        predicted_dice=predicted_dice,
        interval=interval,
        agreed_dice=agreed_dice,
        border_confidence=penalty.border_confidence,
        agreement=agreement,
        volume_ml=measurement.volume_ml,
        median_hu=measurement.median_hu if measurement.volume_ml else None,
        flagged=not comparable or bool(reasons),
        reasons=tuple(reasons),
        rater_agreement=rater_agreement,
    )


def _agreed_dice(name: str, mask: np.ndarray, case: CaseEvidence, cohort: CohortEvidence) -> float:
    """Of a class's (X, Y, Z) bool mask with the label map that the user accepted, else as the atlases predict it."""
    if case.truth is not None:
        return dice_of(mask, case.truth == cohort.classes[name], of_nothing=0.0)
    return cohort.calibration.predicted(name, modelled_dice(mask, case.probabilities[name]))


def _penalty(name: str, case: CaseEvidence, cohort: CohortEvidence, rule: TrustRule) -> ConfidencePenalty:
    """What lowers the agreed Dice of a class; nothing where the truth is known."""
    if case.truth is not None:
        return ConfidencePenalty()
    return ConfidencePenalty(
        cohort.border_confidence.get(name, 1.0),
        case.mean_round_trip_dice[name],
        rule.good_round_trip,
        len(case.atlases.voting(name)),
        cohort.stroke_confidence.get(name, 1.0),
        case.measurements[name].tissue_share,
    )
