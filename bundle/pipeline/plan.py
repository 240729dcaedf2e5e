"""What a mode is made of: its stages as values, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundle.pipeline.settings import RunSettings
from scripts.common.work_folder import LabelFolder
from scripts.data.cohort import Cohort


def always() -> bool:
    """The condition of most stages."""
    return True


@dataclass(frozen=True)
class Stage:
    """One step of a mode.

    Attributes:
        title: what the log, messages and `configs/TITLE/` call it: a patch there, of this stage alone, is stronger than
            `--set`.
        config: what the configs and `--set` call it; "" for the title.
        places: config key -> where it reads and writes.
        values: config key -> what else the run decides.
        changes: config key -> value that not even `--set` can change.
        condition: whether it is a stage of this run, asked when its turn has come.
    """

    title: str
    config: str = field(default="", kw_only=True)
    places: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    values: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    changes: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    condition: Callable[[], bool] = field(default=always, kw_only=True)

    @property
    def name(self) -> str:
        """What the configs and `--set` call it."""
        return self.config or self.title


@dataclass(frozen=True)
class CaseByCase(Stage):
    """A stage whose config looks at each case's record itself (`CaseStage`).

    Attributes:
        fills: folders that the records lie in.
    """

    fills: tuple[Path, ...] = field(kw_only=True)


@dataclass(frozen=True)
class Training(Stage):
    """A stage that fills one folder with a network.

    Attributes:
        folder: the network's.
        inputs: name -> what its result depends on besides its settings: a value, or a `Path` whose content counts.
        deciding: name of an input that is a `Path` -> what of its content decides, where the rest is only told.
        support_mask_record: says in how many parts organs are, which the network's card tells; None where nobody knows.
        version: of how it is trained, see `CaseStage.version`; raise it only where networks that are there should be
            trained again.
    """

    folder: Path = field(kw_only=True)
    inputs: Mapping[str, Any] = field(kw_only=True)
    deciding: Mapping[str, Callable[[Path], Any]] = field(default_factory=dict, kw_only=True)
    support_mask_record: Path | None = field(default=None, kw_only=True)
    version: int = field(default=1, kw_only=True)

    def deciding_content(self) -> dict[str, Any]:
        """Name of an input -> what of its content decides, of those of which not all does."""
        return {name: read(path) for name, read in self.deciding.items() if (path := self.inputs[name]) is not None}


@dataclass(frozen=True)
class Inference(Stage):
    """A stage in which a trained network labels every case.

    Attributes:
        network: its folder.
        labels: what it fills.
        with_probabilities: whether its class probabilities are kept as well.
    """

    network: Path = field(kw_only=True)
    labels: LabelFolder = field(kw_only=True)
    with_probabilities: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Plan:
    """A mode's stages, in the order in which they run.

    Attributes:
        localisation: trains what locates points.
        propagation: from the support's scribbles to pseudo labels of every case.
        training_labels: from those to the label maps that the segmentation network learns from.
        segmentation: trains that network.
        inference: from it to label maps in `predictions/`.
        self_check: says how far to trust them.
    """

    localisation: tuple[Training, ...]
    propagation: tuple[Stage, ...]
    training_labels: tuple[Stage, ...]
    segmentation: Training
    inference: tuple[Stage, ...]
    self_check: tuple[Stage, ...]

    def __iter__(self) -> Iterator[Stage]:
        yield from (*self.localisation, *self.propagation, *self.training_labels, self.segmentation)
        yield from (*self.inference, *self.self_check)


@dataclass(frozen=True)
class Mode:
    """What a mode checks before any work, and its stages.

    Attributes:
        networks: sub-folders of the networks that it needs in a set of weights.
        check_settings: refuses further input that the mode has no use for or that is not there.
        check_weights: refuses given weights that do not load or do not fit.
        spacing_mm: the working spacing.
        bias_correction: whether the bias field of MR is divided out.
        check_inputs: refuses further input that does not fit the cohort.
        plan: its stages.
    """

    networks: tuple[str, ...]
    check_settings: Callable[[RunSettings], None]
    check_weights: Callable[[RunSettings, Path], None]
    spacing_mm: Callable[[RunSettings], list[float]]
    bias_correction: Callable[[RunSettings], bool]
    check_inputs: Callable[[RunSettings, Cohort], None]
    plan: Callable[[RunSettings, Cohort], Plan]
