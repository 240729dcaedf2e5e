"""Mode `paper` on a labelled cohort: points, pseudo labels, trained networks, time and memory.

Labels score results here; they tune, select and stop nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bundle.benchmark import pages
from bundle.benchmark.machine import machine
from bundle.benchmark.points import sweep, write_redenoised
from bundle.benchmark.shipping import ship_prnets
from bundle.benchmark.trained import score_network
from bundle.datasets.dataset import Dataset, read_dataset
from bundle.datasets.links import link_images
from bundle.pipeline.configs import BUNDLE_ROOT, read_component
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.stages import config_names
from scripts.points.denoising import denoising_rule
from scripts.pseudo_labels.labeller import PseudoLabeller
from scripts.quality.evaluation import evaluate_folder

POINT_TAUS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
MASK_TAUS = (0.0, 0.5, 0.9)
TISSUE_TOLERANCE = 0.08  # the check the paper does not have, measured beside it


def run(
    dataset_folder: Path, output: Path | None, page: Path, small: bool, device: str | None, ship: bool = False
) -> dict[str, Any]:
    """Run everything (again: continue), write `docs/benchmarks/paper_NAME.json` and the cohort's part of the page.

    Args:
        dataset_folder: with `dataset.json`.
        output: work directory; None for `runs/paper_NAME`.
        page: the Markdown page.
        small: the configuration for two CPU cores.
        device: such as "cuda:0"; None takes a GPU if there is one.
        ship: copy the PRNets to `models/NAME` afterwards.
    """
    dataset = read_dataset(dataset_folder)
    name = dataset.folder.name
    output = output or BUNDLE_ROOT / "runs" / f"paper_{name}"
    pipeline = _train(dataset, output, small, device)
    without_plc = pipeline.train_segmentation("without_plc", {"use_plc": False})
    test = _propagate_to_test(dataset, output, small, device)
    result = {
        "dataset": name,
        "classes": dataset.classes,
        "support": dataset.support,
        "test_cases": list(dataset.test),
        "unlabelled_cases": list(dataset.unlabelled),
        "configuration": "small" if small else "full",
        "machine": machine(),
        "points": _score_points(dataset, test.output),
        "pseudo_labels": _score_pseudo_labels(dataset, test),
        "trained_without_plc": score_network(dataset, without_plc, output / "test_without_plc", device),
        "trained_with_plc": score_network(dataset, pipeline.output / "segmentation", output / "test_with_plc", device),
        "stages": pipeline.directory.state(),
        "stages_on_test": test.directory.state(),
    }
    pipeline.report(dataset.labels)
    test.report(dataset.labels)
    pages.publish(page, "paper", result, pages.paper_section(result))
    if ship:
        print(f"shipped: {ship_prnets(output, result)}")
    print(f"tables: {page}")
    return result


def _settings(dataset: Dataset, output: Path, images: Path, **changes: Any) -> RunSettings:
    return RunSettings(
        output=output,
        images=images,
        support=dataset.image(dataset.support),
        scribbles=dataset.scribbles("a"),
        classes=dataset.classes,
        background=dataset.background,
        mode="paper",
        **changes,
    )


def _train(dataset: Dataset, output: Path, small: bool, device: str | None) -> Pipeline:
    images = link_images({case: dataset.image(case) for case in dataset.unlabelled}, output / "unlabelled")
    pipeline = Pipeline(_settings(dataset, output, images, small=small, device=device))
    pipeline.run()
    return pipeline


def _propagate_to_test(dataset: Dataset, output: Path, small: bool, device: str | None) -> Pipeline:
    """One-shot, with the PRNets trained on the unlabelled cases: points and pseudo labels of the test cases."""
    images = link_images({case: dataset.image(case) for case in dataset.test}, output / "test_images")
    settings = _settings(dataset, output / "test", images, small=small, device=device, weights=output / "prnet")
    pipeline = Pipeline(settings)
    pipeline.propagate()
    return pipeline


def _score_points(dataset: Dataset, test: Path) -> list[dict[str, Any]]:
    rules = [denoising_rule(rule, tau) for rule in ("dual", "multi") for tau in POINT_TAUS]
    rules += [denoising_rule("dual", tau, TISSUE_TOLERANCE) for tau in POINT_TAUS]
    return sweep(test, dataset.labels, dataset.test, rules)


def _score_pseudo_labels(dataset: Dataset, test: Pipeline) -> dict[str, Any]:
    settings = read_component(config_names("pseudo_labels", test.settings), "settings")
    rules = {str(tau): denoising_rule("dual", tau) for tau in MASK_TAUS}
    rules["0.5, tissue check"] = denoising_rule("dual", 0.5, TISSUE_TOLERANCE)
    scores = {}
    for name, rule in rules.items():
        folder = test.output / f"dual_{name}".replace(", ", "_").replace(" ", "_")
        write_redenoised(test.output, folder, rule, dataset.test)
        PseudoLabeller(test.cohort, folder, settings).run(dataset.test)
        scores[name] = evaluate_folder(folder / "pseudo_labels", dataset.labels, dataset.classes, dataset.test)
    return scores
