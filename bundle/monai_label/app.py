"""The app itself, on MONAI Label's own classes (0.8.5): one trainer, the networks, one strategy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.random import Random
from monailabel.tasks.infer.bundle import BundleInferTask

from bundle.datasets.links import link_images
from bundle.monai_label.commands import is_small, run_command
from bundle.monai_label.names import LOOKS, OUTSIDE, REGION, SHIPPED, SUBMITTED, TAG, TRAINED
from bundle.monai_label.region import GrownRegion
from bundle.monai_label.submissions import classes_option, read_task
from bundle.packaging.assembly import Release, assemble
from bundle.pipeline.configs import BUNDLE_ROOT
from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.data.volume_io import find_volumes

TERMS = "A network of this server's own studies; whoever shares it says under which terms.\n"


class OneShotApp(MONAILabelApp):
    """Scribble on one study, submit, train: every study gets a label and a predicted quality.

    Settings (`--conf`): "small" (true), "weights" (a shipped set of weights, so that the anatomy need not be learnt
    first), "set" (settings of stages, separated by ";").
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.work = Path(app_dir).absolute() / "work"
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="One-shot CT segmentation",
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
            REGION: GrownRegion(self.work / LOOKS, self.conf),
        }

    def init_trainers(self) -> dict[str, TrainTask]:
        """The one-shot pipeline."""
        return {TRAINED: OneShotTraining(self.work, self.conf)}

    def init_strategies(self) -> dict[str, Strategy]:
        """Least trusted first."""
        return {"least_trusted": LeastTrusted(), "random": Random()}

    def infer(self, request: dict[str, Any], datastore: LocalDatastore | None = None) -> dict[str, Any]:
        """As MONAI Label's; the task is also told which study of the datastore it is, None for any other image."""
        image = request.get("image")
        known = isinstance(image, str) and image in (datastore or self.datastore()).list_images()
        return super().infer({**request, "study": image if known else None}, datastore)


class ReloadingDatastore(LocalDatastore):
    """Training writes labels from a process of its own: what is on disk is read before anything is written."""

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return super().save_label(image_id, label_filename, label_tag, label_info)

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return super().get_label_info(label_id, label_tag)

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return super().get_labels_by_image_id(image_id)

    def status(self) -> dict[str, Any]:
        """As MONAI Label's, on what is on disk now."""
        self._init_from_datastore_file()
        return super().status()


class OneShotTraining(TrainTask):
    """Runs `python -m bundle oneshot` on the datastore's studies and gives its label maps back to the datastore.

    Its progress is what the server's status shows; killed, the next training continues.

    Args:
        work: folder for all that the rounds leave.
        conf: the app's settings.
    """

    def __init__(self, work: Path, conf: Mapping[str, str]) -> None:
        super().__init__("One-shot training from the strokes of one study")
        self.work, self.conf = work, conf

    def config(self) -> dict[str, Any]:
        """What a client may change."""
        return {"small": is_small(self.conf), "device": "", "set": ""}

    def __call__(self, request: Mapping[str, Any], datastore: LocalDatastore) -> dict[str, Any]:
        """Train and label every study.

        Raises:
            MONAILabelException: what was submitted is not enough, or the pipeline ended with an error.
        """
        try:
            self._train(request, datastore)
            return self._give_back(datastore)
        except BundleError as error:
            raise MONAILabelException(MONAILabelError.APP_ERROR, str(error)) from error

    def _train(self, request: Mapping[str, Any], datastore: LocalDatastore) -> None:
        task = read_task(datastore, self.work)
        files = {case: Path(datastore.get_image_uri(case)) for case in datastore.list_images()}
        options = {
            "images": link_images(files, self.work / "images"),
            "support": files[task.support],
            "scribbles": task.scribbles,
            "classes": classes_option(task.classes),
            "background": task.background,
            "output": self.work / "run",
            "region": task.region,
            "accepted": task.accepted,
        }
        run_command("oneshot", options, self.conf, request)

    def _give_back(self, datastore: LocalDatastore) -> dict[str, Any]:
        """Save the label maps and the network."""
        run, told = self.work / "run", {}
        classes = read_json(run / "cohort.json")["classes"]
        names = [{"name": name, "idx": value} for name, value in classes.items()]
        for case, file in find_volumes(run / "predictions").items():
            trust = run / "self_check" / f"{case}.json"
            found = read_json(trust)["classes"] if trust.exists() else {}
            quality = {name: content["predicted_dice"] for name, content in found.items()}
            reasons = {name: content["reasons"] for name, content in found.items() if content["flagged"]}
            info = {"label_info": names, "predicted_dice": quality, "doubted": reasons}
            datastore.save_label(case, str(file), TAG, info)
            told[case] = quality
        terms = self.work / "terms.txt"
        terms.write_text(TERMS, encoding="utf-8")
        assemble(Release(TRAINED, data_terms=terms), self.work / "model", run)
        return {"predicted_dice": told}


class TrainedNetwork(InferTask):
    """The network of the last training; there is none before the first.

    Args:
        folder: the bundle that training leaves.
        conf: the app's settings.
    """

    def __init__(self, folder: Path, conf: dict[str, str]) -> None:
        super().__init__(InferType.SEGMENTATION, [], 3, "The network that was trained on this server's studies")
        self.folder, self.conf = folder, conf
        self._loaded: tuple[int, BundleInferTask] | None = None

    def _task(self) -> BundleInferTask | None:
        card = self.folder / "models" / "model.json"
        if not card.exists():
            return None
        changed = card.stat().st_mtime_ns
        if self._loaded is None or self._loaded[0] != changed:
            self._loaded = (changed, BundleInferTask(str(self.folder), self.conf, type=InferType.SEGMENTATION))
        return self._loaded[1]

    def is_valid(self) -> bool:
        """Whether anything was trained."""
        return self._task() is not None

    def info(self) -> dict[str, Any]:
        """Of the network there is now."""
        task = self._task()
        return super().info() if task is None else task.info()

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Segment one study.

        Raises:
            HTTPException: nothing was trained yet.
        """
        task = self._task()
        if task is None:
            raise HTTPException(400, "there is no trained network yet: press Train")
        return task(request)


class LeastTrusted(Strategy):
    """The study whose label the self-check trusts least, among those that the user has not submitted."""

    def __init__(self) -> None:
        super().__init__("Least trusted result first")

    def __call__(self, request: Mapping[str, Any], datastore: LocalDatastore) -> dict[str, Any] | None:
        """{"id": study, "weight": predicted Dice of its worst class}; studies without a result come last."""
        trust = {}
        for case in sorted(datastore.list_images()):
            tags = datastore.get_labels_by_image_id(case)
            if SUBMITTED not in tags:
                quality = datastore.get_label_info(case, TAG).get("predicted_dice", {}) if TAG in tags else {}
                trust[case] = min(quality.values(), default=1.0)
        if not trust:
            return None
        case = min(trust, key=trust.__getitem__)
        return {"id": case, "weight": trust[case]}
