"""Scribble propagation: every support point is located in a query volume (paper, section 2.2; coarse-to-fine of the
official code).

Positions inside this module are voxels of the working grid; offsets are millimetres along its axes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scripts.data.intensity import only_body
from scripts.networks.precision import autocast
from scripts.networks.prnet import LEVELS
from scripts.networks.prnet_weights import TrainedPRNet
from scripts.point_propagation.feature_maps import FeatureMaps, feature_maps
from scripts.point_propagation.feature_search import FeatureSearchSettings, SearchedPoints, search
from scripts.point_propagation.patches import extract_patches, pad_for_patches
from scripts.point_propagation.relative_position import predicted_offset_mm
from scripts.points.denoising import cosine_similarities


@dataclass(frozen=True)
class PropagationSettings:
    """How points are located.

    Attributes:
        start_points: starting points of the coarse step, spread over the body.
        fine_steps: most fine steps per point (1 in mode `paper`).
        settled_mm: a point whose fine offset is shorter, in mm, stays where it is.
        batch_size: patches per forward pass.
        bfloat16: whether the networks compute in bfloat16 where the processor does; False takes float32.
        seed: seed of the starting points.
        search: then looks around the point for what the support's features look like, and back; None does not.
            Features are then those of windows that tile the body, in place of a patch around each point.
    """

    start_points: int = 16
    fine_steps: int = 1
    settled_mm: float = 1.0
    batch_size: int = 64
    bfloat16: bool = True
    seed: int = 0
    search: FeatureSearchSettings | None = None


@dataclass(frozen=True)
class SupportPoints:
    """What the networks say of N support points.

    Attributes:
        coarse: (N, 3) positions by the coarse network.
        fine: (N, 3) positions by the fine network.
        features: {level: (N, channels)}.
        searched: what a feature search needs; None where there is none.
    """

    coarse: Tensor
    fine: Tensor
    features: dict[str, Tensor]
    searched: SearchedPoints | None = None

    def chosen(self, members: Tensor) -> SupportPoints:
        """Some of them: (N,) bool."""
        return SupportPoints(
            self.coarse[members],
            self.fine[members],
            {level: features[members] for level, features in self.features.items()},
            None if self.searched is None else replace(self.searched, voxels=self.searched.voxels[members]),
        )


@dataclass(frozen=True)
class Query:
    """A volume that points are located in.

    Attributes:
        fine: (1, X, Y, Z) as the fine network learned to see it.
        body: (X, Y, Z) mask.
        starts: (S, 3) voxels that the coarse step starts from.
        start_positions: (S, 3) their anatomical coordinates by the coarse network.
        maps: the fine network's features of the body; None without a search.
    """

    fine: Tensor
    body: Tensor
    starts: Tensor
    start_positions: Tensor
    maps: FeatureMaps | None


@dataclass(frozen=True)
class FoundPoints:
    """Fractional voxels (N, 3) inside a query: where points are, and what the networks alone proposed."""

    voxels: Tensor
    proposed: Tensor


@dataclass(frozen=True)
class LocatedPoints:
    """Where N points were located.

    Attributes:
        voxels: fractional, (N, 3), inside the volume.
        similarities: cosines {level: (N,)}.
        cycle_mm: (N,) how far from its support point each point's search back ends; None without a search.
    """

    voxels: np.ndarray
    similarities: dict[str, np.ndarray]
    cycle_mm: np.ndarray | None = None


class Propagator:
    """Locates support points in query volumes with a coarse and a fine PRNet.

    Args:
        coarse: network trained on pairs from the whole body.
        fine: network trained on pairs within a box.
        settings: see `PropagationSettings`.
        device: where the networks run; they are expected there.
    """

    def __init__(
        self,
        coarse: TrainedPRNet,
        fine: TrainedPRNet,
        settings: PropagationSettings | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.coarse, self.fine = coarse, fine
        self.settings = settings or PropagationSettings()
        self.device = torch.device(device)

    def describe_support(self, volume: Tensor, body: Tensor, voxels: Tensor) -> SupportPoints:
        """Positions and features of the support points; needed once per support.

        Args:
            volume: (1, X, Y, Z) in [0, 1].
            body: (X, Y, Z) body mask.
            voxels: (N, 3) integer voxels.
        """
        coarse, fine = self._as_trained(volume, body)
        positions = self._position(self.coarse, coarse, voxels)
        if self.settings.search is None:
            return SupportPoints(positions, *self._describe(fine, voxels))
        maps = self._maps(fine, body)
        features = {level: maps.at(level, voxels) for level in LEVELS}
        fine_positions = self._position(self.fine, fine, voxels) if self.settings.fine_steps else positions
        searched = SearchedPoints(voxels, body, maps.only(self.settings.search.search_levels))
        return SupportPoints(positions, fine_positions, features, searched)

    def locate(self, volume: Tensor, body: Tensor, support: SupportPoints) -> LocatedPoints:
        """Locate every support point in a query volume (Eq. 4).

        Args:
            volume: (1, X, Y, Z) in [0, 1].
            body: (X, Y, Z) body mask; starting points lie in it.
            support: the result of `describe_support`.
        """
        query = self.look(volume, body)
        return self.compared(query, support, self.find(query, support))

    def look(self, volume: Tensor, body: Tensor) -> Query:
        """What all points that are located in a volume share.

        Args:
            volume: (1, X, Y, Z) in [0, 1].
            body: (X, Y, Z) body mask.
        """
        coarse, fine = self._as_trained(volume, body)
        starts = starting_points(body, self.settings.start_points, self.settings.seed, self.coarse.spacing_mm)
        positions = self._position(self.coarse, coarse, starts)
        maps = None if self.settings.search is None else self._maps(fine, body)
        return Query(fine, body, starts, positions, maps)

    def find(self, query: Query, support: SupportPoints) -> FoundPoints:
        """Where the networks, and then the search if there is one, say that the support's points are."""
        last = torch.tensor(query.body.shape) - 1
        voxels = _clamp(self._coarse_step(query, support), last)
        for _ in range(self.settings.fine_steps):
            target, moved_mm = self._fine_step(query.fine, voxels, support)
            moving = moved_mm >= self.settings.settled_mm
            voxels = torch.where(moving[:, None], _clamp(target, last), voxels)
            if not moving.any():
                break
        return FoundPoints(self._searched(query, support, voxels), proposed=voxels)

    def similarities(self, query: Query, support: SupportPoints, voxels: Tensor) -> dict[str, Tensor]:
        """Cosines {level: (N,)} of the support points' features with those at as many voxels (N, 3) of the query."""
        if query.maps is None:
            _, features = self._describe(query.fine, voxels.round().long())
        else:
            features = {level: query.maps.at(level, voxels) for level in LEVELS}
        return cosine_similarities(support.features, features)

    def compared(self, query: Query, support: SupportPoints, found: FoundPoints) -> LocatedPoints:
        """How alike the points and the places found are; with a search, also where the ways back end."""
        similarities = self.similarities(query, support, found.voxels)
        located = LocatedPoints(
            found.voxels.double().numpy(), {level: value.double().numpy() for level, value in similarities.items()}
        )
        if query.maps is None:
            return located
        return replace(located, cycle_mm=self._cycle_mm(query, query.maps, support, found))

    def _searched(self, query: Query, support: SupportPoints, proposed: Tensor) -> Tensor:
        """The proposed points (N, 3), each moved to what looks most like its support point."""
        settings = self.settings.search
        if settings is None:
            return proposed
        assert support.searched is not None and query.maps is not None
        return search(support.searched, query.maps, query.body, proposed, self.fine.spacing_mm, settings)

    def _cycle_mm(self, query: Query, maps: FeatureMaps, support: SupportPoints, found: FoundPoints) -> np.ndarray:
        """(N,) how far from its support point each point is found that is sought there from the place found."""
        settings, home = self.settings.search, support.searched
        assert settings is not None and home is not None
        # The networks tell the proposed place for the support point, so they tell this one for the voxel found.
        back_from = home.voxels + found.voxels - found.proposed
        there = SearchedPoints(found.voxels, query.body, maps)
        back = search(there, home.maps, home.body, back_from, self.fine.spacing_mm, settings)
        cycle_mm: np.ndarray = ((back - home.voxels) * _tensor(self.fine.spacing_mm)).norm(dim=1).double().numpy()
        return cycle_mm

    def _maps(self, volume: Tensor, body: Tensor) -> FeatureMaps:
        """The fine network's features of a whole body."""
        with self._inference():
            return feature_maps(self.fine.network, volume, body)

    def _as_trained(self, volume: Tensor, body: Tensor) -> tuple[Tensor, Tensor]:
        """The volume as the coarse and as the fine network learned to see it."""
        inside = only_body(volume, body)
        return inside if self.coarse.body_only else volume, inside if self.fine.body_only else volume

    def _coarse_step(self, query: Query, support: SupportPoints) -> Tensor:
        """Median over the starting points of start + offset: (N, 3) voxels."""
        reach_mm = _tensor(self.coarse.max_offset_mm)
        offsets_mm = predicted_offset_mm(support.coarse[:, None], query.start_positions[None], reach_mm)
        candidates = query.starts + offsets_mm / _tensor(self.coarse.spacing_mm)
        return candidates.quantile(0.5, dim=1)

    def _fine_step(self, volume: Tensor, voxels: Tensor, support: SupportPoints) -> tuple[Tensor, Tensor]:
        """One fine step from the nearest voxels: the new places (N, 3) in voxels and the step lengths (N,) in mm."""
        centres = voxels.round().long()
        positions = self._position(self.fine, volume, centres)
        offsets_mm = predicted_offset_mm(support.fine, positions, _tensor(self.fine.max_offset_mm))
        return centres + offsets_mm / _tensor(self.fine.spacing_mm), offsets_mm.norm(dim=1)

    def _position(self, trained: TrainedPRNet, volume: Tensor, voxels: Tensor) -> Tensor:
        """(N, 3) anatomical coordinates of the voxels."""
        with self._inference():
            batches = [trained.network.position(patches) for patches in self._patches(trained, volume, voxels)]
        return torch.cat([positions.float().cpu() for positions in batches])

    def _describe(self, volume: Tensor, voxels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The fine network's (N, 3) coordinates of the voxels, and their features {level: (N, channels)}."""
        with self._inference():
            batches = [self.fine.network.describe(patches) for patches in self._patches(self.fine, volume, voxels)]
        positions = torch.cat([positions.float().cpu() for positions, _ in batches])
        return positions, {
            level: torch.cat([features[level].float().cpu() for _, features in batches]) for level in LEVELS
        }

    def _patches(self, trained: TrainedPRNet, volume: Tensor, voxels: Tensor) -> Iterator[Tensor]:
        """Patches around the voxels, a batch at a time."""
        patch_size = trained.network.patch_size
        padded = pad_for_patches(volume, patch_size).to(self.device)
        for centres in voxels.split(self.settings.batch_size):
            yield extract_patches(padded, centres, patch_size)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        with torch.inference_mode(), autocast(self.device, self.settings.bfloat16):
            yield


def starting_points(
    body: Tensor, count: int, seed: int, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Tensor:
    """`count` voxels (count, 3) spread over the body: farthest-point sampling in mm among random body voxels."""
    candidates = torch.nonzero(body)
    if len(candidates) == 0:
        candidates = torch.nonzero(torch.ones_like(body))
    generator = torch.Generator().manual_seed(seed)
    candidates = candidates[torch.randperm(len(candidates), generator=generator)[: 50 * count]]
    places_mm = candidates * _tensor(spacing_mm)
    distance = torch.full((len(candidates),), torch.inf)
    chosen = [0]
    while len(chosen) < min(count, len(candidates)):
        distance = torch.minimum(distance, (places_mm - places_mm[chosen[-1]]).norm(dim=1))
        chosen.append(int(distance.argmax()))
    return candidates[chosen]


def _clamp(voxels: Tensor, last: Tensor) -> Tensor:
    return voxels.clamp(min=torch.zeros(3), max=last.float())


def _tensor(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
