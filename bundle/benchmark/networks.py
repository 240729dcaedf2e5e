"""Segmentation networks by the full recipe, which wants a GPU, on pseudo labels that two CPU cores made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bundle.benchmark import pages
from bundle.benchmark.default_tables import networks_section
from bundle.benchmark.runs import first_runs, open_bench
from bundle.benchmark.shipping import ship_segmentation
from bundle.benchmark.trained import ONE_SHOT, SUPERVISED, one_shot_network, pseudo_label_scores, supervised_network
from bundle.pipeline.configs import read_configs
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.stages import config_names
from scripts.common.files import read_json

FULL = "full"


def run(
    dataset_folder: Path, output: Path | None, page: Path, device: str | None, ship: bool = False
) -> dict[str, Any]:
    """Train and score (again: continue), write `docs/benchmarks/networks_NAME.json` and its part of the page.

    Works in the output folder of `benchmark default`, small configuration, whose pseudo labels and votes it uses.

    Args:
        dataset_folder: with `dataset.json`.
        output: work directory; None for `runs/default_NAME`.
        page: the Markdown page.
        device: such as "cuda:0"; None takes a GPU if there is one.
        ship: copy the network to `models/model.pt` afterwards, if `configs/inference.json` describes it.
    """
    bench = open_bench(dataset_folder, output, small=True, device=device)
    bench.train()
    dataset, one_shot = bench.dataset, bench.on_unlabelled(ONE_SHOT)
    recipe = full_recipe(one_shot.settings)
    result: dict[str, Any] = {**bench.about(), "recipe": recipe, "networks": {}}

    def keep(**networks: dict[str, Any]) -> None:
        """Everything measured so far is on the page, whatever comes after."""
        result["networks"] |= networks
        pages.publish(page, "networks", result, networks_section(result))

    keep(pseudo_labels=pseudo_label_scores(dataset, one_shot))
    raters = bench.on_test(first_runs(dataset)[0])
    raters.propagate()
    variant = f"{ONE_SHOT}_{FULL}"
    found = one_shot_network(dataset, one_shot, raters, variant, recipe)
    result["trained_on"] = read_json(one_shot.output / variant / "segmentation" / "model.json")["made_with"]["device"]
    keep(**found)
    keep(supervised=supervised_network(dataset, bench.on_unlabelled(SUPERVISED), f"{SUPERVISED}_{FULL}", recipe))
    if ship:
        print(f"shipped: {ship_segmentation(one_shot, variant, result) or 'no segmentation network'}")
    print(f"tables: {page}")
    return result


def full_recipe(small: RunSettings) -> dict[str, Any]:
    """Config key -> value of the segmentation stage that the small configuration has otherwise."""
    full = read_configs(config_names("segmentation", replace(small, small=False)))
    fitted = read_configs(config_names("segmentation", small))
    return {key: value for key, value in full.items() if value != fitted[key]}
