"""Mode `default`: one embedding network, registration of bodies, label fusion, masks grown from what atlases say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from bundle.pipeline.given.class_values import (
    absent_classes,
    classes_elsewhere,
    exchanged_classes,
    lacking_classes,
    refuse_values_of_no_class,
    values_of,
)
from bundle.pipeline.given.label_maps import accepted_labels, accepted_places, as_nifti
from bundle.pipeline.plan import CaseByCase, Inference, Mode, Plan, Training, always
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.training_folder import (
    chosen_value,
    configured_bias_correction,
    configured_spacing_mm,
    image_hashes,
    modality_values,
    say_unused,
    unsupervised_training,
)
from scripts.common.errors import BundleError
from scripts.common.failures import blamed
from scripts.common.files import read_result
from scripts.common.names import likely_names
from scripts.common.work_folder import LabelFolder, PropagationFolder, WorkFolder
from scripts.data.cohort import Cohort
from scripts.data.reading.alignment import on_grid_of
from scripts.data.scribbles import given_strokes
from scripts.data.volume_io import Volume, check_labels, read_labels, remarks_on_series
from scripts.networks.embedding_weights import WEIGHTS, load_embedding, trained_spacing_mm
from scripts.networks.loading import check_modality, without_bias_field
from scripts.quality.records import STAGE, agreed_dice

logger = logging.getLogger(__name__)

MOST_CASES = 10  # that a sentence names


def plan(settings: RunSettings, cohort: Cohort) -> Plan:
    """The stages of this run, in order."""
    work, support = WorkFolder(cohort.output_dir), support_of(cohort)
    embedding = (settings.weights or work.path) / "embedding"
    network = {"embedding_dir": str(embedding)}
    given_mask = None if settings.support_mask is None else as_nifti(settings.support_mask, support, work)
    mask = {"support_mask": str(given_mask or work.support_mask.label(support))}
    grown = str(work.support_mask.record(support)) if settings.support_mask is None else None
    kinds = grown or str(work.support_kinds / f"{support}.json")
    accepted = {case: str(place) for case, place in accepted_places(settings, cohort).items()}
    given = accepted if given_mask is None else accepted | {support: str(given_mask)}
    joined_checks = work.network.joined_labels.path / STAGE
    kept = accepted | {support: mask["support_mask"]}  # the support keeps its own mask, given or grown
    return Plan(
        localisation=(unsupervised_training("embedding", work.embedding, settings, cohort),),
        propagation=(
            CaseByCase(
                "support_mask", fills=(work.support_mask.path,), condition=lambda: settings.support_mask is None
            ),
            *(() if given_mask is None else (_kinds(work.support_kinds, given_mask),)),
            CaseByCase(
                "first_round",
                places=network | mask | {"propagation_dir": str(work.first_round.path)},
                fills=(work.first_round.path,),
            ),
            _labels("first_round_labels", work.first_round, work.first_round_labels, {}, kinds),
            CaseByCase(
                "label_fusion",
                places={**network, "accepted": accepted},
                fills=(work.propagation.path, work.on_support.path),
            ),
            _labels("pseudo_labels", work.propagation, work.pseudo_labels, kept, kinds),
            _labels(
                "on_support_labels", work.on_support, work.on_support_labels, {}, kinds, work.on_support.path.exists
            ),
            _check("self_check_pseudo_labels", work.pseudo_labels, work.self_check_pseudo_labels, mask, grown),
        ),
        # What is too much in one case, a network claims in all: these labels are rather too small.
        training_labels=(_labels("training_labels", work.propagation, work.training_labels, given, kinds),),
        segmentation=Training(
            "segmentation",
            places={
                "dataset_dir": str(work.path),
                "labels_dir": str(work.training_labels.path),
                "checks_dir": str(work.self_check_pseudo_labels),
                "volumes_dir": str(work.pseudo_labels.path),
                "start_from": str(embedding),
            },
            values={"classes": dict(cohort.classes), **modality_values(cohort)},
            inputs={
                "images": image_hashes(cohort),
                "classes": list(cohort.classes.items()),
                "labels": work.training_labels.path,
                "checks": work.self_check_pseudo_labels,
                "start": embedding / "model.pt",
            },
            deciding={"checks": agreed_dice},
            folder=work.segmentation,
            support_mask_record=Path(kinds),
        ),
        # The network joins the atlases; label maps grow from what they say together, as the pseudo labels did. A class
        # that the self-check then trusts less than the transferred one stays as that is.
        inference=(
            Inference("inference", network=work.segmentation, labels=work.network, with_probabilities=True),
            CaseByCase("ensemble", fills=(work.network.joined.path,)),
            _labels("joined_labels", work.network.joined, work.network.joined_labels, kept, kinds),
            _check("self_check_joined_labels", work.network.joined_labels, joined_checks, mask, grown),
            CaseByCase(
                "choice",
                places={
                    "joined_dir": str(work.network.joined_labels.path),
                    "joined_checks_dir": str(joined_checks),
                    "transferred_dir": str(work.pseudo_labels.path),
                    "transferred_checks_dir": str(work.self_check_pseudo_labels),
                    "labels_dir": str(work.predictions.path),
                },
                fills=(work.predictions.path,),
            ),
        ),
        self_check=(_check("self_check", work.predictions, work.self_check, mask, grown),),
    )


def _kinds(folder: Path, mask: Path) -> CaseByCase:
    """Of which kind the classes of a given support mask are, and in how many parts."""
    places = {"kinds_dir": str(folder), "given": str(mask)}
    return CaseByCase("support_kinds", config="support_mask", places=places, fills=(folder,))


def _labels(
    title: str,
    propagation: PropagationFolder,
    labels: LabelFolder,
    given: Mapping[str, str],
    kinds: str,
    condition: Callable[[], bool] = always,
) -> CaseByCase:
    """Label maps grown from points and class probabilities.

    `given`: case -> label map that is taken as it is; `kinds`: record of what the support's classes are.
    """
    places = {
        "propagation_dir": str(propagation.path),
        "labels_dir": str(labels.path),
        "given": dict(given),
        "support_mask_record": kinds,
    }
    return CaseByCase(title, config="pseudo_labels", places=places, fills=(labels.path,), condition=condition)


def _check(title: str, results: LabelFolder, checks: Path, mask: Mapping[str, str], grown: str | None) -> CaseByCase:
    """How far to trust label maps; `grown`: what the support mask's record says, None of one that the user gave."""
    places = {**mask, "support_mask_record": grown, "results_dir": str(results.path), "checks_dir": str(checks)}
    return CaseByCase(title, config="self_check", places=places, fills=(checks,))


def check_settings(settings: RunSettings) -> None:
    """The support mask and the folder of accepted label maps are there and can be read.

    All label maps are bounded, and there is no PRNet.
    """
    for option, chosen in (("--bounded-labels", settings.bounded_labels), ("--all-pairs", settings.all_pairs)):
        if chosen:
            raise BundleError(f"{option} is of no use in mode default", stage="settings", expected="mode paper")
    accepted_labels(settings)
    if settings.support_mask is not None:
        check_labels(settings.support_mask)


def check_weights(settings: RunSettings, weights: Path) -> None:
    """The network loads and works at the spacing that `--set` asks for."""
    load_embedding(weights / "embedding", chosen_value("embedding", settings, "spacing_mm"))
    say_unused(("embedding",), settings)


def spacing_mm(settings: RunSettings) -> list[float]:
    """Of the given weights, or as configured."""
    if settings.weights is not None:
        return trained_spacing_mm(settings.weights / "embedding")
    return configured_spacing_mm("embedding", settings)


def bias_correction(settings: RunSettings) -> bool:
    """Of the given weights, or as configured."""
    if settings.weights is not None:
        return without_bias_field(settings.weights / "embedding", WEIGHTS)
    return configured_bias_correction("embedding", settings)


def check_inputs(settings: RunSettings, cohort: Cohort) -> None:
    """The weights of the cohort's modality; the support mask on the support's grid, with every class in it; accepted
    label maps on their cases' grids."""
    if settings.weights is not None:
        check_modality(settings.weights / "embedding", WEIGHTS, cohort.modality)
    if settings.support_mask is not None:
        _check_support_mask(settings.support_mask, cohort, settings.scribbles)
    accepted = accepted_labels(settings, cohort)
    if settings.accepted is not None and not accepted:
        logger.warning("no label map is accepted: --accepted names no case, and no folder that holds one")
    others = [name for name in cohort.cases if name != cohort.support]
    for case, file in accepted.items():
        if case not in cohort.cases or case == cohort.support:
            raise BundleError(
                "an accepted label map belongs to no case",
                case=case,
                stage="settings",
                file=file,
                expected="the name of a case but the support, whose label map is --support-mask",
                found=f"beside the support there are {likely_names(case, others, MOST_CASES)}",
            )
        label = _given_labels(file, cohort, case)
        placed = on_grid_of(label, cohort.cases[case], file, "accepted label map's voxels", "the case's")
        sentences = absent_classes(placed.array, cohort.classes)
        if (before := _made_before(cohort, case, file)) is not None and before.shape == placed.array.shape:
            sentences += exchanged_classes(before, placed.array, cohort.classes)
        for sentence in sentences:
            logger.warning("%s: %s: %s", case, file, sentence)


def _made_before(cohort: Cohort, case: str, accepted: Path) -> np.ndarray | None:
    """(X, Y, Z) label values of a case's label map as we made it; None without one, or if that is what was accepted."""
    work = WorkFolder(cohort.output_dir)
    made = next(
        (file for file in (work.predictions.label(case), work.pseudo_labels.label(case)) if file.exists()), None
    )
    if made is None or made.resolve() == accepted.resolve():
        return None
    with suppress(BundleError):  # a damaged one is made again, or set aside, later
        return read_result(made)[0]
    return None


def support_of(cohort: Cohort) -> str:
    """The support's name.

    Raises:
        BundleError: the cohort has none.
    """
    if cohort.support is None:
        raise BundleError("mode default needs a support", stage="settings", file=cohort.output_dir)
    return cohort.support


def _check_support_mask(file: Path, cohort: Cohort, scribbles: Path) -> None:
    support = cohort.cases[support_of(cohort)]
    label = on_grid_of(_given_labels(file, cohort, support.id), support, file, "support mask's voxels")
    values = values_of(cohort.classes)
    if missing := lacking_classes(label.array, cohort.classes):
        raise BundleError(
            "the support mask lacks a class",
            case=cohort.support,
            stage="settings",
            file=file,
            expected=values,
            found="no " + ", ".join(missing),
        )
    strokes = given_strokes(cohort, support.id, scribbles)
    elsewhere = classes_elsewhere(label.array, strokes.array, cohort.classes)
    if exchanged := {name: other for name, other in elsewhere.items() if other is not None}:
        raise BundleError(
            "the support mask has other classes where the strokes are",
            case=cohort.support,
            stage="settings",
            file=file,
            expected=f"values as those of the strokes: {values}",
            found="; ".join(f"strokes of {name} within {other}" for name, other in exchanged.items()),
        )
    for name in elsewhere:
        logger.warning(
            "%s: %s: most strokes of %s lie outside it in this mask: look whether both were drawn on this very volume",
            *(support.id, file, name),
        )


def _given_labels(file: Path, cohort: Cohort, case: str) -> Volume:
    """A label map that was given for a case; what was remarked on it is said here, as the stages read it again."""
    with blamed("settings", case):
        remarks = remarks_on_series(file, cohort.cases[case].source)
        label = read_labels(file, cohort.classes, cohort.cases[case].grid)
    of_values = refuse_values_of_no_class(label.array, cohort.classes, case, file)
    for remark in (*remarks, *label.remarks, *of_values):
        logger.warning("%s: %s: %s", case, file, remark)
    return label


MODE = Mode(("embedding",), check_settings, check_weights, spacing_mm, bias_correction, check_inputs, plan)
