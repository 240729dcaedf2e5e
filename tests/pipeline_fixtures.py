"""A tiny cohort, tiny networks and a stand-in for the stages, shared by the tests of what drives the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch

from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.settings import RunSettings
from scripts.common.case_stage import CaseStage
from scripts.common.files import sha256_of_file, write_json
from scripts.common.made_of import content_of, fingerprint, write_record
from scripts.data.cohort import load_cohort
from scripts.networks.model_files import write_model
from scripts.networks.prnet import PRNet
from scripts.networks.segmenter import segmentation_network

SPACING_MM = 4.0
SHAPE = (12, 11, 10)
AFFINE = np.array([[-4.0, 0, 0, 20], [0, 4, 0, -30], [0, 0, 4, 7], [0, 0, 0, 1]])  # axes L, A, S
CLASSES = {"spleen": 1, "liver": 6}
BACKGROUND = 14


def volume(seed: int) -> np.ndarray:
    """(X, Y, Z) HU: air around a noisy body."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[2:-2, 2:-2] = np.random.default_rng(seed).integers(0, 90, (SHAPE[0] - 4, SHAPE[1] - 4, SHAPE[2]))
    return hu


def strokes(values: Sequence[int] = (1, 6, 3, BACKGROUND)) -> np.ndarray:
    """(X, Y, Z): a stroke of three voxels per value."""
    array = np.zeros(SHAPE, np.uint8)
    for row, value in enumerate(values):
        array[3:6, 3 + row, 5] = value
    return array


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def save_segments(path: Path, array: np.ndarray, names: Mapping[str, int], affine: np.ndarray = AFFINE) -> Path:
    """Write a segmentation of 3D Slicer; `names` of segments -> their values."""
    image = sitk.ReadImage(str(save(path.with_name("plain.nii.gz"), array, affine)))
    path.with_name("plain.nii.gz").unlink()
    for number, (name, value) in enumerate(names.items()):
        for key, content in (("ID", name), ("Name", name), ("Layer", "0"), ("LabelValue", str(value))):
            image.SetMetaData(f"Segment{number}_{key}", content)
    sitk.WriteImage(image, str(path))
    return path


def make_cohort(folder: Path, count: int = 3) -> Path:
    """`images/case_0.nii.gz`, ... and `scribbles.nii.gz` of case_0; returns the folder."""
    for number in range(count):
        save(folder / "images" / f"case_{number}.nii.gz", volume(number))
    save(folder / "scribbles.nii.gz", strokes())
    return folder


def input_options(folder: Path) -> list[str]:
    """Command line options for the cohort of `make_cohort`."""
    return [
        *("--images", str(folder / "images"), "--support", str(folder / "images" / "case_0.nii.gz")),
        *("--scribbles", str(folder / "scribbles.nii.gz"), "--classes", "spleen:1,liver:6", "--background", "14"),
        *("--mode", "paper"),
    ]


def settings(folder: Path, **changes: Any) -> RunSettings:
    """Settings of a small run over the cohort of `make_cohort`, in `folder/out`."""
    values = {
        "output": folder / "out",
        "images": folder / "images",
        "support": folder / "images" / "case_0.nii.gz",
        "scribbles": folder / "scribbles.nii.gz",
        "classes": CLASSES,
        "background": BACKGROUND,
        "mode": "paper",
        "small": True,
    }
    return RunSettings(**values | changes)


def run_all(pipeline: Pipeline) -> None:
    """Every stage in order."""
    pipeline.train_localisation()
    pipeline.propagate()
    pipeline.train_segmentation()
    pipeline.infer()


def make_weights(folder: Path, spacing_mm: float = SPACING_MM, patch: int = 32, fine: Mapping[str, Any] = {}) -> Path:
    """Untrained PRNets `coarse/` and `fine/` of width 1; `fine` changes the fine one's card only."""
    for name in ("coarse", "fine"):
        card = {
            "kind": "prnet",
            "patch_size": [patch] * 3,
            "spacing_mm": [spacing_mm] * 3,
            "width": 1,
            "pooling": 1,
            "max_offset_mm": [100.0] * 3,
        }
        write_model(folder / name, PRNet([patch] * 3, 1), card | (fine if name == "fine" else {}))
    return folder


class FakeStages:
    """Stands in for `run_config`: leaves results that depend on what each stage reads, and remembers what it was told.

    Args:
        weights: content of the PRNets it "trains".
    """

    def __init__(self, weights: str = "weights") -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.weights = weights
        self.kill_after: int | None = None

    @property
    def names(self) -> list[str]:
        """Which stages had something to do."""
        return [name for name, _ in self.calls]

    def __call__(self, names: Sequence[str], overrides: Mapping[str, Any]) -> None:
        stage = "fine" if "train_prnet_fine.json" in names else names[0].removesuffix(".json")
        output = Path(overrides["output_dir"])
        if stage == "point_propagation":
            folder = Path(overrides.get("propagation_dir", output / "propagation"))
            stage = "first_points" if "first_round" in folder.parts else stage
            cohort, prnet = load_cohort(output), Path(overrides["prnet_dir"])
            weights = [sha256_of_file(prnet / name / "model.pt") for name in ("coarse", "fine")]
            read = [sha256_of_file(cohort.scribbles), list(cohort.classes.items()), weights]
            points = {name: [*read, case.sha256] for name, case in cohort.cases.items()}
            self._cases(stage, overrides, folder, points)
        elif stage == "pseudo_labels":
            points = {case: content_of(output / "propagation" / f"{case}.json") for case in load_cohort(output).cases}
            self._cases(stage, overrides, output / "pseudo_labels", points)
        else:
            self.calls.append((stage, dict(overrides)))
            self._folder(stage, overrides, output)

    def _cases(self, stage: str, overrides: Mapping[str, Any], folder: Path, read: Mapping[str, Any]) -> None:
        values = {key: value for key, value in overrides.items() if not key.endswith("dir") and key != "device"}
        cases = FakeCases(folder, {case: [values, content] for case, content in read.items()})
        if cases.run():
            self.calls.append((stage, dict(overrides)))

    def _folder(self, stage: str, overrides: Mapping[str, Any], output: Path) -> None:
        if stage in ("train_prnet", "fine"):
            folder = output / "prnet" / stage.replace("train_prnet", "coarse")
            card = {"patch_size": [32] * 3, "width": 1, "pooling": 1, "max_offset_mm": [9.0] * 3}
            write_json(folder / "model.json", card | {"spacing_mm": [SPACING_MM] * 3})
            (folder / "model.pt").write_text(self.weights)
        elif stage == "train":
            card = {
                "classes": overrides["classes"],
                "spacing_mm": [9.0] * 3,
                "patch_size": [48] * 3,
                "channels": [2, 5],
            }
            card |= {"architecture": "unet", "channels": [2, 5], "crop_to_body": False}
            write_json(output / "segmentation" / "model.json", card)
            labels = {file.name: content_of(file) for file in Path(overrides["labels_dir"]).glob("*.json")}
            learned = fingerprint([labels, overrides.get("max_epochs")])
            network = segmentation_network("unet", len(overrides["classes"]) + 1, [2, 5])
            state = {key: torch.full_like(values, int(learned[:6], 16)) for key, values in network.state_dict().items()}
            torch.save(state, output / "segmentation" / "model.pt")
        elif stage == "inference":
            for done, item in enumerate(overrides["dataset#data"]):
                if done == self.kill_after:
                    raise SystemExit("killed")
                label = save(output / f"{item['case']}.nii.gz", np.zeros(SHAPE, np.uint8))
                made_of = overrides["made_of"][item["case"]]
                write_record(output / f"{item['case']}.json", {"case": item["case"]}, made_of, [label])


class FakeCases(CaseStage):
    """A stage that leaves what it read.

    Args:
        folder: for the records.
        read: case -> what the result depends on.
    """

    name = "fake"

    def __init__(self, folder: Path, read: Mapping[str, Any]) -> None:
        self.folder, self.read = folder, read

    def cases(self) -> list[str]:
        """All that something was read for."""
        return list(self.read)

    def inputs(self, case: str) -> Any:
        """All of it."""
        return self.read[case]

    def record(self, case: str) -> Path:
        """One a case."""
        return self.folder / f"{case}.json"

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """No file but the record."""
        return {"read": self.read[case]}, []


def phantom_settings(spacing_mm: float = 10.0) -> dict[str, dict[str, Any]]:
    """Overrides that make the small configuration run over phantoms of about 8 mm in seconds; nothing is learned."""
    prnet = {
        "spacing_mm": [spacing_mm] * 3,
        "patch_size": [32, 16, 16],
        "pooling": 1,
        "width": 2,
        "max_epochs": 3,
        "iterations_per_epoch": 2,
        "volumes_per_batch": 2,
        "val_interval": 1,
        "validation_pairs": 4,
    }
    return {
        "prnet_coarse": prnet,
        "prnet_fine": prnet,
        "point_propagation": {"class_limit": 10, "background_limit": 20, "tau": -1.0},
        "pseudo_labels": {"geodesic_spacing_mm": [spacing_mm] * 3},
        "segmentation": {
            "spacing_mm": [spacing_mm] * 3,
            "patch_size": [16, 16, 16],
            "channels": [4, 8],
            "max_epochs": 3,
            "samples_per_epoch": 4,
            "plc_start_epoch": 1,
        },
    }


def default_settings(spacing_mm: float = 10.0) -> dict[str, dict[str, Any]]:
    """The same for mode `default`."""
    embedding = {
        "spacing_mm": [spacing_mm] * 3,
        "window_size": [32, 32, 32],
        "widths": [2, 4, 4, 4, 4],
        "embedding_channels": 6,
        "points": 20,
        "max_epochs": 2,
        "iterations_per_epoch": 2,
        "validation_views": 1,
    }
    shared = phantom_settings(spacing_mm)
    matching = {"match_cycle_mm": 1000.0, "body_points": 100}
    return {
        "embedding": embedding,
        "support_mask": {"geodesic_spacing_mm": [spacing_mm] * 3},
        "first_round": {**matching, "class_limit": 10, "background_limit": 20},
        "pseudo_labels": shared["pseudo_labels"],
        "segmentation": {**shared["segmentation"], "channels": embedding["widths"]},
        "label_fusion": {**matching, "most_atlases": 1, "least_round_trip_dice": 0.0},
    }
