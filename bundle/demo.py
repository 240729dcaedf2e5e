"""The whole method on the embedded phantom cohort: a proof that everything works, not a claim of accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bundle.datasets.dataset import read_dataset
from bundle.datasets.links import link_images
from bundle.datasets.phantom_cohort import write_phantom_cohort
from bundle.pipeline.inference import infer_folder
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.settings import RunSettings
from bundle.results.last_lines import last_lines
from scripts.common.errors import BundleError
from scripts.common.files import write_json
from scripts.quality.evaluation import evaluate_folder, format_table

# So that two CPU cores need about a quarter of an hour.
OVERRIDES: dict[str, dict[str, Any]] = {
    "embedding": {"max_epochs": 10},
    "support_mask": {"geodesic_spacing_mm": [3.0, 3.0, 3.0]},
    "pseudo_labels": {"geodesic_spacing_mm": [3.0, 3.0, 3.0]},
    "segmentation": {"max_epochs": 15, "plc_start_epoch": 10},
}


def run_demo(output: Path) -> float:
    """Make the phantoms, run the pipeline, score the volumes held out; returns the mean Dice.

    Args:
        output: folder for the cohort (`cohort/`) and the run (`run/`); run again, it continues.
    """
    dataset = read_dataset(write_phantom_cohort(output / "cohort"))
    print("These volumes are a synthetic phantom: the numbers below show that the software works, nothing more.")
    unlabelled = link_images({case: dataset.image(case) for case in dataset.unlabelled}, output / "unlabelled")
    held_out = link_images({case: dataset.image(case) for case in dataset.test}, output / "held_out")
    pipeline = Pipeline(
        RunSettings(
            output=output / "run",
            images=unlabelled,
            support=dataset.image(dataset.support),
            scribbles=dataset.scribbles(),
            classes=dataset.classes,
            background=dataset.background,
            small=True,
            overrides=OVERRIDES,
        )
    )
    with pipeline.progress.whole():
        pipeline.run()
        predictions = output / "held_out_predictions"
        infer_folder(held_out, pipeline.output / "segmentation", predictions)
        result = evaluate_folder(predictions, dataset.labels, dataset.classes, cases=dataset.test)
        write_json(output / "held_out_metrics.json", result)
        table, report = pipeline.write_results(), pipeline.report(dataset.labels)
    print("\n".join([*last_lines(table), f"results: {pipeline.work.results_csv}", f"report: {report}"]))
    print(format_table(result))
    mean_dice = result["mean_dice"]
    if mean_dice is None:
        raise BundleError("no organ is in the volumes held out", stage="demo", file=dataset.labels)
    print(f"mean Dice {mean_dice:.3f} on {len(dataset.test)} held-out phantom volumes")
    return mean_dice
