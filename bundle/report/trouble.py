"""Which cases to look at first, by signs of trouble that need no labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from bundle.report.case_results import CaseResult, ClassResult

MINIMUM_KEPT_SHARE = 0.3
MINIMUM_AGREEMENT = 0.8
LOW_SCORE_Z = -2.5
OUTLIER_Z = 3.5
MINIMUM_COHORT = 5
SMALLEST_MAD = 0.05
NORMAL_CONSISTENCY = 0.6745

RULE = (
    ("flagged by the self-check with the predicted Dice d", "3 (1 − d)"),
    ("the final label is empty", "3"),
    ("the volume is odd or its label map implausible, each sentence", "1"),
    ("without self-check: no point of its strokes was found again in the case", "3"),
    (f"without self-check: a share s below {MINIMUM_KEPT_SHARE:.0%} of them was found again", "1.5 (1 − s / 0.3)"),
    ("without self-check: those points fit much worse than in the other cases", "1"),
    (f"without self-check: transferred and final label have a Dice d below {MINIMUM_AGREEMENT:g}", "3 (1 − d / 0.8)"),
    ("without self-check: much larger or smaller than in the other cases", "1 to 2"),
)


@dataclass(frozen=True)
class Sign:
    """One reason to look at a case.

    Attributes:
        reason: in words.
        weight: how much it counts.
        class_name: that it is about; None if it is about the whole case.
    """

    reason: str
    weight: float
    class_name: str | None = None


@dataclass(frozen=True)
class Ranked:
    """A case with its signs, heaviest first."""

    case: str
    signs: tuple[Sign, ...]

    @property
    def total(self) -> float:
        """Sum of the weights; 0 means no sign of trouble."""
        return sum(sign.weight for sign in self.signs)

    def of_class(self, class_name: str | None) -> list[Sign]:
        """Those about one class, or about the whole case."""
        return [sign for sign in self.signs if sign.class_name == class_name]


def rank_cases(results: Mapping[str, CaseResult], support: str | None = None) -> list[Ranked]:
    """Cases by the sum of their signs' weights (see `RULE`), heaviest first, equal ones by their lowest predicted Dice.

    What was not checked, as the support, comes after what was.
    """
    volumes = _of_cohort(results, lambda result: result.final_volume_ml or None)
    volume_z = _cohort_z({name: {c: float(np.log(v)) for c, v in of.items()} for name, of in volumes.items()})
    usual_ml = {name: float(np.median(list(of.values()))) for name, of in volumes.items()}
    others = {case: result for case, result in results.items() if case != support}
    score_z = _cohort_z(_of_cohort(others, lambda result: result.score))
    ranked = []
    for case, result in results.items():
        signs = [Sign(sentence, 1.0) for sentence in result.warnings]
        signs += [
            Sign(reason, weight, name)
            for name, of_class in result.classes.items()
            for reason, weight in (
                _signs_of_check(of_class)
                if of_class.predicted_dice is not None
                else (
                    *_signs_of_check(of_class),
                    *_signs_of_points(of_class, score_z.get((case, name))),
                    *_signs_of_labels(of_class, volume_z.get((case, name)), usual_ml.get(name)),
                )
            )
        ]
        ranked.append(Ranked(case, tuple(sorted(signs, key=lambda sign: -sign.weight))))
    return sorted(ranked, key=lambda entry: (-entry.total, _lowest_dice(results[entry.case]), entry.case))


def _lowest_dice(result: CaseResult) -> float:
    """Of the classes that were checked; infinite without."""
    dice = [of_class.predicted_dice for of_class in result.classes.values() if of_class.predicted_dice is not None]
    return min(dice, default=float("inf"))


def robust_z(values: np.ndarray) -> np.ndarray:
    """0.6745 (x - median) / MAD (Iglewicz and Hoaglin 1993); a MAD below 0.05 counts as 0.05."""
    deviation = values - np.median(values)
    return NORMAL_CONSISTENCY * deviation / max(float(np.median(np.abs(deviation))), SMALLEST_MAD)


def _signs_of_check(result: ClassResult) -> Iterator[tuple[str, float]]:
    """Reason and weight."""
    if result.reasons:
        yield result.reasons[0], 3 * (1 - (result.predicted_dice or 0.0))
    elif result.volume_ml.get("prediction") == 0:
        yield "the final label is empty", 3.0


def _signs_of_points(result: ClassResult, score_z: float | None) -> Iterator[tuple[str, float]]:
    """Reason and weight."""
    if result.not_located:
        yield f"none of {result.points} points of its strokes was found again", 3.0
    elif result.kept_share is not None and result.kept_share < MINIMUM_KEPT_SHARE:
        weight = 1.5 * (1 - result.kept_share / MINIMUM_KEPT_SHARE)
        yield f"only {result.kept} of {result.points} points of its strokes were found again", weight
    if score_z is not None and score_z < LOW_SCORE_Z:
        yield f"the points of its strokes fit badly: mean score {result.score:.2f}", 1.0


def _signs_of_labels(
    result: ClassResult, volume_z: float | None, usual_ml: float | None
) -> Iterator[tuple[str, float]]:
    """Reason and weight."""
    if result.agreement is not None and result.agreement < MINIMUM_AGREEMENT:
        weight = 3 * (1 - result.agreement / MINIMUM_AGREEMENT)
        yield f"transferred and final label disagree: Dice {result.agreement:.2f}", weight
    if volume_z is not None and usual_ml is not None and abs(volume_z) > OUTLIER_Z:
        kind = "larger" if volume_z > 0 else "smaller"
        yield (
            f"{result.final_volume_ml:.0f} ml is much {kind} than usual: median {usual_ml:.0f} ml",
            1 + min(1.0, abs(volume_z) / OUTLIER_Z - 1),
        )


def _of_cohort(
    results: Mapping[str, CaseResult], value_of: Callable[[ClassResult], float | None]
) -> dict[str, dict[str, float]]:
    """Class -> case -> a value, over the cases that have it."""
    values: dict[str, dict[str, float]] = {}
    for case, result in results.items():
        for name, measured in result.classes.items():
            value = value_of(measured)
            if value is not None:
                values.setdefault(name, {})[case] = value
    return values


def _cohort_z(values: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], float]:
    """(case, class) -> robust z; classes with few values are left out."""
    return {
        (case, name): float(z)
        for name, by_case in values.items()
        if len(by_case) >= MINIMUM_COHORT
        for case, z in zip(by_case, robust_z(np.array(list(by_case.values()))), strict=True)
    }
