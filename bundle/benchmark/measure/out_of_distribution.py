"""Volumes of another body part among the cases: the self-check must flag them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bundle.benchmark.measure.runs import Bench, Run
from bundle.benchmark.measure.stage_calls import check_label_maps, work_folder
from bundle.benchmark.measure.trained import grow_ensemble
from bundle.benchmark.results import result_line
from bundle.datasets.dataset import Dataset
from bundle.datasets.links import link_images
from bundle.pipeline.inference import infer_folder

COUNT = 3


def flag_out_of_distribution(
    bench: Bench, run: Run, others: Dataset, model: Path, count: int = COUNT
) -> Iterator[dict[str, Any]]:
    """Propagate to the first test volumes of another dataset, segment them with a trained network, check the result.

    Args:
        bench: what the runs share.
        run: support and strokes.
        others: the dataset of another body part.
        model: folder of the segmentation network.
        count: of volumes.
    """
    cases = others.test[:count]
    name = others.folder.name
    folder = f"out_of_distribution_{name}"
    images = link_images({case: others.image(case) for case in cases}, bench.output / f"{folder}_images")
    pipeline = bench.on_images(run, images, folder)
    pipeline.propagate()
    work = work_folder(pipeline)
    infer_folder(images, model, work.network.path, bench.device, keep_probabilities=True)
    grow_ensemble(pipeline, work.network, work.predictions, cases)
    for case, record in check_label_maps(pipeline, work.predictions, cases).items():
        yield result_line("out_of_distribution", f"{name} {case}", dataset=name, **record.to_json())
