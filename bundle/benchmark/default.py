"""Mode `default` on a labelled cohort: one embedding network, several supports and scribble variants.

Labels score results here; they tune, select and stop nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bundle.benchmark import pages
from bundle.benchmark.default_tables import default_section
from bundle.benchmark.out_of_distribution import flag_out_of_distribution
from bundle.benchmark.points import score_kept
from bundle.benchmark.runs import Run, chosen_runs, open_bench
from bundle.benchmark.shipping import ship_embedding, ship_segmentation
from bundle.benchmark.trained import ONE_SHOT, one_shot_network, pseudo_label_scores, supervised_network
from bundle.benchmark.trust import check_trust
from bundle.datasets.dataset import Dataset, read_dataset
from bundle.pipeline.pipeline import Pipeline
from scripts.quality.evaluation import evaluate_folder


def run(
    dataset_folder: Path,
    output: Path | None,
    page: Path,
    small: bool,
    device: str | None,
    ship: bool = False,
    out_of_distribution: Path | None = None,
) -> dict[str, Any]:
    """Run everything (again: continue), write `docs/benchmarks/default_NAME.json` and the cohort's part of the page.

    Args:
        dataset_folder: with `dataset.json`.
        output: work directory; None for `runs/default_NAME`.
        page: the Markdown page.
        small: the configuration for two CPU cores.
        device: such as "cuda:0"; None takes a GPU if there is one.
        ship: copy the embedding network to `models/NAME` afterwards, and the segmentation network to
            `models/model.pt` if it is the one that `configs/inference.json` describes.
        out_of_distribution: a dataset of another body part, which must be flagged; None leaves that out.
    """
    bench = open_bench(dataset_folder, output, small, device)
    dataset = bench.dataset
    stages = bench.train().directory.state()
    result: dict[str, Any] = {
        **bench.about(),
        "stages": stages,
        "networks": {},
        "out_of_distribution": {},
        "all_classes": {},
        "runs": [],
    }

    def keep(scores: dict[str, Any] | None = None, **networks: dict[str, Any]) -> None:
        """Everything measured so far is on the page, whatever comes after."""
        result["networks"] |= networks
        result["runs"] += [scores] if scores else []
        pages.publish(page, "default", result, default_section(result))

    one_shot = bench.on_unlabelled("one_shot")
    keep(pseudo_labels=pseudo_label_scores(dataset, one_shot))
    first, *others = chosen_runs(dataset)
    raters = bench.on_test(first)
    keep(_one_shot(dataset, first, raters))
    keep(**one_shot_network(dataset, one_shot, raters))
    if out_of_distribution is not None:
        network = one_shot.output / ONE_SHOT / "segmentation"
        result["out_of_distribution"] = flag_out_of_distribution(
            bench, first, read_dataset(out_of_distribution), network
        )
    keep(supervised=supervised_network(dataset, bench.on_unlabelled("supervised")))
    result["stages_one_shot"] = one_shot.directory.state()
    for chosen in others:
        keep(_one_shot(dataset, chosen, bench.on_test(chosen)))
    result["all_classes"] = _one_shot(dataset, first, bench.on_test(first, "all_classes", classes=dataset.all_classes))
    keep()
    if ship:
        print(f"shipped: {ship_embedding(bench.output, result)}")
        print(f"shipped: {ship_segmentation(one_shot, ONE_SHOT, result) or 'no segmentation network'}")
    print(f"tables: {page}")
    return result


def _one_shot(dataset: Dataset, run: Run, pipeline: Pipeline) -> dict[str, Any]:
    """Points and masks of the test volumes, and how far the self-check knows their quality."""
    folder, classes = pipeline.output, pipeline.cohort.classes
    pipeline.propagate()
    grown = folder / "support_mask" / "pseudo_labels"
    as_grown = run.support_mask == "as grown"
    scores = evaluate_folder(folder / "pseudo_labels", dataset.labels, classes, dataset.test)
    return {
        **run.facts(),
        "region_dice": evaluate_folder(grown, dataset.labels, classes, [run.support]) if as_grown else None,
        "points": score_kept(folder, dataset.labels, dataset.test),
        "pseudo_labels": scores,
        "trust": check_trust(pipeline, folder / "pseudo_labels", scores),
        "stages": pipeline.directory.state(),
    }
