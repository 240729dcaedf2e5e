"""What the guarded label correction allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scripts.common.errors import BundleError


@dataclass(frozen=True)
class GuardSettings:
    """Limits of the guarded rule. None of them needs truth.

    Attributes:
        probability_memory: share of the mean of the rounds before that each round's mean probability keeps.
        least_background_probability: probability that a voxel needs to become background, whatever the schedule says.
        least_network_dice: Dice of the network with the label; below, a class is left alone, in this case or in all.
        settled_slope: a class is corrected once the curve of its agreement rises no faster than this share of its
            steepest rise.
        latest_start_epoch: epoch from which on a class is corrected even if the curve still rises steeply, as in a
            short training, which learns no label by heart; None waits.
        near_label_mm: how far from its label a class may gain voxels, in mm.
        ignored_rounds: rounds for which what is no longer foreground teaches nothing, before it may be background.
        most_round_share: share of a class's volume that a round may add, or take.
        most_total_share: share beyond the first and the usual volume that all rounds together may add, or take.
        placed_volume: least and largest share of the usual volume that a class may have where a case's label lacked it.
        least_placed_core: share of such a newly placed class that must be sure.
        most_shrinkage: a class whose usual volume lost a larger share of its first one gets its first labels back.
    """

    probability_memory: float = 0.5
    least_background_probability: float = 0.99
    least_network_dice: float = 0.5
    settled_slope: float = 0.1
    latest_start_epoch: int | None = None
    near_label_mm: float = 24.0
    ignored_rounds: int = 2
    most_round_share: float = 0.1
    most_total_share: float = 0.3
    placed_volume: tuple[float, float] = (0.5, 2.0)
    least_placed_core: float = 0.5
    most_shrinkage: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "placed_volume", tuple(self.placed_volume))
        shares: Mapping[str, float] = {
            name: getattr(self, name)
            for name in (
                *("probability_memory", "least_background_probability", "least_network_dice", "settled_slope"),
                *("most_round_share", "most_total_share", "least_placed_core", "most_shrinkage"),
            )
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise BundleError(f"{name} is out of range", stage="label correction", expected="0 to 1", found=value)
