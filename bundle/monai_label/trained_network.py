"""The last training, as a model of the server: its labels of the studies, and its network for any other image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.tasks.infer.bundle import BundleInferTask

from bundle.monai_label.answers import answer_file, present_names
from bundle.monai_label.results import Handed, HandedNow
from bundle.monai_label.submissions import names_of_values
from scripts.common.files import open_nifti, read_json
from scripts.data.volume_io import read_labels

TOLD = ("predicted_dice", "doubted", "final")  # of a stored label
NO_NETWORK = "there is no trained network yet: press Train, or wait for the end of a training that runs"
DESCRIPTION = "Labels of this server's studies, and the network that was trained on them"


class TrainedNetwork(InferTask):
    """What the last training made; nothing before the first.

    A study of the datastore gets its stored label at once: the one that was judged. The network alone is worth less.

    Args:
        folder: the bundle that training leaves.
        conf: the app's settings.
        handed: what the studies have.
    """

    def __init__(self, folder: Path, conf: dict[str, str], handed: HandedNow) -> None:
        super().__init__(InferType.SEGMENTATION, [], 3, DESCRIPTION)
        self.folder, self.conf, self.handed = folder, conf, handed
        self._loaded: tuple[int, BundleInferTask] | None = None

    def is_valid(self) -> bool:
        """Whether there are labels, or a network."""
        return self.handed.file.exists() or self._task() is not None

    def info(self) -> dict[str, Any]:
        """Of the last training; the description is what 3D Slicer shows as a tooltip."""
        handed, task = Handed.read(self.handed.file), self._task()
        about = dict(super().info() if task is None else task.info())
        if handed is not None:
            about |= {"labels": dict(handed.classes), "description": self.handed.in_words()}
        return about

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Label one image: by the stored label in the request ("stored", its file; "stored_info"), or by the network.

        Raises:
            HTTPException: there is neither.
        """
        if request.get("stored"):
            return self._stored(request)
        task, handed = self._task(), Handed.read(self.handed.file)
        if task is None:
            started = "a training has no network yet, and labels of the studies that it began with: wait for its end"
            raise HTTPException(400, NO_NETWORK if handed is None else started)
        file, params = task(request)
        if file is None or handed is None:
            return file, params
        learnt = list(read_json(self.folder / "models" / "model.json")["classes"])
        known = set(learnt) <= set(handed.classes)  # not while a round with other classes has no network yet
        return _with_values(file, params, learnt, handed.classes) if known else (file, params)

    def _stored(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        source, info = Path(request["stored"]), request["stored_info"]
        label = read_labels(source)
        values = np.unique(label.array)  # once: of a large volume that takes seconds
        classes = names_of_values(info["label_info"], values[values > 0].tolist())
        file = answer_file(label.array, label.affine, request.get("result_extension"), like=open_nifti(source))
        told = {key: info[key] for key in TOLD if key in info}
        return file, {**told, "label_names": present_names(values, classes)}

    def _task(self) -> BundleInferTask | None:
        card = self.folder / "models" / "model.json"
        if not card.exists():
            return None
        changed = card.stat().st_mtime_ns
        if self._loaded is None or self._loaded[0] != changed:
            self._loaded = (changed, BundleInferTask(str(self.folder), self.conf, type=InferType.SEGMENTATION))
        return self._loaded[1]


def _with_values(
    file: str, params: dict[str, Any], learnt: Sequence[str], classes: Mapping[str, int]
) -> tuple[str, dict[str, Any]]:
    """The network counts the classes that it has learnt from 1; the studies' labels have the values of the strokes."""
    answer = Path(file)
    label = read_labels(answer)
    values = np.array([0, *(classes[name] for name in learnt)], np.uint8)
    label_map = values[label.array]
    suffix = ".nrrd" if answer.name.endswith(".nrrd") else None
    named = {**params, "label_names": present_names(label_map, classes)}
    answer.unlink()
    return answer_file(label_map, label.affine, suffix), named
