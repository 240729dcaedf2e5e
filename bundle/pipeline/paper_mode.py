"""Mode `paper`: coarse and fine PRNet, scribbles point by point, geodesic masks, a segmentation network."""

from __future__ import annotations

from pathlib import Path

from bundle.pipeline.plan import CaseByCase, Inference, Mode, Plan, Training
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.training_folder import (
    chosen_value,
    configured,
    configured_bias_correction,
    configured_spacing_mm,
    image_hashes,
    modality_values,
    say_unused,
    unsupervised_training,
)
from scripts.common.errors import BundleError
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import Cohort
from scripts.networks.loading import check_modality, without_bias_field
from scripts.networks.prnet_weights import WEIGHTS, load_prnet, trained_spacing_mm

NETWORKS = {"prnet_coarse": "coarse", "prnet_fine": "fine"}  # stage -> sub-folder


def plan(settings: RunSettings, cohort: Cohort) -> Plan:
    """The stages of this run, in order."""
    work = WorkFolder(cohort.output_dir)
    prnet = settings.weights or work.prnet
    return Plan(
        localisation=tuple(
            unsupervised_training(stage, work.prnet / name, settings, cohort) for stage, name in NETWORKS.items()
        ),
        propagation=(
            *((_first_points(prnet, work),) if configured("point_propagation", settings, "most_atlases") else ()),
            CaseByCase("point_propagation", places={"prnet_dir": str(prnet)}, fills=(work.propagation.path,)),
            CaseByCase("pseudo_labels", places={"fine_dir": str(prnet / "fine")}, fills=(work.pseudo_labels.path,)),
        ),
        training_labels=(),
        segmentation=Training(
            "segmentation",
            places={"dataset_dir": str(work.path), "labels_dir": str(work.pseudo_labels.path)},
            values={"classes": dict(cohort.classes), **modality_values(cohort)},
            inputs={
                "images": image_hashes(cohort),
                "classes": list(cohort.classes.items()),
                "labels": work.pseudo_labels.path,
            },
            folder=work.segmentation,
        ),
        inference=(Inference("inference", network=work.segmentation, labels=work.predictions),),
        self_check=(),
    )


def _first_points(prnet: Path, work: WorkFolder) -> CaseByCase:
    """Points of all cases, located directly, one by one: the best of them are atlases for each other one."""
    return CaseByCase(
        "first_points",
        config="point_propagation",
        places={"prnet_dir": str(prnet), "propagation_dir": str(work.first_round.path)},
        changes={"most_atlases": 0, "body_map": False, "case_ids": None},
        fills=(work.first_round.path,),
    )


def check_weights(settings: RunSettings, weights: Path) -> None:
    """Both networks load, work at one spacing, and are what `--set` says they should be."""
    for stage, name in NETWORKS.items():
        spacing_mm = chosen_value(stage, settings, "spacing_mm") or trained_spacing_mm(weights)
        load_prnet(weights / name, spacing_mm, chosen_value(stage, settings, "patch_size"))
    say_unused(NETWORKS, settings)


def spacing_mm(settings: RunSettings) -> list[float]:
    """Of the given weights, or as configured; one for both networks."""
    if settings.weights is not None:
        return trained_spacing_mm(settings.weights)
    chosen = [chosen_value(stage, settings, "spacing_mm") for stage in NETWORKS]
    if chosen[0] != chosen[1]:
        raise BundleError(
            "both PRNets need one spacing", stage="settings", expected="the same spacing_mm", found=chosen
        )
    return configured_spacing_mm("prnet_coarse", settings)


def bias_correction(settings: RunSettings) -> bool:
    """Of the given weights, or as configured."""
    if settings.weights is not None:
        return without_bias_field(settings.weights / NETWORKS["prnet_coarse"], WEIGHTS)
    return configured_bias_correction("prnet_coarse", settings)


def check_settings(settings: RunSettings) -> None:
    """Mode `paper` knows strokes only."""
    for option, given in (("--support-mask", settings.support_mask), ("--accepted", settings.accepted)):
        if given is not None:
            raise BundleError(
                f"{option} is of no use in mode paper",
                stage="settings",
                file=given if isinstance(given, Path) else None,
                expected="mode default",
            )


def check_inputs(settings: RunSettings, cohort: Cohort) -> None:
    """The weights of the cohort's modality; strokes were checked when the cohort was prepared."""
    if settings.weights is not None:
        for name in NETWORKS.values():
            check_modality(settings.weights / name, WEIGHTS, cohort.modality)


MODE = Mode(tuple(NETWORKS.values()), check_settings, check_weights, spacing_mm, bias_correction, check_inputs, plan)
