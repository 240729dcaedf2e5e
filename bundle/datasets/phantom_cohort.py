"""The synthetic cohort on disk: images, labels, scribbles and `dataset.json`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from bundle.datasets.phantom.classes import BACKGROUND_SCRIBBLE, LABELS, PAPER_CLASSES
from bundle.datasets.phantom.painter import make_phantom
from bundle.datasets.phantom.torso import Mm
from bundle.datasets.scribble_simulation import simulate_scribbles
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json, write_nifti
from scripts.data.intensity import body_mask

COHORT_VERSION = 1  # raise it whenever the volumes change: an older cohort is then made again

logger = logging.getLogger(__name__)


def write_phantom_cohort(
    folder: str | Path, count: int = 14, held_out: int = 4, seed: int = 0, spacing_mm: Mm | None = None
) -> Path:
    """Write a cohort of phantoms in the layout of a real one and return the folder.

    `images/`, `labels/`, `scribbles/phantom_00_a.nii.gz` and `dataset.json`: first as a mark, last of all whole. The
    last `held_out` volumes are its test list. A whole cohort of the same settings is left alone; one of other settings
    is replaced.

    Args:
        folder: where to write.
        count: number of volumes.
        held_out: how many of them are for testing only.
        seed: seed of the whole cohort.
        spacing_mm: spacing of every volume, random per volume if left out.

    Raises:
        BundleError: fewer than two volumes would be left for training, or the folder holds something else's
            dataset.json or volumes, or cannot be written.
    """
    folder = Path(folder)
    if held_out < 0 or count - held_out < 2:
        raise BundleError(
            "a cohort needs at least two volumes that are not held out",
            stage="phantom",
            expected="count - held_out >= 2",
            found=f"count {count}, held_out {held_out}",
        )
    names = [f"phantom_{number:02d}" for number in range(count)]
    dataset = _describe(names, held_out, {"count": count, "held_out": held_out, "seed": seed, "spacing_mm": spacing_mm})
    if _is_complete(folder, names, dataset):
        return folder
    _remove_old(folder, names)
    for number, name in enumerate(names):
        phantom = make_phantom(1000 * seed + number, spacing_mm)
        write_nifti(folder / "images" / f"{name}.nii.gz", phantom.hu, phantom.affine)
        write_nifti(folder / "labels" / f"{name}.nii.gz", phantom.label, phantom.affine)
        if number == 0:
            scribbles = simulate_scribbles(
                phantom.label, phantom.affine, LABELS, BACKGROUND_SCRIBBLE, seed, body=body_mask(phantom.hu)
            )
            write_nifti(folder / "scribbles" / f"{name}_a.nii.gz", scribbles, phantom.affine)
        logger.info("phantom %d of %d: %s voxels", number + 1, count, " x ".join(map(str, phantom.hu.shape)))
    write_json(folder / "dataset.json", dataset)
    return folder


def _describe(names: list[str], held_out: int, settings: dict[str, Any]) -> dict[str, Any]:
    split = len(names) - held_out
    spacing_mm = settings["spacing_mm"]
    return {
        "labels": {str(value): name for name, value in LABELS.items()},
        "background_scribble": BACKGROUND_SCRIBBLE,
        "paper_classes": list(PAPER_CLASSES),
        "support": names[0],
        "alternative_supports": [],
        "unlabelled": names[:split],
        "test": names[split:],
        "phantom": True,
        "settings": {
            **settings,
            "spacing_mm": None if spacing_mm is None else [float(value) for value in spacing_mm],
            "version": COHORT_VERSION,
        },
    }


def _is_complete(folder: Path, names: list[str], dataset: dict[str, Any]) -> bool:
    if not (folder / "dataset.json").is_file() or read_json(folder / "dataset.json") != dataset:
        return False
    files = [folder / kind / f"{name}.nii.gz" for kind in ("images", "labels") for name in names]
    return all(file.is_file() for file in [*files, folder / "scribbles" / f"{names[0]}_a.nii.gz"])


def _remove_old(folder: Path, names: list[str]) -> None:
    """Remove another phantom cohort, never anything else, and mark what begins as one."""
    description = folder / "dataset.json"
    if description.is_file():
        if read_json(description).get("phantom") is not True:
            raise BundleError(
                "the folder holds a dataset that is no phantom",
                stage="phantom",
                file=description,
                expected="an empty folder",
            )
    elif foreign := [file for name in names for file in folder.glob(f"*/{name}*.nii.gz")]:
        raise BundleError(
            "the folder holds volumes of the phantoms' names, and nothing says that they are phantoms",
            stage="phantom",
            file=foreign[0],
            expected="an empty folder",
        )
    write_json(description, {"phantom": True})
    for kind in ("images", "labels", "scribbles"):
        for file in (folder / kind).glob("phantom_*.nii.gz"):
            file.unlink()
