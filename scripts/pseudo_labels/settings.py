"""How pseudo labels grow from points or probabilities."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.common.errors import BundleError
from scripts.pseudo_labels.growth_limits import GrowthLimits

STAGE = "pseudo_labels"


@dataclass(frozen=True)
class GeodesicSettings:
    """How pseudo labels grow from points.

    Args:
        lam: weight of intensity against length, 0 to 1 (see `geodesic_distance`).
        truncation: distance from which on a class has no affinity.
        max_iterations: limit of the distance's rounds.
        largest_component: keep each class's largest connected part only.
        spacing_mm: grid the distances are computed on, X, Y, Z of the canonical axes; None is the case's own, which is
            also taken where it has the larger voxels.
        backend: "torch" or "geodistk".
        refine: redraw the borders with the fine PRNet's features; the spacing must be the network's.
        body_only: everything outside the body is background.
        undecided_margin: voxels whose two nearest classes differ by less than this share of the truncation are
            undecided (255) and teach nothing; 0 decides all.
        seed_probability: seeds are where a class's transferred vote exceeds this (mode `default`); a class without such
            a place keeps its points. None takes points alone.
        background_seed_probability: the same for background; None takes `seed_probability`.
        em_rounds: the votes are first made sharper by the case's intensities, see `em_posterior`.
        em_reach_mm: in them the background's intensities are learnt place by place, see `em_posterior`; 0
            learns one histogram of all.
        probability_weight: a step in a class's probability costs as much as this share of the same step in intensity; 0 looks
            at intensity alone. Without `seed_probability` there are no probabilities.
        reach: how far from its seeds a class may be, see `within_growth_limits`; None ends nowhere.
        opening_radius_mm: what hangs on to a class by a neck that a ball of this radius cannot pass is cut off, see
            `opened_by_reconstruction`; 0 cuts nothing.
        opening_share: that radius is at most this share of the depth of the class's deepest seed.
        image_smoothing_voxels: paths see the image through a Gaussian of this standard deviation, so that noise costs
            less; in sides of a voxel (the median of its three), because noise and ragged borders are as wide as that. 0
            is the image itself.
        border_smoothing_voxels: borders are drawn where the classes' shares in such a Gaussian are equal, see
            `smoothed_shares`; 0 leaves them as they grew. `undecided_margin` then compares these shares.
    """

    lam: float = 1.0
    truncation: float = 1.0
    max_iterations: int = 32
    largest_component: bool = True
    spacing_mm: tuple[float, float, float] | None = None
    backend: str = "torch"
    refine: bool = False
    body_only: bool = False
    undecided_margin: float = 0.0
    seed_probability: float | None = None
    background_seed_probability: float | None = None
    em_rounds: int = 0
    em_reach_mm: float = 0.0
    probability_weight: float = 0.0
    reach: GrowthLimits | None = None
    opening_radius_mm: float = 0.0
    opening_share: float = 0.5
    image_smoothing_voxels: float = 0.0
    border_smoothing_voxels: float = 0.0

    def __post_init__(self) -> None:
        if self.probability_weight < 0 or (self.probability_weight and self.backend == "geodistk"):
            found = f"{self.probability_weight}, backend {self.backend}"
            raise BundleError(
                "vote_weight is not usable", stage=STAGE, expected="0 or more; 0 for geodistk", found=found
            )
        for name in ("image_smoothing_voxels", "border_smoothing_voxels", "em_reach_mm"):
            if getattr(self, name) < 0:
                raise BundleError(f"{name} is a width", stage=STAGE, expected="0 or more", found=getattr(self, name))
        if self.spacing_mm is not None:
            object.__setattr__(self, "spacing_mm", tuple(float(step) for step in self.spacing_mm))
