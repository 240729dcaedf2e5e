"""The stages from one scribbled volume to label maps, as one resumable run over a work directory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bundle.pipeline.configs import check_values, deciding_values, device_override, read_configs, run_config
from bundle.pipeline.inference import drop_stale_label_maps, network_overrides
from bundle.pipeline.localisation import LOCALISATIONS
from bundle.pipeline.settings import RunSettings, save_settings
from bundle.pipeline.stages import STAGES, config_names
from bundle.pipeline.state import Stage, WorkDirectory
from bundle.report import write_report
from scripts.common.errors import BundleError
from scripts.common.files import sha256_of_file
from scripts.data.cohort import Cohort
from scripts.data.prepare_cohort import prepare_cohort

logger = logging.getLogger(__name__)


class Pipeline:
    """Checks the input once, then runs stages.

    Args:
        settings: what the user asked for.
        minimum_cases: fewer good volumes than this are an error.

    Raises:
        BundleError: whatever is wrong with the input or the settings, before any long work.
    """

    def __init__(self, settings: RunSettings, minimum_cases: int = 2) -> None:
        self.settings = settings
        self.output = Path(settings.output).absolute()
        if settings.mode not in LOCALISATIONS:
            known = ", ".join(LOCALISATIONS)
            raise BundleError("unknown mode", stage="settings", expected=known, found=settings.mode)
        self.localisation = LOCALISATIONS[settings.mode](settings)
        self._check_settings()
        self.directory = WorkDirectory(self.output)
        self.cohort: Cohort = prepare_cohort(
            images=settings.images,
            output_dir=self.output,
            spacing_mm=self.localisation.spacing_mm(),
            support=settings.support,
            scribbles=settings.scribbles,
            classes=settings.classes,
            background=settings.background,
            minimum_cases=minimum_cases,
        )
        self.localisation.check_accepted(self.cohort)
        save_settings(settings)

    def run(self) -> None:
        """Every stage, from the networks that locate points to label maps; the report is the caller's to ask for."""
        self.train_localisation()
        self.propagate()
        self.train_segmentation()
        self.infer()
        self.self_check()

    def train_localisation(self) -> None:
        """Train what locates points, unless weights were given."""
        if self.settings.weights is None:
            self.localisation.train(self)

    def train_unsupervised(self, stage: str, folder: Path) -> None:
        """Train one network on the unlabelled volumes, some of them left out for validation."""
        count = self._validation_count(stage)
        overrides = {
            "cohort": {"_target_": "scripts.data.cohort.load_cohort", "output_dir": "@output_dir"},
            "validation_count": count,
        }
        self.run_stage(stage, overrides, [self.image_hashes(), self.cohort.split(count)], folder)

    def propagate(self) -> None:
        """Locate the scribbles in every case and grow pseudo labels from them."""
        self.localisation.propagate(self)

    def run_stage(
        self,
        stage: str,
        overrides: Mapping[str, Any],
        inputs: Any,
        folder: Path | None = None,
        after: Sequence[str] = (),
        variant: str = "",
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a stage if its settings, its inputs or the stages `after` which it comes have changed.

        `changes` are settings that not even `--set` can change.
        """
        values = {"output_dir": str(self.output), **overrides}
        self._run(stage, lambda: values, inputs, folder, after, variant, changes)

    def train_segmentation(
        self, variant: str = "", changes: Mapping[str, Any] | None = None, labels_dir: Path | None = None
    ) -> Path:
        """Train the segmentation network on the pseudo labels; returns its folder.

        Args:
            variant: name of another training on the same pseudo labels, kept in `OUTPUT/VARIANT/`.
            changes: config key -> value of that variant.
            labels_dir: other label maps to learn from, in the form of pseudo labels.
        """
        root = self.output / variant
        overrides = {"output_dir": str(root), "dataset_dir": str(self.output), "classes": dict(self.cohort.classes)}
        more, inputs, after = self.localisation.segmentation_needs(self)
        if labels_dir is None:
            labels_dir = self.localisation.training_labels(self)
        else:
            inputs, after = [inputs, self.image_hashes(), _label_hashes(labels_dir)], []
        overrides["labels_dir"] = str(labels_dir)
        folder = root / "segmentation"
        self._run("segmentation", lambda: overrides | more, inputs, folder, after, variant, changes)
        return folder

    def infer(self) -> None:
        """Label maps of every case, in `predictions/`."""
        self.localisation.infer(self)

    def predict(self, folder: Path, overrides: Mapping[str, Any] | None = None) -> None:
        """Label maps of every case with the trained network alone; those that exist are kept."""
        values = partial(self._cases_to_predict, folder, overrides or {})
        self._run("inference", values, self.image_hashes(), folder, ["segmentation"])

    def self_check(self) -> None:
        """Say how far to trust the label maps in `predictions/`."""
        self.localisation.self_check(self)

    def report(self, labels: Path | None = None) -> Path:
        """Write the report; quick, so always done again."""
        return write_report(self.output, labels)

    def _run(
        self,
        stage: str,
        overrides: Callable[[], dict[str, Any] | None],
        inputs: Any,
        folder: Path | None = None,
        after: Sequence[str] = (),
        variant: str = "",
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a stage's configs if something changed; `overrides` is asked then, and says None if nothing is left."""
        names = self._names(stage)
        config = read_configs(names)
        wanted = {**self.settings.overrides.get(stage, {}), **(changes or {})}
        device = device_override(self.settings.device) if "device" in config else {}

        def action() -> None:
            values = overrides()
            if values is not None:
                run_config(names, values | wanted | device)

        name = f"{stage}_{variant}" if variant else stage
        # Places and devices do not change a result, so they are left out of the fingerprint.
        self.directory.run(Stage(name, action, [deciding_values(config), wanted], inputs, after, folder))

    def _cases_to_predict(self, folder: Path, more: Mapping[str, Any]) -> dict[str, Any] | None:
        network = self.output / "segmentation"
        overrides = network_overrides(network) | more
        drop_stale_label_maps(network, folder, self.image_hashes())
        cases = [case for case in self.cohort.cases.values() if not (folder / f"{case.id}.nii.gz").exists()]
        if not cases:
            return None
        items = [{"image": str(case.image), "case": case.id} for case in cases]
        return overrides | {"output_dir": str(folder), "dataset#data": items}

    def _check_settings(self) -> None:
        settings = self.settings
        for stage, overrides in settings.overrides.items():
            if stage not in STAGES[settings.mode]:
                problem, known = f"mode {settings.mode} has no such stage", ", ".join(STAGES[settings.mode])
                raise BundleError(problem, stage="settings", expected=known, found=stage)
            check_values(self._names(stage), overrides)
        device_override(settings.device)
        if settings.weights is not None:
            self.localisation.check_weights(settings.weights)

    def _names(self, stage: str) -> list[str]:
        return config_names(stage, self.settings)

    def image_hashes(self) -> dict[str, str]:
        """Case -> fingerprint."""
        return {name: case.sha256 for name, case in self.cohort.cases.items()}

    def scribble_hashes(self) -> list[Any]:
        """Fingerprint of the supervision: strokes, classes in order, which case is the support."""
        return [sha256_of_file(self.cohort.scribbles), list(self.cohort.classes.items()), self.cohort.support]

    def _validation_count(self, stage: str) -> int:
        """As configured; but where nobody asked for it, no more than a quarter of the cases."""
        wanted = self.settings.overrides.get(stage, {})
        if "validation_count" in wanted:
            return wanted["validation_count"]
        return min(read_configs(self._names(stage))["validation_count"], len(self.cohort.cases) // 4)


def _label_hashes(folder: Path) -> dict[str, str]:
    """Label map -> fingerprint."""
    return {file.name: sha256_of_file(file) for file in sorted(folder.glob("*.nii.gz"))}
