"""`benchmark rivals`: what other packages' registration reaches from the support's true label map, and ours beside it.

Every rival gets the true label map in place of strokes. Packages get single pairs: ours has the unlabelled volumes'
embedding and the other test volumes as atlases, DataAug the unlabelled volumes. Labels of test volumes score, nothing
else.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundle.benchmark.measure.runs import Bench, Run
from bundle.benchmark.measure.stage_calls import work_folder
from bundle.benchmark.measure.stopwatch import measured
from bundle.benchmark.results import ACCEPTED, RIVAL, result_line
from bundle.benchmark.rivals import pair
from bundle.benchmark.rivals.data_aug import segmenter
from bundle.benchmark.rivals.data_aug.training import Recipe
from bundle.benchmark.rivals.procedure import has_networks, measure_procedure
from bundle.pipeline.configs import BUNDLE_ROOT
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.quality.evaluation import evaluate_folder

STAGE = "benchmark"
OURS = "ours, atlases alone"
DATA_AUG = "DataAug"
PACKAGES = {"convexadam": "convexAdam", "SyN": "ants", "elastix": "itk"}  # rival -> module of the extra `rivals`


def measure(bench: Bench) -> Iterator[dict[str, Any]]:
    """A line a rival, as soon as all test volumes are done; then ours from the same label map, and the paper's time.

    Args:
        bench: see `open_bench`; label maps that are there already are not made again.

    Raises:
        BundleError: the extra `rivals` is not installed, or a rival fails.
    """
    _check_installed()
    yield bench.head()
    dataset = bench.dataset
    for name in PACKAGES:
        folder = bench.output / "rivals" / name
        taken = {case: _warped(name, bench, case, folder) for case in dataset.test}
        scores = evaluate_folder(folder, dataset.labels, dataset.all_classes, dataset.test)
        yield result_line(RIVAL, name, scores=scores, taken=taken)
    yield data_aug(bench)
    yield _ours(bench)
    if has_networks(dataset):
        yield measure_procedure(dataset)


def data_aug(bench: Bench, recipe: Recipe | None = None) -> dict[str, Any]:
    """Our compact version of it, trained on the unlabelled volumes and the support's true label map, all classes."""
    dataset, folder = bench.dataset, bench.output / "rivals" / DATA_AUG
    record = folder / "training.json"
    if not record.is_file():
        others = [dataset.image(case) for case in dataset.unlabelled if case != dataset.support]
        given = dataset.image(dataset.support), dataset.label(dataset.support)
        write_json(record, measured(lambda: segmenter.train(*given, others, folder, recipe)))
    taken = {case: _warped(DATA_AUG, bench, case, folder) for case in dataset.test}
    scores = evaluate_folder(folder, dataset.labels, dataset.all_classes, dataset.test)
    return result_line(RIVAL, DATA_AUG, scores=scores, taken=taken, training=read_json(record))


def _ours(bench: Bench) -> dict[str, Any]:
    """One-shot label maps by the atlases alone, all classes, from the true label map of the support."""
    dataset = bench.dataset
    run = Run(dataset.support, dataset.variants(dataset.support)[0], ACCEPTED)
    every_class = replace(bench, dataset=replace(dataset, classes=dataset.all_classes))
    pipeline = every_class.on_test(run, f"rivals/{run.folder}")
    pipeline.propagate()
    results = work_folder(pipeline).pseudo_labels.path
    return result_line(
        RIVAL, OURS, scores=evaluate_folder(results, dataset.labels, dataset.all_classes, dataset.test), taken={}
    )


def _check_installed() -> None:
    missing = [name for name, module in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise BundleError(
            "packages to compare with are not installed",
            stage=STAGE,
            expected="pip install '.[rivals]', in an environment of its own",
            found=f"no {', '.join(missing)}",
        )


def _warped(name: str, bench: Bench, case: str, folder: Path) -> Mapping[str, Any]:
    """What one pair took; in a process of its own, so that its memory is its own."""
    dataset, label = bench.dataset, folder.absolute() / f"{case}.nii.gz"
    record = folder / f"{case}.json"
    if not record.is_file():
        support = dataset.support
        files = [dataset.image(case), dataset.image(support), dataset.label(support), label]
        command = [sys.executable, "-m", pair.__name__, name, *map(str, files)]
        done = subprocess.run(command, cwd=BUNDLE_ROOT, capture_output=True, text=True)
        if done.returncode != 0 or not record.is_file():
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise BundleError(f"{name} failed", case=case, stage=STAGE, file=dataset.image(case), found=lines[-1])
    return dict(read_json(record))
