"""Label correction where the truth is known: faults planted into the labels of real CT, a short training, scores.

    python -m tests.segmentation.noise_experiment OUTPUT --share 0.3 --rule guarded

It takes the abdominal cohort that `ONESHOT_DATA` names, at 4 mm, and one thread.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigWorkflow

from bundle.datasets.dataset import Dataset, read_dataset
from bundle.pipeline.configs import CONFIGS, with_paths
from scripts.common.affines import between_grids
from scripts.common.files import write_json, write_nifti
from scripts.common.overlap import dice_of
from scripts.common.sampling import onto_grid
from scripts.common.work_folder import WorkFolder
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.resampling import canonical, resample, shares_on_grid
from scripts.data.volume_io import read_labels, read_volume
from scripts.segmentation.label_store import LabelStore
from tests.fixtures.planted_noise import PlantedNoise, plant_noise
from tests.paths import DATA, ROOT

COHORT = "abdomen_ct"
CLASSES = {"spleen": 1, "right_kidney": 2, "left_kidney": 3, "liver": 4}
SPACING_MM = (4.0, 4.0, 4.0)
NOISE_SEED = 0
MENDED_DICE = 0.5
LOST_SHARE = 0.5  # of the Dice that a class had before
CONFIG_NAMES = ["train.json", "small/train.json"]
# The networks start from the shipped embedding, which saw no label, so that twelve minutes of one thread are enough.
RECIPE = {
    "start_from": str(ROOT / "models" / COHORT / "embedding"),
    "max_epochs": 24,
    "samples_per_epoch": 40,
    "learning_rate": 0.002,
    "average_decay": 0.95,
    "class_balance_end": 0.0,
    "plc_start_epoch": 12,
    "plc_interval": 3,
    "cache_workers": 0,
}
RULES = {"none": {"use_plc": False}, "paper": {"plc_guarded": False}, "guarded": {"plc_guarded": True}}


@dataclass(frozen=True)
class NoiseScores:
    """What became of planted faults.

    Attributes:
        missing: classes of cases whose label was taken away.
        mended: those with a Dice of at least `MENDED_DICE` now.
        distorted_before: mean Dice of those whose border was moved.
        distorted_after: the same now.
        clean_after: mean Dice of all others, whose label was the truth.
        lost: classes of cases with less than `LOST_SHARE` of the Dice that they had, as "case class".
    """

    missing: int
    mended: int
    distorted_before: float
    distorted_after: float
    clean_after: float
    lost: tuple[str, ...]


def make_cohort(data: Path, folder: Path) -> dict[str, np.ndarray]:
    """Images at 4 mm of the cohort's unlabelled cases in `folder/images`; case -> truth on the same grid."""
    dataset = read_dataset(data)
    return {case: _make_case(dataset, case, folder / "images" / f"{case}.nii.gz") for case in dataset.unlabelled}


def _make_case(dataset: Dataset, case: str, file: Path) -> np.ndarray:
    image = resample(canonical(read_volume(dataset.image(case))), SPACING_MM)
    write_nifti(file, image.array.round().astype(np.int16), image.affine)
    truth = canonical(read_labels(dataset.label(case)))
    shares = shares_on_grid(truth, [dataset.all_classes[name] for name in CLASSES], image.affine, image.array.shape)
    return np.where(shares.max(axis=0) > 0.5, 1 + shares.argmax(axis=0), 0).astype(np.uint8)


def train_on(images: Path, noise: PlantedNoise, work: Path, rule: str, recipe: Mapping[str, object] = RECIPE) -> None:
    """Train with the faulty labels in the work directory `work`."""
    cohort = prepare_cohort(images, work, SPACING_MM)
    labels = WorkFolder(cohort.output_dir).pseudo_labels
    for case, label in noise.labels.items():
        write_nifti(labels.label(case), label, nib.load(images / f"{case}.nii.gz").affine)
        card = {"case": case, "classes": CLASSES, "not_located": [], "volume_ml": {}, "seconds": 0.0}
        write_json(labels.record(case), card)
    values = {"output_dir": str(work), "device": torch.device("cpu"), "classes": CLASSES, "use_plc": True}
    workflow = ConfigWorkflow(
        config_file=[str(CONFIGS / name) for name in CONFIG_NAMES],
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=str(CONFIGS / "logging.conf"),
        workflow_type="train",
        **with_paths(CONFIG_NAMES, {**values, **recipe, **RULES[rule]}),
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def score(images: Path, truths: Mapping[str, np.ndarray], noise: PlantedNoise, work: Path) -> NoiseScores:
    """Compare the labels of the last round with the truth, on the training's grid."""
    store = LabelStore(WorkFolder(work).segmentation / "labels")
    last = store.directory / f"round_{store.rounds()[-1]:03d}"
    before: dict[tuple[str, int], float] = {}
    after: dict[tuple[str, int], float] = {}
    for case, truth in truths.items():
        stored, image = nib.load(last / f"{case}.nii.gz"), nib.load(images / f"{case}.nii.gz")
        corrected, grid = np.asarray(stored.dataobj), between_grids(stored.affine, image.affine)
        maps = (truth, noise.labels[case])
        true, first = (onto_grid(array, grid, corrected.shape, order=0, outside=0) for array in maps)
        for value in CLASSES.values():
            if (true == value).any():
                before[case, value] = dice_of(first == value, true == value)
                after[case, value] = dice_of(corrected == value, true == value)
    clean = set(after) - set(noise.missing) - set(noise.distorted)
    lost = [f"{case} {value}" for case, value in after if after[case, value] < LOST_SHARE * before[case, value]]
    return NoiseScores(
        missing=len(noise.missing),
        mended=sum(after[place] >= MENDED_DICE for place in noise.missing),
        distorted_before=float(np.mean([before[place] for place in noise.distorted])),
        distorted_after=float(np.mean([after[place] for place in noise.distorted])),
        clean_after=float(np.mean([after[place] for place in clean])),
        lost=tuple(lost),
    )


def experiment(data: Path, output: Path, share: float, rule: str) -> NoiseScores:
    """Make the cohort, plant, train and score."""
    truths = make_cohort(data, output)
    noise = plant_noise(truths, list(CLASSES.values()), share, NOISE_SEED)
    work = output / f"{rule}_{round(100 * share)}"
    shutil.rmtree(work, ignore_errors=True)
    train_on(output / "images", noise, work, rule)
    return score(output / "images", truths, noise, work)


def main() -> None:
    """One line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--share", type=float, default=0.3, help="of the cases, class by class")
    parser.add_argument("--rule", choices=[name for name in RULES if name != "none"], default="guarded")
    given = parser.parse_args()
    torch.set_num_threads(1)
    scores = experiment(DATA / COHORT, given.output, given.share, given.rule)
    print(json.dumps({"share": given.share, "rule": given.rule, **asdict(scores)}))


if __name__ == "__main__":
    main()
