"""What one case costs in mode `default`, stage by stage: processor time and memory at several sizes.

Every stage runs with shipped weights as in a run of the small configuration, on files in a temporary folder. What the
support costs once is not counted. Beside that stands `infer`: the shipped network, for trials of its classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bundle.benchmark.measure.stage_calls import component
from bundle.benchmark.measure.stopwatch import measured
from bundle.benchmark.results import HEAD, result_line
from bundle.datasets.dataset import Dataset
from bundle.datasets.links import link_images
from bundle.pipeline.configs import BUNDLE_ROOT
from bundle.pipeline.inference import infer_folder
from bundle.pipeline.settings import RunSettings
from scripts.common.case_stage import CaseStage
from scripts.common.files import write_nifti
from scripts.common.work_folder import PropagationFolder, WorkFolder
from scripts.data.cached_volume import read_cached
from scripts.data.cohort import Cohort
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.resampling import canonical, resample
from scripts.data.volume_io import read_volume
from scripts.label_propagation.first_round import FirstRoundStage
from scripts.label_propagation.label_fusion import LabelFusionStage
from scripts.networks.embedding_weights import trained_spacing_mm
from scripts.networks.loading import read_card
from scripts.networks.segmenter import CARD, WEIGHTS
from scripts.pseudo_labels.stage import PseudoLabelStage
from scripts.pseudo_labels.support_mask import SupportMaskStage
from scripts.quality.self_check import SelfCheckStage

SPEED, SPEED_BEFORE = "speed", "speed_before"  # sorts of lines: this version; the one that it is compared with
PART_OF = "of the "  # how steps are called that are part of another one
ON_OWN_GRID, INFERENCE = "masks that grow on the case's own grid", "the network alone"
BESIDE = (ON_OWN_GRID, INFERENCE)  # steps of other ways to a label map: in no total
Shape = tuple[int, int, int]
Cost = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One case and its classes.

    Attributes:
        shape: that the case is resampled to; None leaves it.
        all_classes: every class of the dataset; else those that it is scored by.
        native_masks: masks grow on the case's own grid, too, as in the full configuration.
        repeats: how often it runs; medians are kept, and the seconds of every run.
    """

    shape: Shape | None = None
    all_classes: bool = False
    native_masks: bool = False
    repeats: int = 1


CLINICAL = (512, 512, 600)
TRIALS = (
    Trial(native_masks=True, repeats=5),
    Trial(all_classes=True, repeats=5),
    Trial(CLINICAL),
    Trial(CLINICAL, all_classes=True),
)


def head(dataset: Dataset) -> dict[str, Any]:
    """The line that says on which volumes."""
    return result_line(HEAD, dataset.folder.name, support=dataset.support, case=dataset.test[0])


def measure(
    dataset: Dataset, models: Path = BUNDLE_ROOT / "models", trials: tuple[Trial, ...] = TRIALS
) -> Iterator[dict[str, Any]]:
    """Send the support's strokes to the first test volume; a line a trial.

    Args:
        dataset: the support and the first test volume are used.
        models: holds `NAME/embedding`, and may itself be a segmentation network's folder.
        trials: see `Trial`.
    """
    yield head(dataset)
    for trial in trials:
        costs = []
        for _ in range(trial.repeats):
            with TemporaryDirectory() as folder:
                run = _Run(dataset, models / dataset.folder.name / "embedding", trial, Path(folder))
                costs.append(run.steps() | _inference(models, run.classes, run.file, Path(folder) / "network"))
        name, steps = f"{' x '.join(map(str, run.shape))}, {len(run.classes)} classes", medians(costs)
        yield result_line(SPEED, name, shape=list(run.shape), classes=list(run.classes), steps=steps)


def medians(runs: Sequence[Mapping[str, Cost]]) -> dict[str, Cost]:
    """Of each step the median of its seconds and the most of its memory; `runs_cpu_s`: of each of several runs."""
    found = {}
    for step in runs[0]:
        costs = [run[step] for run in runs]
        seconds = {key: round(float(np.median([cost[key] for cost in costs])), 2) for key in ("cpu_s", "wall_s")}
        found[step] = {**seconds, "peak_mb": max(cost["peak_mb"] for cost in costs)}
        if len(runs) > 1:
            found[step]["runs_cpu_s"] = [cost["cpu_s"] for cost in costs]
    return found


class _Run:
    """One support and one case in a temporary work directory."""

    def __init__(self, dataset: Dataset, embedding: Path, trial: Trial, folder: Path) -> None:
        self.dataset, self.embedding, self.trial = dataset, embedding, trial
        self.support, self.case = dataset.support, dataset.test[0]
        self.classes = dataset.all_classes if trial.all_classes else dataset.classes
        self.work, self.images = WorkFolder(folder / "work"), folder / "images"
        self.spacing_mm = trained_spacing_mm(embedding)
        link_images({self.support: dataset.image(self.support)}, self.images)
        self._cohort(1)
        self.file = self.images / f"{self.case}.nii.gz"
        self.shape = _put(dataset.image(self.case), trial.shape, self.file)

    def steps(self) -> dict[str, Cost]:
        """Step -> what it costs for the case, in the order of a run."""
        work, costs = self.work, {"check and cache": measured(lambda: self._cohort(2))}
        cohort = self._cohort(2)
        SupportMaskStage(
            cohort, work.path, self._part("support_mask", "settings"), "cpu", self._part("support_mask", "kinds")
        ).run()
        mask, mask_record = work.support_mask.label(self.support), work.support_mask.record(self.support)
        first = FirstRoundStage(
            cohort,
            work.first_round.path,
            self.embedding,
            mask,
            self._part("first_round", "settings"),
            *(self._part("first_round", f"stage#{limit}") for limit in ("class_limit", "background_limit")),
        )
        first.run([self.support])
        volume = read_cached(cohort, self.case)
        costs[f"{PART_OF}first round: embedding"] = measured(lambda: first.embed(volume))
        costs["first round"] = self._cost(first)
        costs["first round's masks"] = self._masks(cohort, "first_round_labels", work.first_round, self.spacing_mm)
        by_support_alone = replace(self._part("label_fusion", "settings"), most_atlases=0)
        fusion = LabelFusionStage(cohort, work.path, self.embedding, by_support_alone)
        costs["label fusion"] = self._cost(fusion)
        if self.trial.native_masks:
            costs[ON_OWN_GRID] = self._masks(cohort, "", work.propagation, None)
        costs["masks"] = self._masks(cohort, "", work.propagation, self._part("pseudo_labels", "geodesic_spacing_mm"))
        labels, checks = work.pseudo_labels.path, work.self_check_pseudo_labels
        costs["self-check"] = self._cost(SelfCheckStage(cohort, work.path, mask, mask_record, labels, checks))
        return costs

    def _cohort(self, count: int) -> Cohort:
        return prepare_cohort(
            self.images,
            self.work.path,
            self.spacing_mm,
            self.dataset.image(self.support),
            self.dataset.scribbles(),
            self.classes,
            self.dataset.background,
            count,
        )

    def _masks(
        self, cohort: Cohort, title: str, propagation: PropagationFolder, spacing_mm: Sequence[float] | None
    ) -> Cost:
        """Of label maps that grow at a spacing; `title`: of the stage, where it has a patch of its own."""
        settings = self._part("pseudo_labels", "settings", title, geodesic_spacing_mm=spacing_mm)
        labels = self.work.first_round_labels if title else self.work.pseudo_labels
        record = self.work.support_mask.record(self.support)
        stage = PseudoLabelStage(cohort, propagation.path, labels.path, settings, support_mask_record=record)
        return self._cost(stage)

    def _cost(self, stage: CaseStage) -> Cost:
        return measured(lambda: stage.run([self.case]))

    def _part(self, stage: str, key: str, title: str = "", **changes: Any) -> Any:
        """Of a stage's config, see `component`."""
        settings = RunSettings(
            output=self.work.path,
            images=self.images,
            support=self.dataset.image(self.support),
            scribbles=self.dataset.scribbles(),
            small=True,
            overrides={stage: changes},
        )
        return component(settings, stage, key, title)


def _inference(model: Path, classes: Mapping[str, int], image: Path, folder: Path) -> dict[str, Cost]:
    """`infer` with the network in the folder `model`, if it has these classes; `folder` is made for it."""
    if not (model / "model.pt").is_file() or read_card(model, WEIGHTS, CARD)["classes"] != classes:
        return {}
    link_images({image.name.removesuffix(".nii.gz"): image}, folder / "images")
    return {INFERENCE: measured(lambda: infer_folder(folder / "images", model, folder / "labels", "cpu"))}


def _put(image: Path, shape: Shape | None, file: Path) -> tuple[int, ...]:
    """Put a volume into a file, resampled to `shape`; returns its shape."""
    volume = canonical(read_volume(image))
    if shape is None:
        link_images({file.name.removesuffix(".nii.gz"): image}, file.parent)
        return volume.array.shape
    sizes_mm = np.array(volume.array.shape) * volume.spacing_mm
    finer = resample(volume, (sizes_mm / shape).tolist())
    write_nifti(file, np.rint(finer.array).astype(np.int16), finer.affine)
    return finer.array.shape
