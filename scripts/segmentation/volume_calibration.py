"""A trained network claims no more of a class than the label maps of its training cases do: one number for each class,
in its bias.

Training windows show each class as often as the background, and the loss weighs small ones more, so that they are found
at all. A network that learned so claims too much of them: after few epochs many times their volume. Only how frequent
classes are is corrected, as Saerens et al. (2002) do for a classifier that is used where they are more or less so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from scripts.common.affines import spacing_of, voxel_ml
from scripts.common.work_folder import LabelFolder
from scripts.data.records import PseudoLabelRecord
from scripts.networks.segmenter import output_bias
from scripts.segmentation.network_probabilities import logits_of_case, where_network_counts
from scripts.segmentation.transforms import CachedCases

MOST_CASES = 24  # more tell little more, and take time and memory
NEAR_MM = 24.0  # of a class's label: parts farther off are not kept in label maps, see `largest_parts`
STEP_MM = 4.0  # between the voxels that count: fine enough to tell volumes
MOST_ROUNDS = 10  # over all classes, each of which takes voxels from the others
CLOSE = 0.01  # in logits


@dataclass(frozen=True)
class KnownVoxels:
    """Voxels of a case whose label is decided.

    Attributes:
        logits: (1 + K, N), background first.
        near: (K, N) bool, those near the class's label; of a class that is not located there are none.
        wanted: (K,) how many of them each class shall have.
    """

    logits: np.ndarray
    near: np.ndarray
    wanted: np.ndarray


def volume_bias(cases: Sequence[KnownVoxels], classes: int) -> np.ndarray:
    """(1 + K,) numbers to add to the logits, so that no class is the likeliest in more voxels than it shall have.

    Class by class, the others as they are: of all voxels in falling order of how far the class is ahead, as many as are
    wanted, near its labels. A class of which none is wanted gets 0, and so does the background; and a class that has
    too few, since with more of them more of what is elsewhere would come, too.

    Args:
        cases: voxels of all cases.
        classes: K.
    """
    bias = np.zeros(1 + classes, dtype=np.float32)
    for _ in range(MOST_ROUNDS):
        before = bias.copy()
        for k in range(1, 1 + classes):
            known = [case for case in cases if case.near[k - 1].any()]
            wanted = round(sum(float(case.wanted[k - 1]) for case in known))
            if wanted:
                behind = np.concatenate([_behind(case.logits[:, case.near[k - 1]], bias, k) for case in known])
                bias[k] = min(0.0, _limit(behind, wanted))
        if np.abs(bias - before).max() <= CLOSE:
            break
    return bias


def _behind(logits: np.ndarray, bias: np.ndarray, k: int) -> np.ndarray:
    """(N,) how far a class is behind the likeliest other one, its own bias apart."""
    others = np.delete(np.arange(len(bias)), k)
    return (logits[others].astype(np.float32) + bias[others, None]).max(axis=0) - logits[k]


def _limit(behind: np.ndarray, wanted: int) -> float:
    """The number that is above as many of the voxels' as are wanted, midway to the next."""
    if wanted >= len(behind):
        return float(behind.max())
    low, high = np.partition(behind, (wanted - 1, wanted))[[wanted - 1, wanted]]
    return float(low + high) / 2


class VolumeCalibration:
    """Changes the bias of a trained network's last layer so that it claims no more than label maps do.

    Of more than `MOST_CASES` cases some count, evenly spread. Nothing is counted outside the body, where the network
    has no say.

    Args:
        enabled: False changes nothing.
        network: (1, 1, X, Y, Z) -> (1, 1 + K, X, Y, Z) logits; changed in place.
        dataset: the training cases.
        inferer: sliding windows over a whole volume.
        classes: K names in the order of the channels 1..K.
        device: where the network is.
        volumes_dir: folder of label maps of the training cases whose records say what volumes are claimed, see
            `PseudoLabelRecord`; training labels are rather too small. None, or no record there: the training label's.
    """

    def __init__(
        self,
        enabled: bool,
        network: torch.nn.Module,
        dataset: CachedCases,
        inferer: Callable[..., torch.Tensor],
        classes: Sequence[str],
        device: str | torch.device,
        volumes_dir: str | Path | None = None,
    ) -> None:
        self.volumes = None if volumes_dir is None else LabelFolder(Path(volumes_dir))
        self.enabled, self.network, self.dataset, self.inferer = enabled, network, dataset, inferer
        self.classes, self.device = list(classes), torch.device(device)

    def __call__(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """Calibrate; the network's card with "volume_bias": class -> what was added to its logits."""
        if not self.enabled:
            return dict(card)
        every = max(1, -(-len(self.dataset) // MOST_CASES))
        items = (self.dataset.preprocessed(index) for index in range(0, len(self.dataset), every))
        bias = volume_bias([self._known(item) for item in items], len(self.classes))
        with torch.no_grad():
            output_bias(self.network).add_(torch.from_numpy(bias).to(self.device))
        added = {name: round(float(number), 4) for name, number in zip(self.classes, bias[1:], strict=True)}
        return {**card, "volume_bias": added}

    def _known(self, item: Mapping[Hashable, Any]) -> KnownVoxels:
        affine = np.asarray(item["image"].affine, dtype=float)
        spacing_mm = spacing_of(affine)
        logits = logits_of_case(item, self.network, self.inferer, self.device).cpu().numpy()
        steps = [max(1, round(STEP_MM / step)) for step in spacing_mm]
        lattice = tuple(slice(None, None, step) for step in steps)
        label = torch.as_tensor(item["label"])[0].cpu().numpy().astype(np.int64)[lattice]
        counted = where_network_counts(item["image"])[lattice] & (label < len(logits))
        lattice_mm = np.multiply(spacing_mm, steps)
        located = enumerate(item["located"].bool().tolist(), start=1)
        near = [_near((label == k) & is_located, lattice_mm)[counted] for k, is_located in located]
        return KnownVoxels(
            logits[(slice(None), *lattice)][:, counted].astype(np.float16),
            np.array(near),
            self._wanted(item["case"], label[counted], voxel_ml(affine) * float(np.prod(steps))),
        )

    def _wanted(self, case: str, label: np.ndarray, of_voxel_ml: float) -> np.ndarray:
        """(K,) voxels of the lattice, whose label is (N,) class indices."""
        if self.volumes is not None and self.volumes.record(case).exists():
            volume_ml = PseudoLabelRecord.read(self.volumes.record(case)).volume_ml
            if volume_ml.keys() >= {*self.classes}:
                return np.array([volume_ml[name] / of_voxel_ml for name in self.classes])
        return np.bincount(label, minlength=len(self.classes) + 1)[1:].astype(float)


def _near(mask: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool: what lies within `NEAR_MM` of a mask; nothing where that is empty."""
    if not mask.any():
        return mask
    distance_mm: np.ndarray = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    return distance_mm <= NEAR_MM
