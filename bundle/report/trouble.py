"""Which cases to look at first, by signs of trouble that need no labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from bundle.report.case_results import CaseResult, ClassResult
from bundle.report.markup import spoken

MINIMUM_KEPT_SHARE = 0.3
MINIMUM_AGREEMENT = 0.8
LOW_SCORE_Z = -2.5
OUTLIER_Z = 3.5
MINIMUM_COHORT = 5
SMALLEST_MAD = 0.05
NORMAL_CONSISTENCY = 0.6745

RULE = (
    ("class not located: no point kept in the case", "3"),
    ("prediction empty for a class", "3"),
    ("flagged by the self-check, predicted Dice d", "3 (1 − d)"),
    (f"pseudo label and prediction disagree: Dice d below {MINIMUM_AGREEMENT:g}", "3 (1 − d / 0.8)"),
    (f"few points kept: share s below {MINIMUM_KEPT_SHARE:.0%}", "1.5 (1 − s / 0.3)"),
    (f"mean score of kept points low in the cohort: robust z below {LOW_SCORE_Z:g}".replace("-", "−"), "1"),
    ("the volume is odd or its label map implausible, each sentence", "1"),
    (f"volume unlike the cohort's: robust z of log volume beyond ±{OUTLIER_Z:g}", "1 + min(1, |z| / 3.5 − 1)"),
)


@dataclass(frozen=True)
class Sign:
    """One reason to look at a case, in words, and its weight."""

    reason: str
    weight: float


@dataclass(frozen=True)
class Ranked:
    """A case with its signs, heaviest first."""

    case: str
    signs: tuple[Sign, ...]

    @property
    def total(self) -> float:
        """Sum of the weights; 0 means no sign of trouble."""
        return sum(sign.weight for sign in self.signs)


def rank_cases(results: Mapping[str, CaseResult], support: str | None = None) -> list[Ranked]:
    """Cases by the sum of their signs' weights (see `RULE`), heaviest first, equal ones by name."""
    volume_z = _cohort_z(results, lambda result: _log(result.final_volume_ml))
    score_z = _cohort_z({case: r for case, r in results.items() if case != support}, lambda result: result.score)
    ranked = []
    for case, result in results.items():
        signs = [Sign(sentence, 1.0) for sentence in result.warnings]
        signs += [
            sign
            for name, measured in result.classes.items()
            for sign in _signs(measured, volume_z.get((case, name)), score_z.get((case, name)))
        ]
        ranked.append(Ranked(case, tuple(sorted(signs, key=lambda sign: -sign.weight))))
    return sorted(ranked, key=lambda entry: (-entry.total, entry.case))


def robust_z(values: np.ndarray) -> np.ndarray:
    """0.6745 (x - median) / MAD (Iglewicz and Hoaglin 1993); a MAD below 0.05 counts as 0.05."""
    deviation = values - np.median(values)
    return NORMAL_CONSISTENCY * deviation / max(float(np.median(np.abs(deviation))), SMALLEST_MAD)


def _signs(result: ClassResult, volume_z: float | None, score_z: float | None) -> Iterator[Sign]:
    name = spoken(result.name)
    predicted_ml = result.volume_ml.get("prediction")
    if result.not_located:
        yield Sign(f"{name}: not located, none of {result.points} points kept", 3.0)
    elif result.kept_share is not None and result.kept_share < MINIMUM_KEPT_SHARE:
        weight = 1.5 * (1 - result.kept_share / MINIMUM_KEPT_SHARE)
        yield Sign(f"{name}: only {result.kept} of {result.points} points kept", weight)
    if predicted_ml == 0:
        yield Sign(f"{name}: the prediction is empty", 3.0)
    elif result.agreement is not None and result.agreement < MINIMUM_AGREEMENT:
        weight = 3 * (1 - result.agreement / MINIMUM_AGREEMENT)
        yield Sign(f"{name}: pseudo label and prediction disagree, Dice {result.agreement:.2f}", weight)
    if result.reasons:
        dice = result.predicted_dice or 0.0
        yield Sign(f"{name}: {result.reasons[0]}; predicted Dice {dice:.2f}", 3 * (1 - dice))
    if score_z is not None and score_z < LOW_SCORE_Z:
        yield Sign(f"{name}: kept points score low, mean {result.score:.2f} (z {_signed(score_z)})", 1.0)
    if volume_z is not None and abs(volume_z) > OUTLIER_Z:
        kind = "larger" if volume_z > 0 else "smaller"
        weight = 1 + min(1.0, abs(volume_z) / OUTLIER_Z - 1)
        yield Sign(f"{name}: {result.final_volume_ml:.0f} ml, much {kind} than usual (z {_signed(volume_z)})", weight)


def _cohort_z(
    results: Mapping[str, CaseResult], value_of: Callable[[ClassResult], float | None]
) -> dict[tuple[str, str], float]:
    """(case, class) -> robust z of a value over the cases that have it; classes with few values are left out."""
    values: dict[str, dict[str, float]] = {}
    for case, result in results.items():
        for name, measured in result.classes.items():
            value = value_of(measured)
            if value is not None:
                values.setdefault(name, {})[case] = value
    return {
        (case, name): float(z)
        for name, by_case in values.items()
        if len(by_case) >= MINIMUM_COHORT
        for case, z in zip(by_case, robust_z(np.array(list(by_case.values()))), strict=True)
    }


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _log(volume_ml: float | None) -> float | None:
    return float(np.log(volume_ml)) if volume_ml else None
