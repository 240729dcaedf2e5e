"""What the network says of a case: nothing but background outside the body, and class probabilities that are kept for
the ensemble (mode `default`)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.networks.utils import eval_mode
from monai.transforms import MapTransform
from scipy import ndimage

from scripts.common.affines import spacing_of
from scripts.common.failures import blamed
from scripts.common.made_of import write_record
from scripts.common.work_folder import LabelFolder
from scripts.data.intensity import BodySelector
from scripts.data.probability_maps import write_probabilities
from scripts.segmentation.loss import merge_unlocated

BODY_MARGIN_VOXELS = 1  # of the network's grid, so that the mask moves no border of an organ below the skin
BELOW_BACKGROUND = 20.0  # logits of classes there: a probability of 2e-9


def logits_of_case(
    item: Mapping[Hashable, Any],
    network: torch.nn.Module,
    inferer: Callable[..., torch.Tensor],
    device: str | torch.device,
) -> torch.Tensor:
    """(1 + K, X, Y, Z) logits of a preprocessed training case; a class not located there counts as background.

    Args:
        item: "image" (1, X, Y, Z) and "located" (K,).
        network: (1, 1, X, Y, Z) -> (1, 1 + K, X, Y, Z) logits.
        inferer: sliding windows over a whole volume.
        device: where the network is.
    """
    with eval_mode(network), torch.inference_mode():
        logits = inferer(item["image"].as_tensor()[None].to(device), network)
        return merge_unlocated(logits, item["located"][None])[0]


def where_network_counts(image: Any) -> np.ndarray:
    """(X, Y, Z) bool: the body of a network's input, (1, X, Y, Z) normalised, a MetaTensor, and a margin around it."""
    body = BodySelector(spacing_of(np.asarray(image.affine, dtype=float)))(image)[0].numpy()
    counts: np.ndarray = ndimage.binary_dilation(body, np.ones((3, 3, 3)), BODY_MARGIN_VOXELS)
    return counts


class BackgroundOutsideBodyd(MapTransform):
    """Logits of classes fall below the background's outside the body: windows of air alone show a network nothing.

    Where no body is found, all stays.

    Args:
        keys: logits (1 + K, X, Y, Z), background first.
        image_key: the network's input, (1, X, Y, Z) normalised, a MetaTensor on the grid of the logits.
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image") -> None:
        super().__init__(keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        outside = torch.from_numpy(~where_network_counts(data[self.image_key]))
        for key in self.key_iterator(result):
            logits = result[key].clone()
            beside = outside.to(logits.device)
            highest = logits[0, beside] - BELOW_BACKGROUND
            for channel in range(1, len(logits)):  # one at a time: all of them would be as large as the logits again
                logits[channel, beside] = torch.minimum(logits[channel, beside], highest)
            result[key] = logits
        return result


class KeepProbabilitiesd(MapTransform):
    """Writes class probabilities on the network's grid, and a record; leaves the item as it is.

    Args:
        keys: logits (1 + K, X, Y, Z), background first.
        output_dir: of the network's label maps; see `LabelFolder.own`.
        image_key: the network's input, a MetaTensor on the grid of the logits.
        made_of: case -> fingerprint of all that its result depends on, for the record; None takes that of the result.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        image_key: str = "image",
        made_of: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(keys)
        self.own, self.image_key, self.made_of = LabelFolder(Path(output_dir)).own, image_key, dict(made_of or {})

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result, case = dict(data), data["case"]
        with blamed("inference", case):
            logits = torch.as_tensor(result[self.first_key(result)])
            probabilities = torch.softmax(logits.float(), dim=0).cpu().numpy()
            affine = np.asarray(data[self.image_key].affine, dtype=float)
            file = self.own.probabilities(case)
            write_probabilities(file, probabilities, affine)
            made_of = self.made_of.get(case) or sha256(probabilities.tobytes()).hexdigest()
            write_record(self.own.record(case), {"case": case}, made_of, [file])
        return result
