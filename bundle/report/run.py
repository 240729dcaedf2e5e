"""What a work directory holds but for its cases, read tolerantly: a damaged file becomes a sentence, never an error."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bundle.pipeline.given.label_maps import label_maps_in
from bundle.pipeline.stages import are_labels_bounded
from bundle.results.final_labels import has_final_labels, is_support_mask_newer, labelled_images
from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.common.schema import is_finite
from scripts.common.work_folder import LabelFolder, WorkFolder
from scripts.data.cohort import Cohort, load_cohort
from scripts.data.records import PropagationRecord
from scripts.data.volume_io import find_label_maps

logger = logging.getLogger(__name__)

Content = TypeVar("Content")

OLD_PREDICTIONS = (
    "The final labels in predictions are of before, or were not finished: transferred labels are shown instead. The "
    "command oneshot or train makes final labels again."
)
OLD_LABELS = "The label maps are of before: the support mask grew anew since. The command oneshot makes them again."

OTHER_IMAGES = (
    "These cases' images were replaced since their label maps were made, so that the two belong to each other no more; "
    "the command oneshot labels them anew:"
)
MOST_NAMED = 10
DEFAULT_MODE = "default"


@dataclass(frozen=True)
class Choices:
    """What the user asked for, as `run.json` says; the fields are empty where it is missing or damaged.

    Attributes:
        mode: of the method.
        small: the configuration for two CPU cores.
        bounded_labels: no class may flood what surrounds it.
        all_pairs: PRNet learnt from all pairs of patches.
        weights: folder of networks that were given instead of being trained.
        support_mask: label map of the support that was given instead of being grown.
        accepted: cases whose label maps the user accepted.
    """

    mode: str | None = None
    small: bool = False
    bounded_labels: bool = False
    all_pairs: bool = False
    weights: str | None = None
    support_mask: Path | None = None
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True)
class StageTime:
    """What one stage took.

    Attributes:
        stage: name.
        done: it came to its end.
        seconds: of all its runs together.
        peak_memory_mb: None where it was not measured.
    """

    stage: str
    done: bool
    seconds: float
    peak_memory_mb: float | None


@dataclass(frozen=True)
class Run:
    """Everything of a work directory that is not about one case.

    Attributes:
        folder: the work directory.
        cohort: None where there is no readable `cohort.json`.
        classes: class name -> label value.
        case_ids: sorted.
        labels: case -> true label map, for the cases that have one.
        choices: what the user asked for.
        times: what each stage took, in their order.
        notes: sentences about files that could not be read.
    """

    folder: WorkFolder
    cohort: Cohort | None
    classes: Mapping[str, int]
    case_ids: tuple[str, ...]
    labels: Mapping[str, Path]
    choices: Choices = Choices()
    times: tuple[StageTime, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def support(self) -> str | None:
        """Identifier of the scribbled case."""
        return None if self.cohort is None else self.cohort.support

    def image(self, case: str) -> Path | None:
        """The case's image, if the cohort names one that exists."""
        if self.cohort is None or case not in self.cohort.cases:
            return None
        return self.existing(self.cohort.cases[case].image)

    def existing(self, stored: Path | None) -> Path | None:
        """A path of `cohort.json`, relative ones to the work directory; None if nothing is there."""
        if stored is None:
            return None
        return next((path for path in (stored, self.folder.path / stored) if path.exists()), None)

    def label_maps(self, case: str) -> dict[str, Path]:
        """Those of "pseudo", "prediction", "truth" that exist for a case, a prediction only if they all are current."""
        paths = {
            "pseudo": self.folder.pseudo_labels.label(case),
            "prediction": self.folder.predictions.label(case) if self.has_predictions else None,
            "truth": self.labels.get(case),
        }
        return {name: path for name, path in paths.items() if path is not None and path.exists()}

    def propagation(self, case: str) -> PropagationRecord | None:
        """What was sent to a case; None where its record is missing or damaged."""
        return tolerant(PropagationRecord.read, self.folder.propagation.record(case))[0]

    @cached_property
    def has_predictions(self) -> bool:
        """Whether there are final label maps, made of the present pseudo labels."""
        return has_final_labels(self.folder)

    @cached_property
    def has_support_mask_alone(self) -> bool:
        """Whether nothing was made so far but the support mask, as the command `support-mask` leaves a folder."""
        folder, support = self.folder, self.support
        if support is None or not (self.choices.support_mask or folder.support_mask.label(support).exists()):
            return False
        made = (folder.propagation.path.glob("*.json"), *(part.path.glob("*.nii.gz") for part in _maps_of(folder)))
        return not folder.embedding.exists() and not any(any(files) for files in made)

    @cached_property
    def has_old_predictions(self) -> bool:
        """Whether there are final label maps, but of pseudo labels before."""
        return not self.has_predictions and any(self.folder.predictions.path.glob("*.nii.gz"))

    @property
    def age_notes(self) -> tuple[str, ...]:
        """Sentences on label maps that were made before what they depend on."""
        notes = (OLD_PREDICTIONS,) * self.has_old_predictions + (OLD_LABELS,) * is_support_mask_newer(self.folder)
        if self.has_predictions and (replaced := self._replaced()):
            notes += (
                f"{OTHER_IMAGES} {', '.join(replaced[:MOST_NAMED])}{' and more' * (len(replaced) > MOST_NAMED)}.",
            )
        return notes

    def _replaced(self) -> list[str]:
        """Cases whose final label maps are of another image than they have now."""
        cases = {} if self.cohort is None else self.cohort.cases
        noted = labelled_images(self.folder)
        return [name for name, case in cases.items() if noted.get(name, case.sha256) != case.sha256]

    @property
    def results(self) -> LabelFolder:
        """The label maps that count: the final ones, or, where there are none of these pseudo labels, those."""
        return self.folder.predictions if self.has_predictions else self.folder.pseudo_labels

    @property
    def checks_dir(self) -> Path:
        """What the self-check says of them."""
        return self.folder.self_check if self.has_predictions else self.folder.self_check_pseudo_labels

    @property
    def has_bounded_labels(self) -> bool:
        """Whether no class of mode `paper` may flood what surrounds it: as its label maps record, else as asked for."""
        records = (tolerant(read_json, self.folder.pseudo_labels.record(case))[0] for case in self.case_ids)
        rules = (record.get("settings") for record in records if isinstance(record, dict))
        rule = next((rule for rule in rules if isinstance(rule, dict)), None)
        return (
            self.choices.bounded_labels if rule is None else self.choices.mode == "paper" and bool(rule.get("growth"))
        )

    @property
    def is_phantom(self) -> bool:
        """Whether the cohort is synthetic: `dataset.json` beside the images says so, or an assumption does."""
        assumptions = () if self.cohort is None else self.cohort.assumptions
        if any("phantom" in assumption.lower() for assumption in assumptions):
            return True
        sources = [] if self.cohort is None else [case.source for case in self.cohort.cases.values()]
        folders = {self.folder.path, *(source.parent.parent for source in sources)}
        datasets = [tolerant(read_json, folder / "dataset.json")[0] for folder in folders]
        return any(isinstance(dataset, dict) and dataset.get("phantom") is True for dataset in datasets)


def load_run(output_dir: Path, labels: Path | None = None) -> Run:
    """Read the run's own files. Raises BundleError only if `output_dir` or `labels` is no folder."""
    if not output_dir.is_dir():
        raise BundleError("the work directory is missing", stage="report", file=output_dir, expected="a folder")
    folder = WorkFolder(output_dir)
    cohort, cohort_notes = tolerant(lambda file: load_cohort(file.parent), folder.cohort)
    state, state_notes = tolerant(read_json, folder.state)
    settings, settings_notes = tolerant(read_json, folder.settings)
    case_ids = tuple(sorted(cohort.cases if cohort is not None and cohort.cases else _cases_of_results(folder)))
    truth = {} if labels is None else {case: path for case, path in find_label_maps(labels).items() if case in case_ids}
    labels_notes = [f"The labels folder {labels} holds none of the cases."] if labels is not None and not truth else []
    return Run(
        folder=folder,
        cohort=cohort,
        classes=cohort.classes if cohort is not None and cohort.classes else _classes_of_results(folder),
        case_ids=case_ids,
        labels=truth,
        choices=_choices(settings, cohort),
        times=_times(state),
        notes=(*cohort_notes, *state_notes, *settings_notes, *labels_notes),
    )


def tolerant(read: Callable[[Path], Content], file: Path) -> tuple[Content | None, tuple[str, ...]]:
    """What a file holds, None if it is missing or damaged, and in the latter case a sentence that says so."""
    if not file.exists():
        return None, ()
    try:
        return read(file), ()
    except BundleError:
        return None, (f"{file.name} is damaged and was left out.",)


def warnings_of(record: Path) -> list[str]:
    """Sentences under `warnings` of a record; none of one that is missing or damaged."""
    content, _ = tolerant(read_json, record)
    warnings = content.get("warnings") if isinstance(content, dict) else None
    return [str(sentence) for sentence in warnings] if isinstance(warnings, list) else []


def read_curve(path: Path) -> dict[str, np.ndarray]:
    """Columns of a curve.csv as floats, NaN where empty; {} if the file is missing or damaged."""
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = rows[0].keys() if rows else ()
        return {column: np.array([float(row[column] or math.nan) for row in rows]) for column in columns}
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.info("no curve in %s (%s)", path, error)
        return {}


def _choices(settings: Any, cohort: Cohort | None) -> Choices:
    if not isinstance(settings, dict):
        return Choices()
    mode, small = _text(settings.get("mode")), bool(settings.get("small"))
    bounded = settings.get("bounded_labels", False)  # versions before 0.4 could not
    support_mask = _text(settings.get("support_mask"))
    return Choices(
        mode=mode,
        small=small,
        bounded_labels=are_labels_bounded(mode, small, None if bounded is None else bool(bounded)),
        all_pairs=bool(settings.get("all_pairs")),
        weights=_text(settings.get("weights")),
        support_mask=None if support_mask is None else Path(support_mask),
        accepted=_accepted(settings.get("accepted"), cohort),
    )


def _accepted(value: Any, cohort: Cohort | None) -> tuple[str, ...]:
    """Names, or those of the label maps in a folder, as the run took them."""
    if isinstance(value, list):
        return tuple(str(name) for name in value)
    if not isinstance(value, str) or not value:
        return ()
    maps, _ = tolerant(lambda folder: label_maps_in(folder, cohort), Path(value))
    return tuple(maps or ())


def _times(state: Any) -> tuple[StageTime, ...]:
    entries = state.items() if isinstance(state, dict) else ()
    return tuple(
        StageTime(stage, bool(entry.get("done")), float(entry["seconds"]), _number(entry.get("peak_memory_mb")))
        for stage, entry in entries
        if isinstance(entry, dict) and is_finite(entry.get("seconds"))
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    return float(value) if is_finite(value) else None


def _maps_of(folder: WorkFolder) -> tuple[LabelFolder, ...]:
    return folder.pseudo_labels, folder.predictions


def _cases_of_results(folder: WorkFolder) -> set[str]:
    """Identifiers by the files of the stages, for a folder without cohort.json."""
    propagated = {file.stem for file in folder.propagation.path.glob("*.json")}
    maps = [file for part in _maps_of(folder) for file in part.path.glob("*.nii.gz")]
    return propagated | {file.name.removesuffix(".nii.gz") for file in maps}


def _classes_of_results(folder: WorkFolder) -> Mapping[str, int]:
    files = sorted(folder.propagation.path.glob("*.json"))
    records = (tolerant(PropagationRecord.read, file)[0] for file in files)
    return next((record.classes for record in records if record is not None and record.classes), {})
