"""The app itself, on MONAI Label's own classes (0.8.5): one trainer, the models, two strategies."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.random import Random
from monailabel.tasks.infer.bundle import BundleInferTask

from bundle.monai_label.masks.task import SupportMaskTask
from bundle.monai_label.names import DICOMWEB, LOOKS, OUTSIDE, SHIPPED, SUPPORT_MASK, TRAINED, current_name
from bundle.monai_label.shown_label import label_of_study
from bundle.monai_label.strategy import NAME, LeastTrusted
from bundle.monai_label.studies.dicomweb import DicomwebDatastore
from bundle.monai_label.studies.folder import folder_datastore
from bundle.monai_label.studies.pacs import Pacs
from bundle.monai_label.studies.reloading import ReloadingDatastore
from bundle.monai_label.trained_network import TrainedNetwork
from bundle.monai_label.training import OneShotTraining
from bundle.pipeline.configs import BUNDLE_ROOT


class OneShotApp(MONAILabelApp):
    """Scribble on one study, submit, train: every study gets a label and a predicted quality.

    Settings (`--conf`): "small" (true), "weights" (a shipped set of weights, so that the anatomy need not be learnt
    first), "modality" (of the studies, "auto" unless given), "set" (settings of stages, separated by ";"), "shipped"
    (whether the network that comes with the bundle is offered).
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.work = Path(app_dir).absolute() / "work"
        self.training = OneShotTraining(self.work, conf, self.datastore)
        self.masks = SupportMaskTask(self.work / LOOKS, conf)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="One-shot segmentation of CT or MR",
            description=f'Strokes on one study, background strokes in a segment "{OUTSIDE}", then Train.',
        )

    def init_datastore(self) -> ReloadingDatastore:
        """A folder, or a DICOMweb server by a mirror in the app's folder."""
        mirror = self.work / "studies" / sha256(self.studies.encode()).hexdigest()[:12]
        in_use = self.training.is_at_work
        if self.studies.startswith(DICOMWEB):
            return DicomwebDatastore(mirror, Pacs(self.studies, mirror / "series"), in_use)
        return folder_datastore(Path(self.studies), mirror, in_use)

    def init_infers(self) -> dict[str, InferTask]:
        """What was trained here, what grows from strokes, and, if asked for, the network that comes with the bundle."""
        network = TrainedNetwork(self.work / "model" / TRAINED, self.conf, self.training.handed)
        infers = {TRAINED: network, SUPPORT_MASK: self.masks}
        if self.conf.get("shipped", "false") == "true":
            infers[SHIPPED] = BundleInferTask(str(BUNDLE_ROOT), self.conf, type=InferType.SEGMENTATION)
        return infers

    def init_trainers(self) -> dict[str, TrainTask]:
        """The one-shot pipeline."""
        return {TRAINED: self.training}

    def init_strategies(self) -> dict[str, Strategy]:
        """Least trusted first."""
        return {NAME: LeastTrusted(), "random": Random()}

    def tasks(self, kind: str) -> Collection[str]:
        """Names of the app's "models", "trainers" or "strategies"."""
        return {"models": self._infers, "trainers": self._trainers, "strategies": self._strategies}[kind]

    def infer(self, request: dict[str, Any], datastore: LocalDatastore | None = None) -> dict[str, Any]:
        """As MONAI Label's; the task also learns which study of the datastore it is, and that study's label."""
        image, studies = request["image"], datastore or self.datastore()
        model = current_name(request["model"])
        named: dict[str, Any] = {"model": model, "study": None, "stored": None}
        if image in studies.list_images():
            # By its path: MONAI Label would prefer a file of this name in the folder that the server was started in.
            named |= {"study": image, "image": studies.get_image_uri(image)}
            if model == TRAINED:
                named |= label_of_study(studies, image)
        return super().infer({**request, **named}, datastore)
