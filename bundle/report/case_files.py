"""What the page loads of one case: its panel, its volume, and of the support the strokes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bundle.report.browser.data_files import keep_data_file, key_of, state_of
from bundle.report.browser.volume_data import small_volume
from bundle.report.case_results import CaseResult, open_maps
from bundle.report.cases import case_panel
from bundle.report.markup import MAP_WORDS
from bundle.report.run import Run, tolerant
from bundle.report.support import support_mask, support_mask_path
from bundle.report.volumes import open_image
from scripts.common.files import remove_file
from scripts.data.gate.modality import CT
from scripts.data.volume_io import Volume

SHOWN_FIRST = ("prediction", "pseudo", "truth")


def keep_panel(run: Run, result: CaseResult, scores: Mapping[str, Any], pixels: int, folder: Path) -> None:
    """Facts, numbers and pictures of a case, unless they are there."""
    key = key_of(result.id)
    read = [run.image(result.id), run.folder.propagation.record(result.id), *run.label_maps(result.id).values()]
    of_run = [list(run.classes.items()), run.has_predictions, run.has_old_predictions, bool(run.labels), pixels]
    inputs = [repr(result), scores, of_run, state_of(*read)]
    keep_data_file(folder / f"{key}_panel.js", "panel", key, inputs, lambda: case_panel(run, result, scores, pixels))


def keep_volume(run: Run, result: CaseResult, folder: Path) -> None:
    """The volume and label maps of a case for the viewer, unless they are there; none of an image that is gone."""
    path, key = run.image(result.id), key_of(result.id)
    if path is None:
        remove_file(folder / f"{key}_volume.js")
        return
    maps, mask = run.label_maps(result.id), support_mask_path(run) if result.id == run.support else None
    inputs = [list(maps), list(run.classes.items()), state_of(path, *maps.values(), mask)]
    keep_data_file(folder / f"{key}_volume.js", "volume", key, inputs, lambda: _volume(run, result, path))


def _volume(run: Run, result: CaseResult, path: Path) -> dict[str, Any] | None:
    """What the viewer shows of a case, and where it finds each class; None of an image that cannot be read."""
    image, _ = tolerant(open_image, path)
    if image is None:
        return None  # the panel says why
    maps, _ = open_maps(run.label_maps(result.id), run.classes)
    mask = support_mask(run, result.id) if result.id == run.support else None
    shown = {MAP_WORDS[name]: maps[name] for name in SHOWN_FIRST if name in maps}
    shown |= {} if mask is None else {"support mask": mask.labels}
    values = list(run.classes.values())  # a given label map may hold others, which 8 bits may not
    labels = {
        name: Volume(np.where(np.isin(labels.array, values), labels.array, 0), labels.affine)
        for name, labels in shown.items()
    }
    modality = CT if run.cohort is None else run.cohort.modality
    made = small_volume(Volume(image.values(), image.affine), labels, modality)
    centres = [result.classes[name].centre for name in run.classes]
    first = next(iter(maps.values()), image)
    places = [None if centre is None else first.to_world_mm(np.array(centre)).round(1).tolist() for centre in centres]
    return {**made.to_json(), "values": values, "centres": places}


def keep_strokes(support: str, pictures: str, folder: Path) -> None:
    """The support's strokes and support mask in pictures."""
    key = key_of(support)
    keep_data_file(folder / f"{key}_strokes.js", "strokes", key, pictures, lambda: pictures)
