"""The app itself, on MONAI Label's own classes (0.8.5): one trainer, the networks, one strategy."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.random import Random
from monailabel.tasks.infer.bundle import BundleInferTask

from bundle.monai_label.datastore import ReloadingDatastore
from bundle.monai_label.names import LOOKS, OUTSIDE, SHIPPED, SUPPORT_MASK, TRAINED, current_name
from bundle.monai_label.strategy import LeastTrusted
from bundle.monai_label.support_mask import SupportMaskTask
from bundle.monai_label.trained_network import TrainedNetwork
from bundle.monai_label.training import OneShotTraining
from bundle.pipeline.configs import BUNDLE_ROOT


class OneShotApp(MONAILabelApp):
    """Scribble on one study, submit, train: every study gets a label and a predicted quality.

    Settings (`--conf`): "small" (true), "weights" (a shipped set of weights, so that the anatomy need not be learnt
    first), "modality" (of the studies, "auto" unless given), "set" (settings of stages, separated by ";").
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.work = Path(app_dir).absolute() / "work"
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="One-shot segmentation of CT or MR",
            description=f'Strokes on one study, background strokes in a segment "{OUTSIDE}", then Train.',
        )

    def init_datastore(self) -> LocalDatastore:
        """Folders of files; other datastores as MONAI Label makes them."""
        if self.studies.startswith(("http://", "https://")):
            return super().init_datastore()
        return ReloadingDatastore(self.studies, extensions=("*.nii.gz", "*.nii"), auto_reload=True)

    def init_infers(self) -> dict[str, InferTask]:
        """The network that was trained here, the one that comes with the bundle, and what grows from strokes."""
        shipped = BundleInferTask(str(BUNDLE_ROOT), self.conf, type=InferType.SEGMENTATION)
        return {
            TRAINED: TrainedNetwork(self.work / "model" / TRAINED, self.conf),
            SHIPPED: shipped,
            SUPPORT_MASK: SupportMaskTask(self.work / LOOKS, self.conf),
        }

    def init_trainers(self) -> dict[str, TrainTask]:
        """The one-shot pipeline."""
        return {TRAINED: OneShotTraining(self.work, self.conf)}

    def init_strategies(self) -> dict[str, Strategy]:
        """Least trusted first."""
        return {"least_trusted": LeastTrusted(), "random": Random()}

    def tasks(self, kind: str) -> Collection[str]:
        """Names of the app's "models", "trainers" or "strategies"."""
        return {"models": self._infers, "trainers": self._trainers, "strategies": self._strategies}[kind]

    def infer(self, request: dict[str, Any], datastore: LocalDatastore | None = None) -> dict[str, Any]:
        """As MONAI Label's; the task also learns which study of the datastore it is, None for any other image."""
        image, studies = request["image"], datastore or self.datastore()
        named = {"model": current_name(request["model"]), "study": None}
        if image in studies.list_images():
            # By its path: MONAI Label would prefer a file of this name in the folder that the server was started in.
            named |= {"study": image, "image": studies.get_image_uri(image)}
        return super().infer({**request, **named}, datastore)
