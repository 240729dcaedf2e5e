"""From one scribbled volume to label maps: checks the input once, then runs a mode's stages over a work directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundle.config_check import check_overrides
from bundle.folder_lock import only_command_in
from bundle.output_folder import refuse_foreign
from bundle.pipeline.configs import device_override
from bundle.pipeline.default_mode import support_of
from bundle.pipeline.given.label_maps import accepted_labels, as_nifti, convert_given
from bundle.pipeline.given.named_cases import keep_accepted
from bundle.pipeline.modes import MODES
from bundle.pipeline.plan import Inference, Mode, Stage, Training
from bundle.pipeline.runner import Runner
from bundle.pipeline.settings import RunSettings, save_settings
from bundle.pipeline.state import WorkDirectory
from bundle.pipeline.training_folder import image_hashes
from bundle.progress.run import RunProgress
from bundle.report.page import write_report
from bundle.results.files import TableFiles
from bundle.results.final_labels import note_final_labels
from bundle.results.of_run import LabelledCases, result_table
from bundle.results.table import ResultTable
from scripts.common.errors import BundleError
from scripts.common.files import remove_file
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import Cohort
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.records import parts_of
from scripts.data.scribbles import check_scribbles, keep_remarks
from scripts.data.volume_io import refuse_images_among_results

COHORT = "cohort"  # what comes before the stages


class Pipeline:
    """One run of the method; run again, it continues. Each of its steps keeps other processes out of the output folder.

    Args:
        settings: what the user asked for.
        minimum_cases: fewer good volumes than this are an error.

    Raises:
        BundleError: whatever is wrong with the input or the settings, before any long work and before anything that
            stands in the output folder is changed, or that another command works there.
    """

    def __init__(self, settings: RunSettings, minimum_cases: int = 2) -> None:
        self.settings = settings
        self.output = Path(settings.output).absolute()
        mode = self._checked_mode()
        self.work = WorkFolder(self.output)
        self.directory = WorkDirectory(self.work)
        self.progress = RunProgress(self.work.progress)
        refuse_images_among_results(settings.images, self.output, self.work.names(), "settings")
        given = [] if settings.weights is None else [settings.weights / network for network in mode.networks]
        given += [settings.accepted] if isinstance(settings.accepted, Path) else []
        refuse_foreign(self.work, given)
        self.table = TableFiles(self.work.results_json, self.work.results_csv)
        self.table.refuse_foreign("settings")
        with only_command_in(self.output), self.progress.ahead(COHORT):
            self.cohort: Cohort = prepare_cohort(
                images=settings.images,
                output_dir=self.output,
                spacing_mm=mode.spacing_mm(settings),
                support=settings.support,
                scribbles=settings.scribbles,
                classes=settings.classes,
                background=settings.background,
                minimum_cases=minimum_cases,
                support_mask=settings.support_mask,
                check=lambda cohort: self._check(mode, cohort),
                modality=settings.modality,
                bias_correction=mode.bias_correction(settings),
            )
            keep_remarks(self.cohort, self._remarks)
            convert_given(settings, self.cohort)
            keep_accepted(settings.accepted, self.work, image_hashes(self.cohort))
            self.runner = Runner(self.settings, self.cohort, self.directory)
            save_settings(settings)

    def run(self) -> None:
        """Every stage, from the networks that locate points to label maps; the report is the caller's to ask for."""
        self._expect(self.plan)
        self.train_localisation()
        self.propagate()
        self.train_segmentation()
        self.infer()
        self.self_check()

    def train(self) -> None:
        """What follows on pseudo labels: the segmentation network, label maps, and how far to trust them."""
        plan = self.plan
        self._expect([*plan.training_labels, plan.segmentation, *plan.inference, *plan.self_check])
        self.train_segmentation()
        self.infer()
        self.self_check()

    def train_localisation(self) -> None:
        """Train what locates points, unless weights were given."""
        self._run(self.plan.localisation)

    def propagate(self) -> None:
        """Locate the scribbles in every case and grow pseudo labels from them."""
        self._forget_checks_of_another_mode()
        self._run(self.plan.propagation)

    def train_segmentation(
        self, variant: str = "", changes: Mapping[str, Any] | None = None, labels_dir: Path | None = None
    ) -> Path:
        """Train the segmentation network on the pseudo labels; returns its folder.

        Args:
            variant: name of another training on the same pseudo labels, kept in `OUTPUT/VARIANT/`.
            changes: config key -> value of that variant.
            labels_dir: other label maps to learn from, in the form of pseudo labels.
        """
        stage = self.plan.segmentation
        if labels_dir is None:
            self._run(self.plan.training_labels)
        else:
            stage = _on_other_labels(stage, labels_dir)
        if variant:
            stage = _variant(stage, variant, self.output / variant)
        record = stage.support_mask_record
        if record is not None and record.exists() and (parts := parts_of(record)):
            stage = replace(stage, values={**stage.values, "parts": parts})
        stage = replace(stage, changes={**stage.changes, **(changes or {})})
        self._run([stage])
        return stage.folder

    def infer(self) -> None:
        """Label maps of every case, in `predictions/`."""
        self._forget_checks_of_another_mode()
        self._run(self.plan.inference)

    def _forget_checks_of_another_mode(self) -> None:
        """Where this mode predicts no Dice, what is predicted here is of label maps that another mode made."""
        if self.plan.self_check:
            return
        for folder in (self.work.self_check, self.work.self_check_pseudo_labels):
            for record in folder.glob("*.json"):
                remove_file(record)

    def self_check(self) -> None:
        """Say how far to trust the label maps in `predictions/`, and note of what they are made."""
        self._run(self.plan.self_check)
        note_final_labels(self.work, image_hashes(self.cohort))

    def export(self, structure_sets: bool = False) -> None:
        """Label maps of cases that came as DICOM series also as DICOM, beside `predictions/`.

        Args:
            structure_sets: as RT structure sets, too.
        """
        from bundle.dicom.command import export_run, has_exports, series_of

        if series_of(self.cohort) or has_exports(self.work.predictions):
            self.directory.run("dicom", lambda: export_run(self.cohort, structure_sets))

    def report(self, labels: Path | None = None) -> Path:
        """Write the report; quick, so always done again."""
        return write_report(self.output, labels)

    def write_results(self, final: bool = True) -> ResultTable:
        """Write `results.json` and `results.csv`; quick, so always done again.

        Args:
            final: of the label maps in `predictions/`; else of the pseudo labels.
        """
        work, settings = self.work, self.settings
        networks = {
            stage.title: (stage.folder if settings.weights is None else settings.weights / stage.folder.name)
            for stage in self.plan.localisation
        }
        if final:
            networks[self.plan.segmentation.title] = self.plan.segmentation.folder
        files = {name: folder / "model.pt" for name, folder in networks.items()}
        cases = LabelledCases.of_cohort(
            self.cohort,
            labels=work.predictions if final else work.pseudo_labels,
            checks_dir=work.self_check if final else work.self_check_pseudo_labels,
            networks={name: file for name, file in files.items() if file.exists()},  # whoever trains anew may delete it
            accepted=set(accepted_labels(settings, self.cohort)),
            noted=tuple(stage.labels for stage in self.plan.inference if isinstance(stage, Inference)) if final else (),
        )
        table = result_table(cases, self.output)
        self.table.write(table)
        return table

    def training_labels(self) -> Path:
        """The folder of the pseudo labels that the segmentation network learns from, up to date."""
        self._run(self.plan.training_labels)
        return Path(self.plan.segmentation.inputs["labels"])

    def grow_support_mask(self) -> None:
        """The support's whole organs from its strokes, unless the user gave them.

        Raises:
            BundleError: the mode has no support mask.
        """
        stages = [stage for stage in self.plan if stage.title == "support_mask"]
        if not stages:
            raise BundleError(
                f"mode {self.settings.mode} grows no support mask", stage="support_mask", expected="mode default"
            )
        self._run(stages)

    def support_mask(self) -> Path:
        """The support's label map: accepted by the user, or as grown."""
        support, given = support_of(self.cohort), self.settings.support_mask
        return self.work.support_mask.label(support) if given is None else as_nifti(given, support, self.work)

    def support_mask_record(self) -> Path | None:
        """What is known of how the support mask grew; None where the user gave it."""
        return None if self.settings.support_mask else self.work.support_mask.record(support_of(self.cohort))

    def _check(self, mode: Mode, cohort: Cohort) -> None:
        """Refuse what does not fit the cohort, before anything that stands in the output folder is changed."""
        self.settings = replace(self.settings, modality=cohort.modality)
        mode.check_inputs(self.settings, cohort)
        self.plan = mode.plan(self.settings, cohort)
        self._remarks = check_scribbles(cohort, self.settings.scribbles)

    def _run(self, stages: Iterable[Stage]) -> None:
        stages = list(stages)
        if not self.progress.expects([stage.title for stage in stages]):
            self._expect(stages)
        for stage in stages:
            with self.progress.stage(stage.title):
                self.runner.run(stage)

    def _expect(self, stages: Iterable[Stage]) -> None:
        self.progress.begin([(stage.title, stage.name) for stage in stages])

    def _checked_mode(self) -> Mode:
        settings = self.settings
        if settings.mode not in MODES:
            raise BundleError("unknown mode", stage="settings", expected=", ".join(MODES), found=settings.mode)
        check_overrides(settings)
        device_override(settings.device)
        mode = MODES[settings.mode]
        mode.check_settings(settings)
        if settings.weights is not None:
            mode.check_weights(settings, settings.weights)
        return mode


def _on_other_labels(stage: Training, labels_dir: Path) -> Training:
    """The same training on label maps that no self-check has judged."""
    of_others = {key: None for key in ("checks_dir", "volumes_dir") if key in stage.places}
    places = {**stage.places, "labels_dir": str(labels_dir), **of_others}
    return replace(stage, places=places, inputs={**stage.inputs, "labels": labels_dir, "checks": None})


def _variant(stage: Training, variant: str, folder: Path) -> Training:
    places = {**stage.places, "output_dir": str(folder)}
    return replace(
        stage, title=f"{stage.title}_{variant}", config=stage.name, places=places, folder=folder / "segmentation"
    )
