"""Volumes of another body part among the cases: the self-check must flag them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundle.benchmark.pages import number, table
from bundle.benchmark.runs import Bench, Run
from bundle.benchmark.trained import grow_joined
from bundle.benchmark.trust import trust_records
from bundle.datasets.dataset import Dataset
from bundle.datasets.links import link_images
from bundle.pipeline.inference import infer_folder

COUNT = 3


def flag_out_of_distribution(bench: Bench, run: Run, others: Dataset, model: Path) -> dict[str, Any]:
    """Propagate to the first test volumes of another dataset, segment them with a trained network, check the result.

    Args:
        bench: what the runs share.
        run: support and strokes.
        others: the dataset of another body part.
        model: folder of the segmentation network.
    """
    cases = others.test[:COUNT]
    folder = f"strangers_{others.folder.name}"
    images = link_images({case: others.image(case) for case in cases}, bench.output / f"{folder}_images")
    pipeline = bench.on_images(run, images, folder)
    pipeline.propagate()
    network, joined = pipeline.output / "network", pipeline.output / "predictions"
    infer_folder(images, model, network, bench.device, pipeline.output / "propagation")
    grow_joined(pipeline, network, joined, cases)
    return {"dataset": others.folder.name, "cases": trust_records(pipeline, joined, cases)}


def out_of_distribution_section(out_of_distribution: Mapping[str, Any]) -> list[str]:
    """Heading and table; nothing if none was measured."""
    if not out_of_distribution:
        return []
    rows = []
    for case, record in out_of_distribution["cases"].items():
        found = [f"{name} {number(trust['predicted_dice'])}" for name, trust in record["classes"].items()]
        rows.append([case, number(record["similarity"]), "yes" if record["flagged"] else "**no**", ", ".join(found)])
    return [
        f"**Volumes of another body part** (`{out_of_distribution['dataset']}`), segmented by votes and the network together.",
        table(["", "similarity of the body", "whole case flagged", "predicted Dice"], rows),
    ]
