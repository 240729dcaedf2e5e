"""The trained network beside the voters (mode `default`): final label maps grow from the mean of both.

The votes know one case, the network has seen all of them; they err in different places.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from scripts.common.files import read_json, write_json
from scripts.data.probability_maps import PROBABILITIES, probabilities_on_grid, read_probabilities, write_probabilities


class JoinProbabilitiesd(MapTransform):
    """Writes the mean of a network's class probabilities and of the case's votes; leaves the item as it is.

    `OUTPUT/propagation/ID_probabilities.nii.gz` lies on the network's grid, `ID.json` beside it is the record of the votes.

    Args:
        keys: logits (1 + K, X, Y, Z), background first.
        probabilities_dir: holds `ID_probabilities.nii.gz` and `ID.json` of the same classes, for each item's "case".
        output_dir: `propagation/` is made there.
        image_key: the network's input, a MetaTensor on the grid of the logits.

    Raises:
        BundleError: the case has no votes.
    """

    def __init__(
        self, keys: KeysCollection, probabilities_dir: str | Path, output_dir: str | Path, image_key: str = "image"
    ) -> None:
        super().__init__(keys)
        self.probabilities_dir, self.folder, self.image_key = (
            Path(probabilities_dir),
            Path(output_dir) / "propagation",
            image_key,
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        case = data["case"]
        record = read_json(self.probabilities_dir / f"{case}.json")
        atlases, atlases_affine = read_probabilities(self.probabilities_dir / f"{case}{PROBABILITIES}")
        affine = np.asarray(data[self.image_key].affine, dtype=float)
        for key in self.key_iterator(dict(data)):
            network = torch.softmax(torch.as_tensor(data[key]).float(), dim=0).cpu().numpy()
            joined = (network + probabilities_on_grid(atlases, atlases_affine, affine, network.shape[1:])) / 2
            write_probabilities(self.folder / f"{case}{PROBABILITIES}", joined, affine)
        write_json(self.folder / f"{case}.json", record)
        return dict(data)
