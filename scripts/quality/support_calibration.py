"""Predicted Dice set right by the one case whose labels are known: the support, labelled by the selected atlases alone.

No label but the support mask is used. What is known there, too, is how far predictions are off that know nothing of a
class's own label map, and how far single atlases are: that says how wide an interval must be at least, by the quantile
of conformal prediction. It is the error within one case; how cases differ it cannot tell (see `spread_of_cases`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class KnownLabel:
    """One class of a label map of the support.

    Attributes:
        name: of the class.
        modelled: Dice that the class probabilities let expect, see `modelled_dice`.
        true: Dice with the support mask.
    """

    name: str
    modelled: float
    true: float


@dataclass(frozen=True)
class SupportCalibration:
    """From modelled to predicted Dice.

    Attributes:
        shared_quality: true over modelled Dice on the support, median over classes, at most 1: what all atlases get
            wrong together.
        class_quality: class -> the same of it alone, drawn towards `shared_quality`; a class without has that.
        margin: how far predicted Dice may be off; 1 where nothing is known.
    """

    shared_quality: float = 1.0
    class_quality: Mapping[str, float] = field(default_factory=dict)
    margin: float = 1.0

    def predicted(self, name: str, modelled: float) -> float:
        """Dice of a class with the truth, at most 1, if the support mask is right."""
        return min(1.0, modelled * self.class_quality.get(name, self.shared_quality))


def calibrate(
    fused: Sequence[KnownLabel], single: Sequence[KnownLabel], doubt: float, coverage: float
) -> SupportCalibration:
    """What the support teaches.

    How far a prediction is off is not said by a class that the atlases lost there altogether, nor by the label map of
    the only class, which its own quality fits.

    Args:
        fused: its label map by all selected atlases together, made as those that are to be judged.
        single: what each of these atlases alone predicts: labels that are known to be worse, for the margin alone.
        doubt: how much the classes together count for one class, in label maps.
        coverage: share of the label maps whose true Dice lies within the margin.
    """
    shared = _shared_quality(fused)
    by_class = {label.name: (doubt * shared + label.true) / (doubt + label.modelled) for label in fused}
    known = SupportCalibration(shared, by_class)
    by_others = ((label, SupportCalibration(_shared_quality(fused, label.name))) for label in fused if len(fused) > 1)
    judged = (*by_others, *((label, known) for label in single))
    off = [abs(label.true - by.predicted(label.name, label.modelled)) for label, by in judged if label.modelled > 0]
    return SupportCalibration(shared, by_class, conformal_margin(off, coverage))


def _shared_quality(fused: Sequence[KnownLabel], without: str | None = None) -> float:
    """True over modelled Dice, median over classes, at most 1; 1 where there is none."""
    ratios = [label.true / label.modelled for label in fused if label.modelled > 0 and label.name != without]
    return min(1.0, median(ratios)) if ratios else 1.0


def conformal_margin(off: Sequence[float], coverage: float) -> float:
    """The smallest margin that holds a further, exchangeable result with a probability of `coverage`.

    Of too few results to say, the largest; 1 of none.
    """
    if not off:
        return 1.0
    rank = min(len(off), math.ceil(coverage * (len(off) + 1)))
    return sorted(off)[rank - 1]
