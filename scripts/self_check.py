"""How far to trust a result, case by case and class by class, without labels (mode `default`).

The result goes back to the support: what its labels say there, compared with the support's own region, tells how good
they are (reverse classification accuracy: Valindria et al., IEEE TMI 2017).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from scripts.cached_volume import CachedVolume, read_cached
from scripts.cohort import Cohort
from scripts.distributed import rank_and_world
from scripts.embedding_weights import load_embedding
from scripts.errors import BundleError
from scripts.files import is_made_of, sha256_of_file, sha256_of_settings, write_json
from scripts.label_transfer import STRIDE, TransferSettings, cell_fractions, transfer_labels
from scripts.matching import Body, MatchingSettings, embed_body, maps_between
from scripts.overlap import dice_of
from scripts.resampling import nearest_on_grid
from scripts.smooth_map import SmoothMap
from scripts.volume_io import read_labels

logger = logging.getLogger(__name__)

STAGE = "self_check"


@dataclass(frozen=True)
class TrustRule:
    """From evidence to a flag.

    Attributes:
        least_dice: a class whose predicted Dice is below is flagged.
        least_similarity: a case whose body is less like the support's, once brought together, is flagged as a whole.
    """

    least_dice: float = 0.7
    least_similarity: float = 0.3


@dataclass(frozen=True)
class SelfCheckSettings:
    """The stage's settings, see each part."""

    matching: MatchingSettings = field(default_factory=MatchingSettings)
    transfer: TransferSettings = field(default_factory=TransferSettings)
    rule: TrustRule = field(default_factory=TrustRule)


class SelfCheck:
    """Writes `self_check/ID.json`: per class the predicted Dice, a flag and why.

    Args:
        cohort: with support and classes.
        output_dir: the work directory.
        embedding_dir: holds the trained AnatomyNet.
        region: label map of the support's whole organs on its own grid.
        results_dir: label maps to be checked, `ID.nii.gz` on each case's own grid.
        settings: see `SelfCheckSettings`.
        device: where the network runs.

    Raises:
        BundleError: no support in the cohort, or a network that does not fit.
    """

    def __init__(
        self,
        cohort: Cohort,
        output_dir: str | Path,
        embedding_dir: str | Path,
        region: str | Path,
        results_dir: str | Path,
        settings: SelfCheckSettings | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if cohort.support is None:
            raise BundleError("the self-check needs a support", stage=STAGE, file=cohort.output_dir)
        self.cohort, self.settings = cohort, settings or SelfCheckSettings()
        self.folder, self.results_dir = Path(output_dir) / STAGE, Path(results_dir)
        self.region = Path(region)
        self.trained = load_embedding(embedding_dir, cohort.spacing_mm, device)
        self.spacing_mm = np.array(cohort.spacing_mm)
        self._dependencies = sha256_of_settings(
            {
                "settings": asdict(self.settings),
                "classes": list(cohort.classes.items()),
                "support": cohort.cases[cohort.support].sha256,
                "region": sha256_of_file(self.region),
                "network": sha256_of_file(Path(embedding_dir) / "model.pt"),
            }
        )

    def run(self, case_ids: Sequence[str] | None = None) -> list[str]:
        """Check the cases (default: all that have a result, but the support) that are not up to date.

        Under torch.distributed every process takes its share. Returns the names of those checked.
        """
        rank, world = rank_and_world()
        cases = [c for c in sorted(self.cohort.cases) if c != self.cohort.support] if case_ids is None else case_ids
        cases = [case for case in cases if self._result(case).exists()]
        todo = [case for case in list(cases)[rank::world] if not self._up_to_date(case)]
        if not todo:
            return []
        support = self._looked_at(self.cohort.support, self.region)
        for case in tqdm(todo, desc="self-check", unit="case", disable=rank > 0):
            start = time.perf_counter()
            record = {"case": case, **self._check(support, case), "inputs": self._inputs(case)}
            write_json(self.folder / f"{case}.json", record | {"seconds": round(time.perf_counter() - start, 3)})
        return todo

    def _check(self, support: _Labelled, case: str) -> dict[str, Any]:
        query = self._looked_at(case, self._result(case))
        maps = maps_between(support.body, query.body, self.settings.matching)
        there = self._sent(support, query, maps.back)
        back = self._sent(query, support, maps.forth)
        rule = self.settings.rule
        unlike = maps.similarity < rule.least_similarity
        classes = {}
        for channel, name in enumerate(self.cohort.classes, start=1):
            present = bool((query.label == channel).any())
            reverse = dice_of(back == channel, support.label == channel) if present else 0.0
            agreement = dice_of(there == channel, query.label == channel) if present else 0.0
            predicted = predicted_dice(reverse, agreement)
            reasons = _reasons(present, reverse, agreement, predicted, rule)
            classes[name] = {
                "predicted_dice": round(predicted, 4),
                "reverse_dice": round(reverse, 4),
                "transfer_dice": round(agreement, 4),
                "flagged": unlike or bool(reasons),
                "reasons": reasons,
            }
        reasons = [f"the body is unlike the support's: similarity {maps.similarity:.2f}"] if unlike else []
        return {"similarity": round(maps.similarity, 4), "flagged": unlike, "reasons": reasons, "classes": classes}

    def _looked_at(self, case: str, result: Path) -> _Labelled:
        volume = read_cached(self.cohort, case)
        values = list(self.cohort.classes.values())
        label = nearest_on_grid(read_labels(result), volume.affine, tuple(volume.body.shape))
        body = embed_body(self.trained, volume, self.spacing_mm)
        fractions = cell_fractions(label, values, tuple(body.embedding.levels["fine"].shape[1:]))
        indices = sum((label == value) * channel for channel, value in enumerate(values, start=1))
        return _Labelled(volume, body, np.asarray(indices), fractions)

    def _sent(self, source: _Labelled, target: _Labelled, to_source: SmoothMap) -> np.ndarray:
        """The labels of `source` as they arrive in `target`, (X, Y, Z) class indices."""
        votes = transfer_labels(
            source.body.embedding,
            source.fractions,
            target.body.embedding,
            target.volume.body,
            to_source,
            self.spacing_mm,
            self.settings.transfer,
        )
        return finer(votes, target.label.shape).argmax(dim=0).numpy()

    def _result(self, case: str) -> Path:
        return self.results_dir / f"{case}.nii.gz"

    def _inputs(self, case: str) -> str:
        return sha256_of_settings([self._dependencies, sha256_of_file(self._result(case))])

    def _up_to_date(self, case: str) -> bool:
        return is_made_of(self.folder / f"{case}.json", self._inputs(case))


@dataclass(frozen=True)
class _Labelled:
    """A volume with its embeddings and a label map: (X, Y, Z) class indices and shares of the fine cells."""

    volume: CachedVolume
    body: Body
    label: np.ndarray
    fractions: Tensor


def predicted_dice(reverse: float, agreement: float) -> float:
    """What the Dice with the unknown truth is thought to be.

    Args:
        reverse: Dice of the support's region and of what the result becomes there.
        agreement: Dice of the result and of what the support's region becomes here.
    """
    return float(np.sqrt(reverse * agreement))


def finer(votes: Tensor, shape: Sequence[int]) -> Tensor:
    """(K, x, y, z) of the fine cells -> (K, X, Y, Z) of the voxels, linear."""
    voxels = functional.interpolate(votes[None].float(), scale_factor=STRIDE, mode="trilinear", align_corners=False)
    x, y, z = shape
    return voxels[0, :, :x, :y, :z]


def _reasons(present: bool, reverse: float, agreement: float, predicted: float, rule: TrustRule) -> list[str]:
    if not present:
        return ["not found"]
    if predicted >= rule.least_dice:
        return []
    reasons = []
    if reverse < rule.least_dice:
        reasons.append(f"taken back to the support it misses the support's own: Dice {reverse:.2f}")
    if agreement < rule.least_dice:
        reasons.append(f"not where the support's would be: Dice {agreement:.2f}")
    return reasons
