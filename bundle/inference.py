"""Label maps of a folder of volumes with a trained segmentation network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bundle.run_config import run_config
from scripts.errors import BundleError
from scripts.files import read_json

CARD_KEYS = ("classes", "spacing_mm", "patch_size", "channels")


def infer_folder(images: Path, model: Path, output: Path, device: str | None = None) -> None:
    """Run `configs/inference.json` with the settings of the network's card; label maps that exist are kept.

    Args:
        images: folder of volumes.
        model: folder with `model.pt` and `model.json`, such as `OUTPUT/segmentation`.
        output: where `ID.nii.gz` label maps go.
        device: such as "cpu"; None takes a GPU if there is one.

    Raises:
        BundleError: no such network, or no usable volume.
    """
    for name in ("model.pt", "model.json"):
        if not (model / name).is_file():
            raise BundleError("no segmentation network here", stage="inference", file=model / name)
    card = read_json(model / "model.json")
    overrides: dict[str, Any] = {key: card[key] for key in CARD_KEYS}
    overrides |= {
        "dataset_dir": str(images),
        "output_dir": str(output),
        "checkpoint": str(model / "model.pt"),
        "skip_existing": True,
    }
    if device is not None:
        overrides["device"] = f"$torch.device('{device}')"
    run_config(["inference.json"], overrides)
