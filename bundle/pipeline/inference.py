"""Label maps of a folder of volumes with a trained segmentation network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bundle.folder_lock import only_command_in
from bundle.output_folder import refuse_run
from bundle.pipeline.configs import deciding_values, device_override, read_configs, run_config
from bundle.pipeline.network_labels import NetworkLabels
from bundle.pipeline.run_of_network import settings_of_run
from bundle.progress.run import RunProgress
from bundle.results.files import JSON_START, TableFiles, free_name, refuse_other_start
from bundle.results.of_run import LabelledCases, result_table
from bundle.results.table import ResultTable
from bundle.results.table_reader import rows_if_whole
from scripts.common.case_stage import CASES, advance, counted, done_before, joined
from scripts.common.errors import BundleError
from scripts.common.files import sha256_of_file
from scripts.common.names import some_of
from scripts.common.sharing.crew import outcomes, present_crew
from scripts.common.work_folder import LabelFolder
from scripts.data.case import check_case_names
from scripts.data.gate.admission import MOST_NAMES, left_out_lines, rejection
from scripts.data.gate.hand_over import handing_over
from scripts.data.gate.modality import AUTO, Modality
from scripts.data.gate.output_space import check_folder
from scripts.data.volume_io import FolderScan, is_plain_nifti, refuse_images_among_results, scan_folder
from scripts.networks.loading import check_modality, read_card
from scripts.networks.segmenter import CARD, WEIGHTS, check_segmentation
from scripts.segmentation.inference_verdicts import InferenceVerdicts, labelled_images, labelled_sources
from scripts.segmentation.items import admit_volumes

logger = logging.getLogger(__name__)

CONFIG = ["inference.json"]
CARD_KEYS = tuple(CARD)
READING = "reading"  # of the volumes, before the network sees any


def infer_folder(
    images: Path,
    model: Path,
    output: Path,
    device: str | None = None,
    keep_probabilities: bool = False,
    modality: str = AUTO,
    structure_sets: bool = False,
) -> ResultTable:
    """Run `configs/inference.json` with the settings of the network's card, and what its run set for inference.

    Label maps it made before are kept.

    Returns:
        What is in `OUTPUT/results.json` and `results.csv`: this folder's cases, and those of folders before whose label
        maps are still there as this network made them.

    Args:
        images: folder of volumes.
        model: folder with `model.pt` and `model.json`, such as `OUTPUT/segmentation`.
        output: where `ID.nii.gz` label maps go.
        device: such as "cpu"; None takes a GPU if there is one.
        keep_probabilities: leave the network's class probabilities in `OUTPUT/probabilities/` as well.
        modality: "ct" or "mr", what all volumes are; "auto" takes those that are what the network was trained on.
        structure_sets: label maps of DICOM series are also written as RT structure sets, not only as segmentations.

    Raises:
        BundleError: no such network, one of the other modality, no usable volume, or an output folder that is the
            images folder, a run's own or in use. A volume that is not usable beside others is left out, and told.
    """
    from bundle.dicom.command import export_inferred

    of_run = settings_of_run(model)
    overrides = of_run | network_overrides(model) | device_override(device)
    trained = _modality(model, modality)
    deciding: Any = deciding_values(read_configs(CONFIG))
    labels = network_labels(model, output, keep_probabilities, [deciding, of_run] if of_run else deciding)
    scan = scan_folder(images)
    check_case_names(scan.volumes)
    refuse_images_among_results(images, output, ("images",), "inference")
    refuse_run(output, "inference")
    table = TableFiles.beside_label_maps(output, scan.volumes)
    table.refuse_foreign("inference")
    progress = RunProgress(output / f"{free_name('progress', scan.volumes)}.json")
    refuse_other_start(progress.file, JSON_START, "the progress", "inference")
    with only_command_in(output), handing_over(), progress.whole():
        check_folder(output, scan.volumes, "inference")
        tabled = {row.case: row.source for row in rows_if_whole(table.json)}
        earlier = _earlier_cases(labels, scan.volumes, labelled_sources(labels.labels) | tabled)
        verdicts = _infer_volumes(scan, images, labels, overrides, trained, progress, earlier)
        export_inferred(labels.labels, scan.volumes, structure_sets)
        cases = LabelledCases(
            classes=overrides["classes"],
            labels=labels.labels,
            sources=earlier
            | {case: file.absolute() for case, file in scan.volumes.items() if case not in verdicts.left_out},
            remarks=verdicts.warnings,
            rejected={
                case: rejection(scan.volumes[case].absolute(), error) for case, error in verdicts.left_out.items()
            },
            networks={"segmentation": model / "model.pt"},
            noted=(labels.labels,),
        )
        results = result_table(cases, output)
        table.write(results)
        gone = [case for case in tabled if case not in scan.volumes | earlier and labels.labels.label(case).exists()]
        if gone:
            words = "%s: of another network or other settings, and not in %s: they have no rows any more in %s"
            logger.warning(words, some_of(gone, MOST_NAMES), images, table.json)
        return results


def _modality(model: Path, asked: str) -> Modality:
    """What the network was trained on, which is what was asked for."""
    if asked != AUTO:
        check_modality(model, WEIGHTS, asked)
    card = read_card(model, WEIGHTS, CARD)
    return Modality(card["modality"], given=asked != AUTO, bias_correction=card["bias_correction"])


def _earlier_cases(labels: NetworkLabels, volumes: Collection[str], sources: Mapping[str, Path]) -> dict[str, Path]:
    """Case -> source, of those known here that are not among the volumes and whose label maps still hold."""
    inputs = labels.inputs(labelled_images(labels.labels))
    others = {case: source for case, source in sources.items() if case not in volumes and case in inputs}
    return {case: source for case, source in others.items() if labels.is_there(case, inputs[case])}


def _infer_volumes(
    scan: FolderScan,
    images: Path,
    labels: NetworkLabels,
    overrides: Mapping[str, Any],
    modality: Modality,
    progress: RunProgress,
    earlier: Collection[str],
) -> InferenceVerdicts:
    volumes, output = scan.volumes, labels.labels.path
    verdicts = InferenceVerdicts({}, {}, {str(file): reason for file, reason in scan.unused})
    inputs = labels.inputs(verdicts.readable(volumes))
    converted = {
        case: output / "images" / f"{case}.nii.gz" for case, file in volumes.items() if not is_plain_nifti(file)
    }
    todo = labels.clear(inputs, converted)
    labels.forget(verdicts.left_out)
    verdicts.recall(labels.labels, {*inputs, *earlier} - set(todo))
    with progress.ahead(READING):
        chosen = {case: volumes[case] for case in todo}
        admitted = admit_volumes(chosen, output, modality, partial(counted, name=READING, total=len(chosen)))
        verdicts.add(admitted)
        done = [case for case in inputs if case not in admitted.left_out]
        if not done:
            raise BundleError(
                "there is no volume to segment",
                stage="inference",
                file=images,
                expected=f"volumes of {modality.name.upper()}",
                found="; ".join(left_out_lines(verdicts.left_out)) or "none",
            )
    verdicts.write(labels.labels, volumes)  # a run that is cut short and goes on knows them
    progress.begin([("inference", "inference")])
    with progress.stage("inference"):
        if admitted.items:
            places = {"output_dir": str(output.absolute()), "keep_probabilities": labels.with_probabilities}
            with done_before(len(done) - len(admitted.items)):
                label_items(run_config, CONFIG, {**overrides, **places}, admitted.items, inputs)
    verdicts.tell(labels.labels, done)
    return verdicts


@dataclass(frozen=True)
class _LabelJob:
    """Runs a config for one volume after the other; for the arguments see `label_items`."""

    run: Callable[[Sequence[str], Mapping[str, Any]], None]
    names: tuple[str, ...]
    overrides: Mapping[str, Any]

    def start(self) -> Callable[[Any], None]:
        return self._label

    def _label(self, item: Mapping[str, Any]) -> None:
        self.run(self.names, {**self.overrides, **item})


def label_items(
    run: Callable[[Sequence[str], Mapping[str, Any]], None],
    names: Sequence[str],
    overrides: Mapping[str, Any],
    items: Sequence[Mapping[str, str]],
    made_of: Mapping[str, str],
) -> None:
    """Label volumes with a trained network: all in one go, or one by one where there are workers.

    Args:
        run: `run_config`.
        names: of the config files.
        overrides: what the run decides.
        items: [{"image", "case"}].
        made_of: case -> fingerprint for its record.

    Raises:
        BundleError: a volume cannot be labelled; by workers the others are, unless memory or the disk is to blame.
    """
    if present_crew() is None or len(items) == 1:
        run(names, {**overrides, "dataset#data": list(items), "made_of": made_of})
        return
    own = {item["case"]: {"dataset#data": [item], "made_of": {item["case"]: made_of[item["case"]]}} for item in items}
    advance(CASES, 0, len(items))
    failed: dict[str, BundleError] = {}
    with closing(outcomes(_LabelJob(run, tuple(names), overrides), own)) as labelled:
        for done, outcome in enumerate(labelled, start=1):
            if outcome.error is not None:
                if outcome.stops_all:
                    raise outcome.error
                failed[outcome.case] = outcome.error
            advance(CASES, done, len(items))
    if failed:
        raise joined(failed, "inference", len(items))


def network_labels(model: Path, output: Path, with_probabilities: bool, settings: Any) -> NetworkLabels:
    """The label maps of the network in the folder `model`, in the folder `output`; see `NetworkLabels`."""
    card = read_card(model, WEIGHTS, CARD)
    network = {"model.pt": sha256_of_file(model / "model.pt"), **{key: card[key] for key in CARD_KEYS}}
    network["classes"] = list(card["classes"].items())
    return NetworkLabels(network, LabelFolder(output), with_probabilities, settings)


def network_overrides(model: Path) -> dict[str, Any]:
    """Keys of `configs/inference.json` that describe the network in the folder `model`.

    Raises:
        BundleError: no network there, its card is damaged, or its weights cannot be read or do not fit the card.
    """
    card = check_segmentation(model)
    return {key: card[key] for key in CARD_KEYS} | {"checkpoint": str(model.absolute() / "model.pt")}


def numbered(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card with label values 1 to K in the order of the channels: what MONAI Label takes from the metadata."""
    return {**card, "classes": {name: value for value, name in enumerate(card["classes"], start=1)}}
