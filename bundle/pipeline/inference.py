"""Label maps of a folder of volumes with a trained segmentation network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bundle.pipeline.configs import deciding_values, device_override, read_configs, run_config
from bundle.pipeline.network_labels import NetworkLabels
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file
from scripts.common.work_folder import LabelFolder, PropagationFolder
from scripts.data.gate.admission import left_out_lines
from scripts.data.volume_io import find_volumes
from scripts.segmentation.inference_verdicts import InferenceVerdicts
from scripts.segmentation.items import admit_volumes

CONFIG = ["inference.json"]
CARD_KEYS = ("classes", "spacing_mm", "patch_size", "architecture", "channels", "crop_to_body")


def infer_folder(
    images: Path, model: Path, output: Path, device: str | None = None, probabilities_dir: Path | None = None
) -> None:
    """Run `configs/inference.json` with the settings of the network's card; label maps it made before are kept.

    Args:
        images: folder of volumes.
        model: folder with `model.pt` and `model.json`, such as `OUTPUT/segmentation`.
        output: where `ID.nii.gz` label maps go.
        device: such as "cpu"; None takes a GPU if there is one.
        probabilities_dir: class probabilities of the same volumes, which the network joins in `OUTPUT/propagation/`
            (see `JoinProbabilitiesd`).

    Raises:
        BundleError: no such network, or no usable volume. One that is not usable beside others is left out, and told.
    """
    overrides = network_overrides(model) | device_override(device)
    labels = network_labels(model, output, probabilities_dir, deciding_values(read_configs(CONFIG)))
    sources = find_volumes(images)
    verdicts = InferenceVerdicts({}, {})
    inputs = labels.inputs(verdicts.readable(sources))
    todo = labels.clear(inputs)
    verdicts.recall(labels.labels, set(inputs) - set(todo))
    admitted = admit_volumes({case: sources[case] for case in todo}, output)
    verdicts.add(admitted)
    done = [case for case in inputs if case not in admitted.left_out]
    if not done:
        raise BundleError(
            "there is no volume to segment",
            stage="inference",
            file=images,
            expected="CT volumes",
            found="; ".join(left_out_lines(verdicts.left_out)) or "none",
        )
    if admitted.items:
        run_config(
            CONFIG,
            {
                **overrides,
                "dataset#data": admitted.items,
                "output_dir": str(output),
                "probabilities_dir": None if probabilities_dir is None else str(probabilities_dir),
                "made_of": inputs,
            },
        )
    verdicts.write(labels.labels, sources)
    verdicts.tell(labels.labels, done)


def network_labels(model: Path, output: Path, probabilities_dir: Path | None, settings: Any) -> NetworkLabels:
    """The label maps of the network in the folder `model`, in the folder `output`; see `NetworkLabels`."""
    card = read_json(model / "model.json")
    network = {"model.pt": sha256_of_file(model / "model.pt"), **{key: card[key] for key in CARD_KEYS}}
    network["classes"] = list(card["classes"].items())
    joined = None if probabilities_dir is None else PropagationFolder(probabilities_dir)
    return NetworkLabels(network, LabelFolder(output), joined, settings)


def network_overrides(model: Path) -> dict[str, Any]:
    """Keys of `configs/inference.json` that describe the network in the folder `model`.

    Raises:
        BundleError: no network there, its card lacks something, or its weights cannot be read.
    """
    for name in ("model.pt", "model.json"):
        if not (model / name).is_file():
            raise BundleError("no segmentation network here", stage="inference", file=model / name)
    card = read_json(model / "model.json")
    missing = [key for key in CARD_KEYS if not isinstance(card, dict) or key not in card]
    if missing:
        raise BundleError(
            "the network's card lacks something",
            stage="inference",
            file=model / "model.json",
            expected="a segmentation network's card with " + ", ".join(CARD_KEYS),
            found="no " + ", ".join(missing),
        )
    try:
        torch.load(model / "model.pt", map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types for a damaged file
        raise BundleError(
            "the network's weights cannot be read", stage="inference", file=model / "model.pt", found=error
        ) from error
    return {key: card[key] for key in CARD_KEYS} | {"checkpoint": str(model / "model.pt")}


def numbered(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card with label values 1 to K in the order of the channels: what MONAI Label takes from the metadata."""
    return {**card, "classes": {name: value for value, name in enumerate(card["classes"], start=1)}}
