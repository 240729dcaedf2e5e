"""Which volumes of a cohort are most like the others and show the whole field: what is best scribbled.

A medoid: the volume whose median similarity to the others, once an affine map has brought the two bodies together, is
highest. No label and no stroke is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scripts.registration.embedding_matching import MatchingSettings
from scripts.registration.orientation import Landmarks, match_landmarks
from scripts.registration.robust_affine import LEAST_MATCHES, AffineMap, fit_affine_map

BODY_AXIS = 2  # of RAS axes: feet to head
COMMON_SHARE = 0.5  # of the others that show a place of the common field


@dataclass(frozen=True)
class CentralitySettings:
    """How central volumes are found.

    Attributes:
        body_landmarks: random cells of each body that are matched.
        most_partners: others that a volume is compared with; more are drawn from, so that the time stays linear.
        partner_seed: of that drawing.
        field_margin_mm: so far beyond the ends of a body a place still counts as shown: affine maps are no better.
        least_field: a volume that shows less of the common field is not proposed.
    """

    body_landmarks: int = 2000
    most_partners: int = 40
    partner_seed: int = 0
    field_margin_mm: float = 15.0
    least_field: float = 0.9


@dataclass(frozen=True)
class BodyPair:
    """Two bodies brought together.

    Attributes:
        similarity: see `affine_fit`; 0 where nothing matches.
        forward, backward: affine maps from the first to the second body and back; None where nothing matches.
    """

    similarity: float
    forward: AffineMap | None = None
    backward: AffineMap | None = None

    def turned_round(self) -> BodyPair:
        """The same, the second body first."""
        return BodyPair(self.similarity, self.backward, self.forward)


@dataclass(frozen=True)
class Centrality:
    """How central a volume is.

    Attributes:
        case: its name.
        similarity: median over its partners.
        field_shown: share of the common field that it shows, median over its partners.
    """

    case: str
    similarity: float
    field_shown: float


def pairs_to_compare(cases: Sequence[str], most_partners: int, seed: int) -> list[tuple[str, str]]:
    """Every pair of names, in their order; of many names, each with the next ones on a circle in random order."""
    names = sorted(cases)
    if len(names) - 1 <= most_partners:
        return [(first, second) for place, first in enumerate(names) for second in names[place + 1 :]]
    circle = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    steps = range(1, most_partners // 2 + 1)
    return [(name, circle[(place + step) % len(circle)]) for place, name in enumerate(circle) for step in steps]


def bring_together(first: Landmarks, second: Landmarks, matching: MatchingSettings) -> BodyPair:
    """Affine maps between two bodies, and how well they fit."""
    matched = match_landmarks(first, second, matching)
    if len(matched.weights) < LEAST_MATCHES:
        return BodyPair(0.0)
    forward = fit_affine_map(matched.places_mm, matched.matched_mm, matched.weights, matching.fit)
    backward = fit_affine_map(matched.matched_mm, matched.places_mm, matched.weights, matching.fit)
    return BodyPair(matched.quality(forward, matching.match_scale_mm), forward, backward)


def rank_by_centrality(
    places_mm: Mapping[str, np.ndarray], pairs: Mapping[tuple[str, str], BodyPair], settings: CentralitySettings
) -> list[Centrality]:
    """All volumes: first those that show the common field, the most similar first; then the others, likewise.

    Args:
        places_mm: volume -> (N, 3) places in its body.
        pairs: of volumes, each in one order.
        settings: see `CentralitySettings`.
    """
    partners = _partners(places_mm, pairs)
    shown = shown_fields(places_mm, partners, settings.field_margin_mm)
    ranked = [
        Centrality(case, _median([pair.similarity for pair in partners[case].values()]), shown[case])
        for case in partners
    ]
    return sorted(ranked, key=lambda one: (one.field_shown < settings.least_field, -one.similarity, one.case))


def proposed(ranking: Sequence[Centrality], count: int, least_field: float) -> list[Centrality]:
    """The first `count` that show the common field; if none does, the one that shows most of it."""
    whole = [one for one in ranking if one.field_shown >= least_field]
    return whole[:count] or sorted(ranking, key=lambda one: -one.field_shown)[:1]


def shown_fields(
    places_mm: Mapping[str, np.ndarray], partners: Mapping[str, Mapping[str, BodyPair]], margin_mm: float
) -> dict[str, float]:
    """Volume -> share of the common field that it shows.

    A place of a volume belongs to the common field if at least half of its partners show it: it lies, mapped into them,
    between the ends of their bodies along the body's axis. Of each partner's part of the common field it is counted
    what a volume shows; the median over the partners is its share.

    Args:
        places_mm: see `rank_by_centrality`.
        partners: volume -> partner -> the pair, the volume first.
        margin_mm: see `CentralitySettings`.
    """
    ends_mm = {case: _ends_mm(places, margin_mm) for case, places in places_mm.items()}
    shares: dict[str, list[float]] = {case: [] for case in partners}
    for case, others in partners.items():
        shows = {
            other: _between(pair.forward(places_mm[case]), ends_mm[other])
            for other, pair in others.items()
            if pair.forward is not None
        }
        if not shows:
            continue
        common = np.mean(list(shows.values()), axis=0) >= COMMON_SHARE
        if common.any():
            for other, shown in shows.items():
                shares[other].append(float(shown[common].mean()))
    return {case: _median(values) for case, values in shares.items()}


def _partners(
    cases: Mapping[str, np.ndarray], pairs: Mapping[tuple[str, str], BodyPair]
) -> dict[str, dict[str, BodyPair]]:
    partners: dict[str, dict[str, BodyPair]] = {case: {} for case in sorted(cases)}
    for (first, second), pair in pairs.items():
        partners[first][second] = pair
        partners[second][first] = pair.turned_round()
    return partners


def _ends_mm(places_mm: np.ndarray, margin_mm: float) -> tuple[float, float]:
    along = places_mm[:, BODY_AXIS]
    return (float(along.min()) - margin_mm, float(along.max()) + margin_mm) if len(along) else (0.0, 0.0)


def _between(places_mm: np.ndarray, ends_mm: tuple[float, float]) -> np.ndarray:
    along = places_mm[:, BODY_AXIS]
    return (along >= ends_mm[0]) & (along <= ends_mm[1])


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else 0.0
