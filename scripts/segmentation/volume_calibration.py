"""A trained network claims as much of each class as its training labels do: one number for each class, in its bias.

Training windows show each class as often as the background, and the loss weighs small ones more, so that they are found
at all. A network that learned so claims too much of them: after few epochs many times their volume. Only how frequent
classes are is corrected, as Saerens et al. (2002) do for a classifier that is used where they are more or less so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.networks.utils import eval_mode
from scipy import ndimage

from scripts.common.affines import spacing_of
from scripts.data.intensity import BodySelector
from scripts.networks.segmenter import output_bias
from scripts.segmentation.loss import merge_unlocated
from scripts.segmentation.network_probabilities import BODY_MARGIN_VOXELS
from scripts.segmentation.transforms import CachedCases

MOST_CASES = 24  # more tell little more, and take time and memory
STEP_MM = 4.0  # between the voxels that count: fine enough to tell volumes
MOST_ROUNDS = 10  # over all classes, each of which takes voxels from the others
CLOSE = 0.01  # in logits


@dataclass(frozen=True)
class KnownVoxels:
    """Voxels of a case whose label is decided.

    Attributes:
        logits: (1 + K, N), background first.
        label: (N,) class indices.
        located: (K,) bool; of a class that is not located the label says nothing.
    """

    logits: np.ndarray
    label: np.ndarray
    located: np.ndarray


def volume_bias(cases: Sequence[KnownVoxels], classes: int) -> np.ndarray:
    """(1 + K,) numbers to add to the logits, so that each class is the likeliest in as many voxels as its label has.

    Class by class, the others as they are: of all voxels in falling order of how far the class is ahead, as many as the
    label has. A class that no label has gets 0, and so does the background.

    Args:
        cases: labelled voxels.
        classes: K.
    """
    bias = np.zeros(1 + classes, dtype=np.float32)
    for _ in range(MOST_ROUNDS):
        before = bias.copy()
        for k in range(1, 1 + classes):
            known = [case for case in cases if case.located[k - 1]]
            wanted = sum(int((case.label == k).sum()) for case in known)
            if wanted:
                behind = np.concatenate([_behind(case.logits, bias, k) for case in known])
                bias[k] = _limit(behind, wanted)
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
    """Changes the bias of a trained network's last layer so that it claims its training labels' volumes.

    Of more than `MOST_CASES` cases some count, evenly spread. Nothing is counted outside the body, where the network
    has no say.

    Args:
        enabled: False changes nothing.
        network: (1, 1, X, Y, Z) -> (1, 1 + K, X, Y, Z) logits; changed in place.
        dataset: the training cases.
        inferer: sliding windows over a whole volume.
        classes: K names in the order of the channels 1..K.
        device: where the network is.
    """

    def __init__(
        self,
        enabled: bool,
        network: torch.nn.Module,
        dataset: CachedCases,
        inferer: Callable[..., torch.Tensor],
        classes: Sequence[str],
        device: str | torch.device,
    ) -> None:
        self.enabled, self.network, self.dataset, self.inferer = enabled, network, dataset, inferer
        self.classes, self.device = list(classes), torch.device(device)

    def __call__(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """Calibrate; the network's card with "volume_bias": class -> what was added to its logits."""
        if not self.enabled:
            return dict(card)
        every = max(1, -(-len(self.dataset) // MOST_CASES))
        items = (self.dataset.preprocessed(index) for index in range(0, len(self.dataset), every))
        with eval_mode(self.network), torch.no_grad():
            bias = volume_bias([self._known(item) for item in items], len(self.classes))
            output_bias(self.network).add_(torch.from_numpy(bias).to(self.device))
        added = {name: round(float(number), 4) for name, number in zip(self.classes, bias[1:], strict=True)}
        return {**card, "volume_bias": added}

    def _known(self, item: Mapping[Hashable, Any]) -> KnownVoxels:
        image, located = item["image"], torch.as_tensor(item["located"]).bool().cpu()
        spacing_mm = spacing_of(np.asarray(image.affine, dtype=float))
        predicted = self.inferer(torch.as_tensor(image)[None].to(self.device), self.network).cpu()
        logits = merge_unlocated(predicted, located[None])[0].numpy()
        body = ndimage.binary_dilation(BodySelector(spacing_mm)(image)[0], np.ones((3, 3, 3)), BODY_MARGIN_VOXELS)
        lattice = tuple(slice(None, None, max(1, round(STEP_MM / step))) for step in spacing_mm)
        label = torch.as_tensor(item["label"])[0].cpu().numpy().astype(np.int64)[lattice]
        counted = body[lattice] & (label < len(logits))
        return KnownVoxels(
            logits[(slice(None), *lattice)][:, counted].astype(np.float16), label[counted], located.numpy()
        )
