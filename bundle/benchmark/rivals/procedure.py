"""What the paper's public code would need for one case on this machine: counted in passes of its networks, timed here.

A case takes five passes of the coarse network, then two of the fine one for every stroke voxel: one that moves the
point, one that compares it. The code takes every voxel of a class and every second one of background, one volume after
the other, each voxel on its own. It runs in half precision, and so do the networks here.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bundle.benchmark.cost.limits import cached
from bundle.benchmark.results import PROCEDURE, result_line
from bundle.datasets.dataset import Dataset
from bundle.pipeline.modes import SHIPPED, of_configuration
from scripts.data.volume_io import read_labels
from scripts.networks.prnet_weights import load_prnet
from scripts.point_propagation.propagator import PropagationSettings, Propagator

STARTS, PASSES_A_POINT, BATCH = 5, 2, 32
SECONDS = 600.0


def measure_procedure(dataset: Dataset, models: Path = SHIPPED, seconds: float = SECONDS) -> dict[str, Any]:
    """Locate voxels of the support in the first test volume, as many as the time allows: one costs what another does.

    Args:
        dataset: the support, its first strokes and the first test volume are used.
        models: holds `NAME/full/coarse` and `NAME/full/fine`, networks of the paper's size.
        seconds: on the clock; the batch of 32 voxels that is under way then is finished.
    """
    coarse, fine = (load_prnet(folder) for folder in _networks(dataset, models))
    settings = PropagationSettings(start_points=STARTS, fine_steps=1, settled_mm=0.0, batch_size=BATCH)
    propagator = Propagator(coarse, fine, settings)
    support, query = (cached(dataset.image(case), fine.spacing_mm) for case in (dataset.support, dataset.test[0]))
    points = torch.nonzero(support.body)[:BATCH]
    described = propagator.describe_support(support.image, support.body, points)
    passes, start, processor_s = 0, time.perf_counter(), time.process_time()
    while passes == 0 or time.perf_counter() - start < seconds:
        propagator.locate(query.image, query.body, described)
        passes += STARTS + PASSES_A_POINT * len(points)
    cpu_s = (time.process_time() - processor_s) / passes
    strokes = read_labels(dataset.scribbles()).array
    background = int((strokes == dataset.background).sum() + 1) // 2
    needed = {
        str(len(classes)): STARTS + PASSES_A_POINT * (background + int(np.isin(strokes, list(classes.values())).sum()))
        for classes in (dataset.classes, dataset.all_classes)
    }
    return result_line(PROCEDURE, "passes", measured=passes, cpu_s_a_pass=cpu_s, needed=needed)


def has_networks(dataset: Dataset, models: Path = SHIPPED) -> bool:
    """Whether networks of the paper's size are shipped for the cohort."""
    return all((folder / "model.pt").is_file() for folder in _networks(dataset, models))


def _networks(dataset: Dataset, models: Path) -> list[Path]:
    full = of_configuration(models / dataset.folder.name, small=False)
    return [full / "coarse", full / "fine"]
