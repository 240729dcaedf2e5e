"""What is exported of a run's or of `infer`'s output folder, and to which series it belongs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.dicom.export import STAGE, Export
from bundle.pipeline.network_labels import FOLDER_RECORD
from bundle.pipeline.training_folder import image_hashes
from bundle.results.final_labels import has_final_labels, labelled_images
from bundle.results.table_reader import label_map_rows, table_of
from scripts.common.case_stage import joined
from scripts.common.errors import BundleError
from scripts.common.failures import blamed
from scripts.common.files import read_json
from scripts.common.work_folder import LabelFolder, WorkFolder
from scripts.data.cohort import Cohort, load_cohort
from scripts.data.gate.modality import AS_CT, Modality
from scripts.data.reading.volume import some_names
from scripts.data.volume_cache import image_fingerprint
from scripts.data.volume_io import case_id, find_volumes, is_dicom_series
from scripts.segmentation import inference_verdicts

logger = logging.getLogger(__name__)


def series_of(cohort: Cohort) -> dict[str, Path]:
    """Case -> its DICOM series, of those that came as one."""
    return {name: case.source for name, case in cohort.cases.items() if is_dicom_series(case.source)}


def has_exports(labels: LabelFolder) -> bool:
    """Whether an earlier command wrote label maps as DICOM, which may be of former label maps now."""
    return any(folder.path.is_dir() for folder in (labels.segmentations, labels.structure_sets))


def export_run(cohort: Cohort, structure_sets: bool) -> bool:
    """Write the final label maps of a run's DICOM series as DICOM; whether there was anything to write.

    What cannot be written is told and stops nothing.
    """
    work = WorkFolder(cohort.output_dir)
    export = Export(work.predictions, cohort.classes, work.self_check, structure_sets)
    return _tolerantly(export, series_of(cohort), image_hashes(cohort))


def export_inferred(labels: LabelFolder, volumes: Mapping[str, Path], structure_sets: bool) -> bool:
    """Write the label maps that `infer` made of DICOM series as DICOM; as `export_run`."""
    sources = {case: source for case, source in volumes.items() if is_dicom_series(source)}
    return _tolerantly(Export(labels, _classes(labels), None, structure_sets), sources, {})


def export_folder(output: Path, dicom: Sequence[Path], structure_sets: bool) -> LabelFolder:
    """Write the label maps of an output folder as DICOM, whether a run or `infer` made it.

    Args:
        output: the folder.
        dicom: folders of series, or series, called as the cases are; needed where the cases did not come as DICOM, or
            their series lie elsewhere now.
        structure_sets: also as RT structure sets.

    Returns:
        The label maps, whose `segmentations` and `structure_sets` were filled.

    Raises:
        BundleError: there is nothing to export, or not all of it could be: what could is written.
    """
    content, named = _content(output), _named(dicom)
    labels = content.labels
    known = {**content.sources, **named}
    sources = {case: source for case, source in known.items() if labels.label(case).exists()}
    if not sources:
        raise BundleError(
            "no label map belongs to a DICOM series that is known",
            stage=STAGE,
            file=labels.path,
            expected="--dicom with the series' folders, called as the label maps are",
            found=some_names(sorted(labels.path.glob("*.nii.gz"))) or "no label maps",
        )
    _tell_unmatched(labels, sources, dicom)
    own = {case: content.images[case] for case in sources if case in content.images and case not in named}
    replaced = dict(content.replaced({case: sources[case] for case in own}))
    export = Export(labels, content.classes, content.checks, structure_sets)
    _, failed = export.run({case: source for case, source in sources.items() if case not in replaced}, own)
    if failed := replaced | failed:
        raise joined(failed, STAGE, len(sources))
    return labels


def _tell_unmatched(labels: LabelFolder, sources: Mapping[str, Path], dicom: Sequence[Path]) -> None:
    """Say which label maps have no series, and which of the folders no series of a label map."""
    if lacking := [file for file in sorted(labels.path.glob("*.nii.gz")) if case_id(file) not in sources]:
        logger.warning("no DICOM series is known of %s; name it with --dicom", some_names(lacking))
    if useless := [folder for folder in dicom if not any(case in sources for case in _named([folder]))]:
        logger.warning("no label map is called like a series of %s", some_names(useless))


@dataclass(frozen=True)
class _Content:
    """What an output folder holds.

    Attributes:
        labels: the label maps.
        classes: name -> value.
        checks: the self-check's records, if there are any.
        sources: case -> its DICOM series, where that is known.
        images: case -> fingerprint of what its label map was made of, where that is known.
        modality: what the fingerprints are of.
    """

    labels: LabelFolder
    classes: Mapping[str, int]
    checks: Path | None
    sources: Mapping[str, Path]
    images: Mapping[str, str]
    modality: Modality = AS_CT

    def replaced(self, sources: Mapping[str, Path]) -> Iterator[tuple[str, BundleError]]:
        """Cases whose series is another now than the one that was labelled: it may be another patient's."""
        for case, source in sources.items():
            try:
                with blamed(STAGE, case):
                    if image_fingerprint(source, self.modality) != self.images[case]:
                        raise BundleError(
                            "the series was replaced since its label map was made",
                            file=source,
                            expected="the same command again that made the label map, or --dicom with a series that "
                            "it fits",
                            found="other files",
                        )
            except BundleError as error:
                yield case, error


def _content(output: Path) -> _Content:
    work = WorkFolder(output.absolute())
    if work.cohort.exists():
        cohort = load_cohort(output)
        if any(work.predictions.path.glob("*.nii.gz")) and not has_final_labels(work):
            logger.warning(
                "the label maps in %s are of before: transferred labels changed since", work.predictions.path
            )
        modality = Modality(cohort.modality, bias_correction=cohort.bias_correction)
        # A command that made no label maps may have noticed an image that was replaced.
        sources, images = series_of(cohort), image_hashes(cohort) | labelled_images(work)
        return _Content(work.predictions, cohort.classes, work.self_check, sources, images, modality)
    labels = LabelFolder(output.absolute())
    return _Content(
        labels, _classes(labels), None, _tabled(table_of(labels.path)), inference_verdicts.labelled_images(labels)
    )


def _tabled(table: Path) -> dict[str, Path]:
    """Case -> its DICOM series, of those that the table of results names and that are still where they were."""
    sources = {row.case: row.source for row in label_map_rows(table)}
    return {case: source for case, source in sources.items() if source.exists() and is_dicom_series(source)}


def _classes(labels: LabelFolder) -> dict[str, int]:
    """Those of the network that made the label maps."""
    file = labels.path / FOLDER_RECORD
    expected = "an output folder of `oneshot`, `train` or `infer`"
    if not file.exists():
        raise BundleError("this folder holds no results", stage=STAGE, file=labels.path, expected=expected)
    content = read_json(file, expected)
    try:
        return {str(name): int(value) for name, value in content["network"]["classes"]}
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError("the record is damaged", stage=STAGE, file=file, expected=expected, found=error) from error


def _named(folders: Sequence[Path]) -> dict[str, Path]:
    """Case -> series, of folders of series and of series themselves."""
    found: dict[str, Path] = {}
    for folder in folders:
        volumes = find_volumes(folder)
        found |= {case: source for case, source in volumes.items() if is_dicom_series(source)}
        loose = [source for source in volumes.values() if source.parent == folder and not source.is_dir()]
        if loose:
            found[folder.absolute().name] = folder
    return found


def _tolerantly(export: Export, sources: Mapping[str, Path], marks: Mapping[str, str]) -> bool:
    present = {case: source for case, source in sources.items() if export.labels.label(case).exists()}
    try:
        done, failed = export.run(present, marks)
    except BundleError as error:
        logger.warning("not written as DICOM: %s", " ".join(str(error).split()))
        return False
    _tell(failed)
    return bool(done)


def _tell(failed: Mapping[str, BundleError]) -> None:
    for case, error in failed.items():
        logger.warning("%s: not written as DICOM: %s", case, " ".join(str(error).split()))
