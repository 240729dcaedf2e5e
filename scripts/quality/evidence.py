"""What the self-check looks at, and from which limit on it counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from scripts.data.resampling import nearest_on_grid
from scripts.data.volume_io import read_labels


@dataclass(frozen=True)
class TrustRule:
    """From evidence to a flag.

    Attributes:
        least_dice: a class whose predicted Dice is below is flagged, or whose Dice with what the network alone says.
        least_similarity: a case whose body is less like the support's, once brought together, is flagged as a whole.
        volume_factor: a class this many times larger or smaller than the cohort's median is flagged.
        tissue_hu: so is one whose median intensity is further from the cohort's, in HU,
        tissue_spread: and further than so many times the median distance from it: contrast differs between scans.
        good_round_trip: Dice with which labels that were sent to a case and back return where an organ was found well. They
            pass two borders on the way, so that only what is below is a doubt.
    """

    least_dice: float = 0.6
    least_similarity: float = 0.26
    volume_factor: float = 4.0
    tissue_hu: float = 60.0
    tissue_spread: float = 5.0
    good_round_trip: float = 0.7


@dataclass(frozen=True)
class ClassMeasurement:
    """A class in a case.

    Attributes:
        volume_ml: 0 where it is absent.
        hu: median intensity; NaN where it is absent.
    """

    volume_ml: float
    hu: float


@dataclass(frozen=True)
class CohortStatistics:
    """A class in the cohort: medians over the cases, and over their distances from the median intensity."""

    volume_ml: float
    hu: float
    spread_hu: float

    @classmethod
    def of(cls, seen: Sequence[ClassMeasurement]) -> CohortStatistics:
        """Over cases; an absent class has a volume and no intensity."""
        present = np.array([found.hu for found in seen if found.volume_ml > 0])
        hu = float(np.median(present)) if len(present) else float("nan")
        spread_hu = float(np.median(np.abs(present - hu))) if len(present) else float("nan")
        return cls(float(np.median([found.volume_ml for found in seen])), hu, spread_hu)


@dataclass(frozen=True)
class ConfidencePenalty:
    """What lowers the trust in a class although its witnesses agree: 1 where nothing does.

    Attributes:
        border_confidence: of the border of the support's region.
        mean_round_trip_dice: Dice with which labels came back to the support from the case and the helpers, mean by their weight.
        good_round_trip: of `TrustRule`.
    """

    border_confidence: float = 1.0
    mean_round_trip_dice: float = 1.0
    good_round_trip: float = 1.0

    @property
    def returned(self) -> float:
        return min(1.0, self.mean_round_trip_dice / self.good_round_trip)

    @property
    def factor(self) -> float:
        return self.border_confidence * self.returned

    def in_words(self) -> list[str]:
        """Every doubt, the larger one first."""
        words = []
        if self.returned < 1:
            told = (
                f"labels that were sent there and back return with a mean Dice of {self.mean_round_trip_dice:.2f} only"
            )
            words.append((self.returned, told))
        if self.border_confidence < 1:
            told = f"the support's region has no clear border (sureness {self.border_confidence:.2f}): look at it and correct it"
            words.append((self.border_confidence, told))
        return [told for _, told in sorted(words)]


@dataclass(frozen=True)
class AtlasLabels:
    """What each voter says about a case: the case's record, and the file with one label map per voter."""

    record: Mapping[str, Any]
    file: Path

    def labels(self) -> dict[str, np.ndarray]:
        """Voter -> (X, Y, Z) label values at the working spacing."""
        stored = np.asarray(nib.load(self.file).dataobj)
        return {name: stored[..., number] for number, name in enumerate(self.record["atlases"])}

    def about(self, name: str, raters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The witnesses of one class, without the voters that are not heard about it."""
        unheard = {atlas for atlas, weights in self.record["atlases"].items() if name not in weights}
        return {rater: label for rater, label in raters.items() if rater not in unheard}

    def on_grid(self, label_map: Path) -> np.ndarray:
        """A label map of the same case, (X, Y, Z) on the same grid."""
        grid = nib.load(self.file)
        return nearest_on_grid(read_labels(label_map), grid.affine, grid.shape[:3])
