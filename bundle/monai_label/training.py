"""A round of training: from what the user submitted to a label of every study, and a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.train import TrainTask

from bundle.datasets.links import link_images
from bundle.monai_label.commands import command_line, is_small, run_command
from bundle.monai_label.names import TAG, TRAINED
from bundle.monai_label.results import label_info
from bundle.monai_label.submissions import classes_option, read_task
from bundle.packaging.assembly import assemble
from bundle.packaging.release import Release
from scripts.common.errors import BundleError
from scripts.common.work_folder import WorkFolder
from scripts.data.gate.modality import AUTO
from scripts.data.volume_io import find_volumes

TERMS = "A network of this server's own studies; whoever shares it says under which terms.\n"


class OneShotTraining(TrainTask):
    """Runs `python -m bundle oneshot` on the datastore's studies and gives its label maps back to the datastore.

    Its progress is what the server's status shows; killed, the next training continues.

    Args:
        folder: for all that the rounds leave.
        conf: the app's settings.
    """

    def __init__(self, folder: Path, conf: Mapping[str, str]) -> None:
        super().__init__("One-shot training from the strokes of one study")
        self.folder, self.conf = folder, conf
        self.work = WorkFolder(folder / "run")

    def config(self) -> dict[str, Any]:
        """What a client may change."""
        return {"small": is_small(self.conf), "device": "", "modality": self.conf.get("modality", AUTO), "set": ""}

    def __call__(self, request: Mapping[str, Any], datastore: LocalDatastore) -> dict[str, Any]:
        """Train and label every study.

        Raises:
            MONAILabelException: what was submitted is not enough, or the pipeline ended with an error.
        """
        try:
            self._train(request, datastore)
            return self._hand_back(datastore)
        except BundleError as error:
            raise MONAILabelException(MONAILabelError.APP_ERROR, str(error)) from error

    def _train(self, request: Mapping[str, Any], datastore: LocalDatastore) -> None:
        task = read_task(datastore, self.folder)
        files = {case: Path(datastore.get_image_uri(case)) for case in datastore.list_images()}
        options = {
            "images": link_images(files, self.folder / "images"),
            "support": files[task.support],
            "scribbles": task.scribbles,
            "classes": classes_option(task.classes),
            "background": task.background,
            "output": self.work.path,
            "support-mask": task.support_mask,
            "accepted": task.accepted,
        }
        run_command(command_line("oneshot", options, self.conf, request))

    def _hand_back(self, datastore: LocalDatastore) -> dict[str, Any]:
        """Save the label maps in the datastore, and the network as a bundle of its own."""
        quality = {}
        for case, file in find_volumes(self.work.predictions.path).items():
            info = label_info(self.work, case)
            datastore.save_label(case, str(file), TAG, info)
            quality[case] = info["predicted_dice"]
        terms = self.folder / "terms.txt"
        terms.write_text(TERMS, encoding="utf-8")
        assemble(Release(TRAINED, data_terms=terms), self.folder / "model", self.work.path)
        return {"predicted_dice": quality}
