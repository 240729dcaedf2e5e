"""Label maps of a folder of volumes with a trained segmentation network."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bundle.pipeline.configs import device_override, run_config
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file, write_json
from scripts.data.probability_maps import PROBABILITIES
from scripts.data.volume_cache import fingerprint
from scripts.data.volume_io import find_volumes

logger = logging.getLogger(__name__)

RECORD_FILE = "made_of.json"  # beside the label maps: which network made them of which images
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
        BundleError: no such network, or no usable volume.
    """
    overrides = network_overrides(model) | device_override(device)
    sources = {case: fingerprint(source) for case, source in find_volumes(images).items()}
    if probabilities_dir is not None:
        overrides["probabilities_dir"] = str(probabilities_dir)
        sources = {
            case: f"{source} {sha256_of_file(probabilities_dir / f'{case}{PROBABILITIES}')}"
            for case, source in sources.items()
        }
    drop_stale_label_maps(model, output, sources)
    overrides |= {"dataset_dir": str(images), "output_dir": str(output), "skip_existing": True}
    run_config(["inference.json"], overrides)


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


def drop_stale_label_maps(model: Path, output: Path, images: Mapping[str, str]) -> None:
    """Remove label maps made by another network or of another image; `OUTPUT/made_of.json` says what made them.

    Args:
        model: folder of the network.
        output: folder of the label maps, `ID.nii.gz`.
        images: case name -> fingerprint of its image.

    Raises:
        BundleError: files of these names that no network of ours made; they may be anything, so they stay.
    """
    network = {name: sha256_of_file(model / name) for name in ("model.pt", "model.json")}
    file = output / RECORD_FILE
    before = read_json(file) if file.exists() else {}
    known = before.get("images", {}) if before.get("network") == network else {}
    made = {case: output / f"{case}.nii.gz" for case in images}
    stale = [path for case, path in made.items() if path.exists() and known.get(case) != images[case]]
    if stale and not file.exists():
        raise BundleError(
            "the output folder holds files of the volumes' names that this command did not make",
            stage="inference",
            file=stale[0],
            expected="another output folder",
            found=f"{len(stale)} such files and no {RECORD_FILE}",
        )
    if stale:
        logger.warning("%d label maps in %s are of another network or image and are made again", len(stale), output)
    for path in stale:
        path.unlink()
    record = {"network": network, "images": {**known, **images}}
    if record != before:
        write_json(file, record)
