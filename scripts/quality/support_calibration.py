"""Predicted Dice set right by the one case whose labels are known: the support, labelled by the selected atlases alone.

No label but the support mask is used. How far cases differ, one case cannot tell: see `spread_of_cases`.
"""

from __future__ import annotations

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
    """

    shared_quality: float = 1.0
    class_quality: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_known(self) -> bool:
        """Whether the support was labelled by others at all."""
        return bool(self.class_quality)

    def predicted(self, name: str, modelled: float) -> float:
        """Dice of a class with the truth, at most 1, if the support mask is right."""
        return min(1.0, modelled * self.class_quality.get(name, self.shared_quality))


def calibrate(fused: Sequence[KnownLabel], doubt: float) -> SupportCalibration:
    """What the support teaches.

    Args:
        fused: its label map by all selected atlases together, made as those that are to be judged. A class that is
            lost there altogether counts as one label map that was expected to be right, and is wrong.
        doubt: how much the classes together count for one class, in label maps.
    """
    ratios = [label.true / label.modelled for label in fused if label.modelled > 0]
    shared = min(1.0, median(ratios)) if ratios else 1.0
    by_class = {label.name: (doubt * shared + label.true) / (doubt + (label.modelled or 1.0)) for label in fused}
    return SupportCalibration(shared, by_class)
