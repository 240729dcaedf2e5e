"""The chain that golden results come from: both modes with the shipped weights, and the shipped network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.command_line import main
from bundle.datasets.dataset import Dataset, read_dataset
from bundle.datasets.links import link_images
from bundle.datasets.phantom_cohort import write_phantom_cohort
from tests.paths import ROOT
from tests.pipeline_fixtures import default_settings, phantom_settings

WEIGHTS = "abdomen_ct"
# Coarse, so that a test can afford it; the networks look at 4 mm.
PHANTOM_SPACING_MM = (5.0, 5.0, 6.0)
MASK_SPACING_MM = "[4.0, 4.0, 4.0]"
# Mode `paper` looks for every point by itself: of background and classes these suffice here.
POINTS = {"class_limit": 40, "background_limit": 80}


@dataclass(frozen=True)
class GoldenCohort:
    """Cases and their support.

    Attributes:
        dataset: holds images, scribbles and, for scoring alone, labels.
        cases: the support among them.
    """

    dataset: Dataset
    cases: tuple[str, ...]

    @property
    def labelled_by_network(self) -> tuple[str, ...]:
        """One case: the shipped network takes as long for a volume as everything else."""
        return self.cases[-1:]


def phantom_cohort(folder: Path) -> GoldenCohort:
    """Three phantoms, written to `folder`."""
    dataset = read_dataset(write_phantom_cohort(folder, count=3, held_out=0, spacing_mm=PHANTOM_SPACING_MM))
    return GoldenCohort(dataset, dataset.unlabelled)


def real_pair(data: Path) -> GoldenCohort:
    """A scribbled abdomen and the first other one of `data/abdomen_ct`."""
    dataset = read_dataset(data / "abdomen_ct")
    other = next(case for case in dataset.unlabelled if case != dataset.support)
    return GoldenCohort(dataset, (dataset.support, other))


def run_chain(cohort: GoldenCohort, output: Path) -> None:
    """Label maps in `default/`, `paper/` and, of one case by the shipped network, `network/` of `output`."""
    dataset = cohort.dataset
    images = _link(cohort, cohort.cases, output / "images")
    classes = ",".join(f"{name}:{value}" for name, value in dataset.classes.items())
    settings = {
        "default": {"support_mask.geodesic_spacing_mm": MASK_SPACING_MM},
        "paper": {f"point_propagation.{key}": value for key, value in POINTS.items()},
    }
    for mode in ("default", "paper"):
        main(
            [
                *("propagate", "--mode", mode, "--small", "--weights", WEIGHTS, "--device", "cpu"),
                *("--images", str(images), "--support", str(dataset.image(dataset.support))),
                *("--scribbles", str(dataset.scribbles()), "--classes", classes),
                *("--background", str(dataset.background), "--output", str(output / mode)),
                *("--set", f"pseudo_labels.geodesic_spacing_mm={MASK_SPACING_MM}"),
                *(part for key, value in settings[mode].items() for part in ("--set", f"{key}={value}")),
            ]
        )
    main(
        [
            *("infer", "--images", str(_link(cohort, cohort.labelled_by_network, output / "labelled_by_network"))),
            *("--model", str(ROOT / "models"), "--device", "cpu", "--output", str(output / "network")),
        ]
    )


def _link(cohort: GoldenCohort, cases: Sequence[str], folder: Path) -> Path:
    return link_images({case: cohort.dataset.image(case) for case in cases}, folder)


def miniature_cohort(folder: Path) -> GoldenCohort:
    """Three phantoms so coarse that networks train on them in seconds."""
    dataset = read_dataset(write_phantom_cohort(folder, count=3, held_out=0, spacing_mm=(8.0, 8.0, 10.0)))
    return GoldenCohort(dataset, dataset.unlabelled)


def run_miniature(cohort: GoldenCohort, output: Path) -> None:
    """Both modes from training to label maps with networks that learn nothing, in `default/` and `paper/`."""
    dataset = cohort.dataset
    for mode, settings in (("default", default_settings()), ("paper", phantom_settings())):
        pairs = [(stage, key, value) for stage, keys in settings.items() for key, value in keys.items()]
        main(
            [
                *("oneshot", "--mode", mode, "--small", "--device", "cpu", "--output", str(output / mode)),
                *("--images", str(dataset.folder / "images"), "--support", str(dataset.image(dataset.support))),
                *("--scribbles", str(dataset.scribbles()), "--classes", "spleen:1,liver:4", "--background", "7"),
                *(part for stage, key, value in pairs for part in ("--set", f"{stage}.{key}={json.dumps(value)}")),
            ]
        )
