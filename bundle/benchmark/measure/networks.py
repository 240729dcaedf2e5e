"""Segmentation networks by the full recipe, which wants a GPU, on pseudo labels that two CPU cores made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bundle.benchmark.measure.default import network_line, stages_line
from bundle.benchmark.measure.runs import Bench, first_runs
from bundle.benchmark.measure.trained import one_shot_network, pseudo_label_scores, supervised_network
from bundle.benchmark.results import ONE_SHOT, PSEUDO_LABELS, SUPERVISED
from bundle.pipeline.configs import read_configs
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.stages import config_names
from scripts.common.files import read_json

FULL = "full"
VARIANT = f"{ONE_SHOT}_{FULL}"  # of the training


def measure(bench: Bench, recipe: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Train and score (again: continue); the lines of the raw results, each as soon as it is measured.

    Works in the output folder of `benchmark default`, small configuration, whose pseudo labels and class probabilities
    it uses.

    Args:
        bench: of the small configuration.
        recipe: config key -> value of the segmentation stage; None for the `full_recipe`.
    """
    bench.train()
    dataset, one_shot = bench.dataset, bench.on_unlabelled(ONE_SHOT)
    recipe = full_recipe(one_shot.settings) if recipe is None else recipe
    yield bench.head(recipe=dict(recipe))
    yield network_line(PSEUDO_LABELS, {"scores": pseudo_label_scores(dataset, one_shot)})
    raters = bench.on_test(first_runs(dataset)[0])
    raters.propagate()
    for name, measured in one_shot_network(dataset, one_shot, raters, VARIANT, recipe).items():
        yield network_line(name, {"trained_on": _device(one_shot, VARIANT), **measured})
    yield stages_line(ONE_SHOT, one_shot)
    supervised, variant = bench.on_unlabelled(SUPERVISED), f"{SUPERVISED}_{FULL}"
    scores = supervised_network(dataset, supervised, variant, recipe)
    yield network_line(SUPERVISED, {"trained_on": _device(supervised, variant), "scores": scores})


def full_recipe(small: RunSettings) -> dict[str, Any]:
    """Config key -> value of the segmentation stage that the small configuration has otherwise."""
    full = read_configs(config_names("segmentation", replace(small, small=False)))
    fitted = read_configs(config_names("segmentation", small))
    return {key: value for key, value in full.items() if value != fitted[key]}


def _device(pipeline: Pipeline, variant: str) -> str:
    """Where a network was trained, as its card says."""
    card = read_json(pipeline.output / variant / "segmentation" / "model.json")
    return str(card["made_with"]["device"])
