"""Mode `default` on a labelled cohort: one embedding network, several supports and scribble variants.

Labels score results here; they tune, select and stop nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle.benchmark import pages
from bundle.benchmark.points import score_kept
from bundle.benchmark.runs import Run, chosen_runs, open_bench
from bundle.benchmark.shipping import ship_embedding, ship_segmentation
from bundle.benchmark.strangers import flag_strangers, strangers_section
from bundle.benchmark.trained import ONE_SHOT, one_shot_network, pseudo_label_scores, supervised_network
from bundle.benchmark.trust import check_trust
from bundle.dataset import Dataset, read_dataset
from bundle.pipeline import Pipeline
from scripts.evaluation import evaluate_folder


def run(
    dataset_folder: Path,
    output: Path | None,
    page: Path,
    small: bool,
    device: str | None,
    ship: bool = False,
    strangers: Path | None = None,
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
        strangers: a dataset of another body part, which must be flagged; None leaves that out.
    """
    bench = open_bench(dataset_folder, output, small, device)
    dataset = bench.dataset
    stages = bench.train().directory.state()
    result: dict[str, Any] = {**bench.about(), "stages": stages, "networks": {}, "strangers": {}, "runs": []}

    def keep(scores: dict[str, Any] | None = None, **networks: dict[str, Any]) -> None:
        """Everything measured so far is on the page, whatever comes after."""
        result["networks"] |= networks
        result["runs"] += [scores] if scores else []
        pages.publish(page, "default", result, default_section(result))

    one_shot = bench.on_unlabelled("one_shot")
    keep(pseudo_labels=pseudo_label_scores(dataset, one_shot))
    first, *others = chosen_runs(dataset)
    witnesses = bench.on_test(first)
    keep(_one_shot(dataset, first, witnesses))
    keep(**one_shot_network(dataset, one_shot, witnesses))
    if strangers is not None:
        network = one_shot.output / ONE_SHOT / "segmentation"
        result["strangers"] = flag_strangers(bench, first, read_dataset(strangers), network)
    keep(supervised=supervised_network(dataset, bench.on_unlabelled("supervised")))
    result["stages_one_shot"] = one_shot.directory.state()
    for chosen in others:
        keep(_one_shot(dataset, chosen, bench.on_test(chosen)))
    if ship:
        print(f"shipped: {ship_embedding(bench.output, result)}")
        print(f"shipped: {ship_segmentation(one_shot, ONE_SHOT, result) or 'no segmentation network'}")
    print(f"tables: {page}")
    return result


def _one_shot(dataset: Dataset, run: Run, pipeline: Pipeline) -> dict[str, Any]:
    """Points and masks of the test volumes, and how far the self-check knows their quality."""
    folder = pipeline.output
    pipeline.propagate()
    grown = folder / "region" / "pseudo_labels"
    as_grown = run.region == "as grown"
    scores = evaluate_folder(folder / "pseudo_labels", dataset.labels, dataset.classes, dataset.test)
    return {
        **run.facts(),
        "region_dice": evaluate_folder(grown, dataset.labels, dataset.classes, [run.support]) if as_grown else None,
        "points": score_kept(folder, dataset.labels, dataset.test),
        "pseudo_labels": scores,
        "trust": check_trust(pipeline, folder / "pseudo_labels", scores),
        "stages": pipeline.directory.state(),
    }


def default_section(result: Mapping[str, Any]) -> str:
    """Everything `benchmark default` measured on one cohort."""
    name = result["dataset"]
    supports = list(dict.fromkeys(run["support"] for run in result["runs"]))
    strangers = f" --strangers DIR/{result['strangers']['dataset']}" if result["strangers"] else ""
    return "\n\n".join(
        [
            f"### Mode `default`, {name}",
            f"`python -m bundle benchmark default --dataset DIR/{name}{strangers}`; {result['configuration']} "
            "configuration; "
            f"{pages.processor(result)}; supports {', '.join(f'`{s}`' for s in supports)}; "
            f"{len(result['unlabelled_cases'])} unlabelled volumes, scores on the "
            f"{len(result['test_cases'])} volumes of the `test` list, full original grid. Raw "
            f"numbers: `docs/benchmarks/default_{name}.json`.",
            f"**Trained networks.** Support `{result['support']}`, strokes a, region as grown. Dice on the "
            "test volumes, mean over volumes; pseudo labels on the unlabelled volumes but the support.",
            _network_table(result),
            "**One-shot masks of the test volumes, no segmentation network.** Dice, mean over volumes; then mean ± "
            "standard deviation over supports and scribble variants.",
            _mask_table(result),
            "**Self-check of the networks' label maps and of these masks.** Predicted against true Dice of every "
            "(case, class); a failure is a true Dice below 0.5; a false flag is one on anything else.",
            _trust_table(result),
            *strangers_section(result["strangers"]),
            "**Points.** Share kept, and share of the kept that lie in the right organ, mean over volumes.",
            _point_table(result),
        ]
    )


NETWORK_WORDS = {
    "pseudo_labels": "pseudo labels",
    "one_shot": "network trained on them",
    "one_shot_joined": "network and votes together",
    "supervised": "network, fully supervised",
}


def _network_table(result: Mapping[str, Any]) -> str:
    classes, measured = list(result["classes"]), result["networks"]
    bound = measured.get("supervised", {}).get("mean_dice")
    rows = []
    for name, words in NETWORK_WORDS.items():
        if (scores := measured.get(name)) is None:
            continue
        share = scores["mean_dice"] / bound if bound and name != "pseudo_labels" else None
        cells = [pages.number(scores["classes"][label]["dice_mean"]) for label in classes]
        rows.append([words, *cells, pages.number(scores["mean_dice"]), pages.number(share)])
    return pages.table(["", *classes, "mean", "of the supervised"], rows)


def _mask_table(result: Mapping[str, Any]) -> str:
    classes = list(result["classes"])
    rows = []
    for region in dict.fromkeys(run["region"] for run in result["runs"]):
        runs = [run for run in result["runs"] if run["region"] == region]
        for run in runs:
            scores = run["pseudo_labels"]
            cells = [pages.number(scores["classes"][name]["dice_mean"]) for name in classes]
            rows.append([pages.run_name(run), *cells, pages.number(scores["mean_dice"])])
        spread = [_spread([run["pseudo_labels"]["classes"][name]["dice_mean"] for run in runs]) for name in classes]
        rows.append(
            [f"**all, region {region}**", *spread, _spread([run["pseudo_labels"]["mean_dice"] for run in runs])]
        )
    return pages.table(["", *classes, "mean"], rows)


def _trust_table(result: Mapping[str, Any]) -> str:
    rows = []
    networks = {NETWORK_WORDS[name]: scores for name, scores in result["networks"].items() if "trust" in scores}
    for name, scores in {**networks, **{pages.run_name(run): run for run in result["runs"]}}.items():
        found = scores["trust"]
        caught = f"{found['failures_flagged']} of {found['failures']}"
        false = f"{found['false_flags']} of {found['results'] - found['failures']}"
        numbers = [pages.number(found[key]) for key in ("pearson_r", "mean_absolute_error")]
        rows.append([name, *numbers, caught, false])
    return pages.table(["", "Pearson's r", "mean absolute error", "failures flagged", "false flags"], rows)


def _point_table(result: Mapping[str, Any]) -> str:
    names = [*result["classes"], "background"]
    rows = []
    for run in (run for run in result["runs"] if run["region"] == "as grown"):
        by_class = {row["class"]: row for row in run["points"]}
        cells = [f"{by_class[n]['kept_mean']:.2f} / {pages.number(by_class[n]['precision_mean'])}" for n in names]
        rows.append([f"{run['support']} {run['variant']}", *cells])
    return pages.table(["", *(f"{name}: kept / right" for name in names)], rows)


def _spread(values: Sequence[float | None]) -> str:
    present = [value for value in values if value is not None]
    if not present:
        return "–"
    return f"{statistics.fmean(present):.3f} ± {statistics.pstdev(present):.3f}"
