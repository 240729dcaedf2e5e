"""How pseudo labels grow from points or class probabilities: the values, as the configs give them.

Every field has a name of its own, so that one name means one value in a whole config.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scripts.common.errors import BundleError

STAGE = "pseudo_labels"


@dataclass(frozen=True)
class EMSettings:
    """How class probabilities are sharpened by the case's own intensities, see `em_posterior`.

    Attributes:
        em_rounds: rounds of expectation and maximisation; 0 leaves the probabilities as they are.
        em_reach_mm: the background's intensities are learnt place by place, weighted by a Gaussian of this standard
            deviation: what surrounds an organ differs from side to side. 0 learns one histogram within `em_near_mm`.
        em_bins: bins of the histograms over intensities in [0, 1].
        em_smoothing_mm: standard deviation, in mm, of a Gaussian, of the image, against noise, and of each round's
            posterior.
        em_histogram_smoothing_bins: standard deviation, in bins, of a Gaussian over the histograms.
        em_near_probability: a class is near where its probability, before any round, exceeds this.
        em_near_mm: intensities are learnt up to here around the classes, in mm: far tissue is no rival.
        em_floor_share: share of a histogram that every intensity has, whether it occurs or not.
        em_cells_per_reach: cells within `em_reach_mm`, of the grid on which the background's histograms stand.
        em_whole_share: the whole background counts everywhere, as this share of a full cell: a cell without any
            background has nothing else.
    """

    em_rounds: int = 3
    em_reach_mm: float = 24.0
    em_bins: int = 64
    em_smoothing_mm: float = 2.8
    em_histogram_smoothing_bins: float = 1.5
    em_near_probability: float = 0.1
    em_near_mm: float = 24.0
    em_floor_share: float = 1e-4
    em_cells_per_reach: float = 1.5
    em_whole_share: float = 0.3

    def __post_init__(self) -> None:
        _refuse_negative("em_rounds", self.em_rounds, "a number of rounds")
        _refuse_negative("em_reach_mm", self.em_reach_mm, "a width")
        if self.em_bins < 2:
            raise BundleError(
                "a histogram needs bins", stage=STAGE, expected="em_bins of 2 or more", found=self.em_bins
            )


@dataclass(frozen=True)
class GrowthLimits:
    """Where a class ends, in shares of its strokes' extent (the longest side of the box around them).

    Attributes:
        growth_share: what lies further from the strokes than this share of their extent is not of the class.
        leak_share: a class that would lose more than this share of its volume to that has no edge that stops it, and
            what is far from its strokes must be clearly nearer to it than to its rivals.
        free_share: up to this share of the strokes' extent from them a class that leaks need not be clearly nearer than
            its rivals.
        clear_share: from this share of the strokes' extent on nothing is near enough for a class that leaks.

    Raises:
        BundleError: `free_share` is not below `clear_share`.
    """

    growth_share: float = 0.4
    leak_share: float = 0.15
    free_share: float = 0.2
    clear_share: float = 0.5

    def __post_init__(self) -> None:
        if self.free_share >= self.clear_share:
            expected, found = f"free_share below clear_share, {self.clear_share}", self.free_share
            raise BundleError("the growth limits are not usable", stage=STAGE, expected=expected, found=found)


@dataclass(frozen=True)
class SupportLimits:
    """What the support's own mask and strokes say of a class in other cases, see `SupportSize`.

    Attributes:
        least_volume_share: a class that is smaller than this share of the support's is not located.
        most_volume_share: a class may be so many times as large as in the support; of a larger one, what is nearest to
            it beside its rivals stays.

    Raises:
        BundleError: `least_volume_share` is not below `most_volume_share`.
    """

    least_volume_share: float = 0.2
    most_volume_share: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.least_volume_share < self.most_volume_share:
            expected, found = "0 <= least < most", f"{self.least_volume_share} and {self.most_volume_share}"
            raise BundleError("the volume limits are not usable", stage=STAGE, expected=expected, found=found)


@dataclass(frozen=True)
class OpeningSettings:
    """What is cut off a class, see `opened_by_reconstruction`.

    Attributes:
        opening_radius_mm: a part of a class that hangs on by a passage which a ball of this radius, in mm, cannot pass
            is cut off; 0 cuts nothing.
        opening_share: the radius of that ball is at most this share of the depth of the class's deepest seed.
    """

    opening_radius_mm: float = 0.0
    opening_share: float = 0.5

    def __post_init__(self) -> None:
        _refuse_negative("opening_radius_mm", self.opening_radius_mm, "a radius")


@dataclass(frozen=True)
class BorderSettings:
    """How borders are smoothed, see `smoothed_shares`.

    Attributes:
        border_smoothing_voxels: borders are drawn where the classes' shares in a Gaussian of this standard deviation
            are equal; in sides of a voxel (the median of its three), because ragged borders are as wide as that. 0
            leaves them as they grew.
        border_depth_share: the standard deviation of that Gaussian is at most this share of a class's greatest depth: a
            small ball loses about a sixth of its radius to a quarter at most.
    """

    border_smoothing_voxels: float = 0.0
    border_depth_share: float = 0.25

    def __post_init__(self) -> None:
        _refuse_negative("border_smoothing_voxels", self.border_smoothing_voxels, "a width")


@dataclass(frozen=True)
class RefinementSettings:
    """Whether and how borders are redrawn by the fine PRNet's features, see `refine_boundary`.

    Attributes:
        refine: whether borders are redrawn by the fine PRNet's features; the geodesic spacing must then be the
            network's.
        refine_inner_voxels: a class is decided anew up to so many voxels from its border; boxes of 2 * radius + 1.
        refine_outer_voxels: from the inner radius up to so many voxels from its border a class's prototypes are learnt.
        refine_clusters: prototypes of what is outside a class.
        refine_seed: seed of the clustering.
        refine_overlap: share of a window that the next one covers, of the windows that the features come from.
    """

    refine: bool = False
    refine_inner_voxels: int = 1
    refine_outer_voxels: int = 2
    refine_clusters: int = 5
    refine_seed: int = 0
    refine_overlap: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.refine_inner_voxels < self.refine_outer_voxels or self.refine_clusters < 1:
            found = f"radii {self.refine_inner_voxels} and {self.refine_outer_voxels}, clusters {self.refine_clusters}"
            expected = "0 < inner < outer, clusters > 0"
            raise BundleError("unusable refinement settings", stage=STAGE, expected=expected, found=found)


@dataclass(frozen=True)
class GeodesicSettings:
    """How pseudo labels grow.

    Attributes:
        lam: weight of intensity against length, 0 to 1 (see `geodesic_distance`).
        truncation: geodesic distance from which on a class has no affinity.
        max_iterations: most rounds of the geodesic distance.
        tolerance_share: rounds of the geodesic distance end when they change nothing by more than this share of the
            truncation: further ones move hardly a label.
        geodesic_backend: what computes geodesic distances: "torch" or "geodistk".
        geodesic_spacing_mm: grid the distances are computed on, X, Y, Z of the canonical axes; None is the case's own,
            which is also taken where it has the larger voxels.
        image_smoothing_voxels: paths see the image through a Gaussian of this standard deviation, so that noise costs
            less; in sides of a voxel (the median of its three), because noise is as wide as that. 0 is the image
            itself.
        body_only: whether everything outside the body is background.
        seed_probability: seeds are where a class's probability exceeds this; a class without such a place keeps its
            points. None takes points alone, whatever is known of probabilities (mode `paper`).
        background_seed_probability: seeds of background are where its probability exceeds this; None takes
            `seed_probability`.
        probability_weight: a step in a class's probability costs as much as this share of the same step in intensity;
            0 looks at intensity alone.
        least_expected_share: a class whose mask has less than this share of the highest Dice that its probabilities let
            expect has its likely voxels instead, see `decided_by_class`; 0 leaves all masks as they grew.
        em: how class probabilities are sharpened by the case's intensities first; None does not.
        growth: how far from its seeds a class may be; None sets no end.
        support_limits: how large a class may be beside the support's; also how far strokes extend is then the
            support's. None measures both in each case. For points alone.
        opening: what hangs on by a narrow passage.
        border: smoother borders.
        refinement: borders redrawn by a network's features.
        largest_component: whether only each class's largest connected part is kept.
        undecided_margin: voxels whose two nearest classes differ by less than this share of the truncation (where
            borders are smoothed: of their shares) are `UNDECIDED` and teach nothing; 0 decides all. For points alone:
            the label maps that grow from probabilities are final ones too.
    """

    lam: float = 1.0
    truncation: float = 1.0
    max_iterations: int = 32
    tolerance_share: float = 0.01
    geodesic_backend: str = "torch"
    geodesic_spacing_mm: tuple[float, float, float] | None = None
    image_smoothing_voxels: float = 0.0
    body_only: bool = True
    seed_probability: float | None = 0.8
    background_seed_probability: float | None = 0.97
    probability_weight: float = 0.1
    least_expected_share: float = 0.8
    em: EMSettings | None = field(default_factory=EMSettings)
    growth: GrowthLimits | None = None
    support_limits: SupportLimits | None = None
    opening: OpeningSettings = field(default_factory=OpeningSettings)
    border: BorderSettings = field(default_factory=BorderSettings)
    refinement: RefinementSettings = field(default_factory=RefinementSettings)
    largest_component: bool = True
    undecided_margin: float = 0.0

    def __post_init__(self) -> None:
        if self.probability_weight < 0 or (self.probability_weight and self.geodesic_backend == "geodistk"):
            found = f"{self.probability_weight}, backend {self.geodesic_backend}"
            expected = "0 or more; 0 for geodistk"
            raise BundleError("probability_weight is not usable", stage=STAGE, expected=expected, found=found)
        _refuse_negative("image_smoothing_voxels", self.image_smoothing_voxels, "a width")
        if not 0 <= self.least_expected_share <= 1:
            raise BundleError(
                "least_expected_share is a share", stage=STAGE, expected="0 to 1", found=self.least_expected_share
            )
        if self.undecided_margin and self.seed_probability is not None:
            raise BundleError(
                "undecided voxels are for label maps that grow from points alone",
                stage=STAGE,
                expected="undecided_margin 0, or seed_probability null",
                found=self.undecided_margin,
            )
        if self.support_limits is not None and self.seed_probability is not None:
            raise BundleError(
                "the support's limits are for label maps that grow from points alone",
                stage=STAGE,
                expected="support_limits null, or seed_probability null",
                found=self.support_limits,
            )
        if self.geodesic_spacing_mm is not None:
            x, y, z = (float(step) for step in self.geodesic_spacing_mm)  # a config gives a list
            object.__setattr__(self, "geodesic_spacing_mm", (x, y, z))

    @property
    def from_probabilities(self) -> bool:
        """Whether class probabilities are of use at all."""
        return self.seed_probability is not None

    @property
    def sharpening(self) -> EMSettings | None:
        """How class probabilities are sharpened; None where they are not."""
        return self.em if self.from_probabilities and self.em is not None and self.em.em_rounds else None


def _refuse_negative(name: str, value: float, what: str) -> None:
    if value < 0:
        raise BundleError(f"{name} is {what}", stage=STAGE, expected="0 or more", found=value)
