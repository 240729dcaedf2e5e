"""A round of training: from what the user submitted to a label of every study, and a network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.exception import ImageNotFoundException, MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.async_tasks.utils import processes

from bundle.datasets.links import link_only
from bundle.folder_lock import only_command_in
from bundle.monai_label.answers import present_names
from bundle.monai_label.commands import command_line, is_small, run_command
from bundle.monai_label.names import DRAWN_ON, OURS, SHOWN, TAG, TRAINED
from bundle.monai_label.progress import is_done, left_over, read_progress, train_stats
from bundle.monai_label.results import Handed, HandedNow, Labels, RoundLabels
from bundle.monai_label.studies.reloading import ReloadingDatastore
from bundle.monai_label.submissions import Task, classes_option, read_task
from bundle.packaging.assembly import assemble
from bundle.packaging.release import Release
from scripts.common.errors import BundleError
from scripts.common.files import remove_file, write_json
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import load_cohort
from scripts.data.gate.modality import AUTO
from scripts.data.volume_io import find_volumes, read_labels

TERMS = "A network of this server's own studies; whoever shares it says under which terms.\n"
TRANSFERRED = "self_check_pseudo_labels"  # the stage after which every study has a label that was judged


class OneShotTraining(TrainTask):
    """Runs `python -m bundle oneshot` on the datastore's studies and gives its label maps back to the datastore.

    Transferred labels are given back as soon as they are judged, and replaced by those that the network helped with.
    Killed, the next training continues.

    Args:
        folder: for all that the rounds leave.
        conf: the app's settings.
        datastore: the server's, once it is there.
    """

    def __init__(self, folder: Path, conf: Mapping[str, str], datastore: Callable[[], Labels]) -> None:
        super().__init__("One-shot training from the strokes of one study")
        self.folder, self.conf = folder, conf
        self.work = WorkFolder(folder / "run")
        self.handed = HandedNow(folder / "handed.json", datastore)
        self._begun = folder / "begun.json"  # while the studies lack what a training makes

    def info(self) -> dict[str, Any]:
        """As MONAI Label's; the description tells what an earlier training left."""
        sentences = [self.description + ".", self.left_over() or ""]
        return {**super().info(), "description": " ".join(filter(None, sentences))}

    def config(self) -> dict[str, Any]:
        """What a client may change."""
        return {"small": is_small(self.conf), "device": "", "modality": self.conf.get("modality", AUTO), "set": ""}

    def stats(self) -> dict[str, Any]:
        """See `train_stats`."""
        handed = self.handed.read()
        mean_dice = None if handed is None else handed.mean_dice()
        return train_stats(read_progress(self.work.progress), mean_dice, is_training())

    def is_at_work(self) -> bool:
        """Whether a training runs, of this server or one that outlived its own."""
        if is_training():
            return True
        try:
            with only_command_in(self.work.path):
                return False
        except BundleError:
            return True

    def left_over(self) -> str | None:
        """A sentence on a training that was interrupted; None while one is at work, or where none was."""
        if is_training():
            return None
        return left_over(self.work.path, read_progress(self.work.progress), not self._begun.exists())

    def check(self, datastore: ReloadingDatastore) -> None:
        """Refuse at once what a training would refuse later.

        Raises:
            BundleError: what was submitted is not enough, or another training works here.
        """
        with only_command_in(self.work.path):
            datastore.fetch_submissions()
            read_task(datastore, self.folder)
            remove_file(self.work.progress)  # that of the last training is not that of the next

    def __call__(self, request: Mapping[str, Any], datastore: ReloadingDatastore) -> dict[str, Any]:
        """Train and label every study.

        Raises:
            MONAILabelException: what was submitted is not enough, or the pipeline ended with an error.
        """
        for name in ("monailabel", "__main__"):  # it tells of every label, and at the end, what the user sees anyway
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            return self._train(request, datastore)
        except BundleError as error:
            raise MONAILabelException(MONAILabelError.APP_ERROR, str(error)) from error

    def _train(self, request: Mapping[str, Any], datastore: ReloadingDatastore) -> dict[str, Any]:
        with only_command_in(self.work.path):  # what one reads that outlived its server stays as it is
            datastore.fetch_submissions()
            task = read_task(datastore, self.folder)
            images, marks = self._link_studies(datastore)
            remove_file(self.work.progress)
            write_json(self._begun, {"support": task.support})
        options = {
            "images": images,
            "support": find_volumes(images)[task.support],
            "scribbles": task.scribbles,
            "classes": classes_option(task.classes),
            "background": task.background,
            "output": self.work.path,
            "support-mask": task.support_mask,
            "accepted": task.accepted,
        }
        given_back = False

        def follow(line: str) -> None:
            nonlocal given_back
            if not given_back and is_done(read_progress(self.work.progress), TRANSFERRED):
                given_back = True
                try:
                    self._hand_back(RoundLabels.transferred(self.work), task, datastore, marks)
                except BundleError as error:  # the final ones follow
                    print(f"transferred labels are not given back: {' '.join(str(error).split())}", flush=True)

        run_command(command_line("oneshot", options, self.conf, request), follow)
        handed = self._hand_back(RoundLabels.of_network(self.work), task, datastore, marks)
        self._hand_out(datastore)
        terms = self.folder / "terms.txt"
        terms.write_text(TERMS, encoding="utf-8")
        assemble(Release(TRAINED, data_terms=terms), self.folder / "model", self.work.path)
        remove_file(self._begun)
        return {"predicted_dice": handed.predicted_dice}

    def _link_studies(self, datastore: ReloadingDatastore) -> tuple[Path, dict[str, str | None]]:
        """A folder of all studies that can be had, and their marks; one that cannot is told and left out."""
        files, marks = {}, {}
        for study in datastore.list_images():
            try:
                files[study], marks[study] = datastore.run_input(study), datastore.image_mark(study)
            except BundleError as error:
                print(f"{study} is left out: {' '.join(str(error).split())}", flush=True)
        return link_only(files, self.folder / "images"), marks

    def _hand_back(
        self, made: RoundLabels, task: Task, datastore: ReloadingDatastore, marks: Mapping[str, str | None]
    ) -> Handed:
        """Save the label maps in the datastore, each under the tag of ours and under the one that 3D Slicer loads.

        What is not ours under the latter stays. A study that was removed or replaced meanwhile gets nothing.
        """
        known = set(datastore.list_images())
        by_user = {task.support} | ({*find_volumes(task.accepted)} if task.accepted else set())
        classes = dict(load_cohort(self.work.path).classes)
        quality: dict[str, dict[str, float]] = {}
        doubted: dict[str, dict[str, list[str]]] = {}
        for case, file in made.files().items():
            if case not in known:
                continue
            try:
                info = self._give(made, case, file, datastore, marks.get(case), classes, case in by_user)
            except (OSError, ImageNotFoundException):
                if _is_there(datastore, case):
                    raise
                print(f"{case}: its image was removed meanwhile, so it gets no label", flush=True)
                continue
            if info is not None and case not in by_user:
                quality[case], doubted[case] = info["predicted_dice"], info["doubted"]
        handed = Handed(classes, quality, doubted, made.final)
        handed.write(self.handed.file)
        print(handed.in_words(), flush=True)
        return handed

    def _give(
        self,
        made: RoundLabels,
        case: str,
        file: Path,
        datastore: ReloadingDatastore,
        mark: str | None,
        classes: Mapping[str, int],
        by_user: bool,
    ) -> Mapping[str, Any] | None:
        """Save one label map unless a better one is there; what is noted of the study's, None if it gets nothing.

        What the user made or accepted takes the place of anything else.
        """
        if mark is not None and mark != datastore.image_mark(case):
            print(f"{case}: its image was replaced meanwhile, so it gets no label; train again", flush=True)
            return None
        info, before = made.info(self.work, case), datastore.get_label_info(case, TAG)
        info |= {} if mark is None else {DRAWN_ON: mark}
        if not made.final and not by_user and _is_better(before, info):
            return before
        names = present_names(read_labels(file).array, classes)
        datastore.save_label(case, str(file), TAG, dict(info))
        if SHOWN not in datastore.get_labels_by_image_id(case) or OURS in datastore.get_label_info(case, SHOWN):
            datastore.save_label(case, str(file), SHOWN, {**info, "params": {**info, "label_names": names}})
        return info

    def _hand_out(self, datastore: ReloadingDatastore) -> None:
        """Give those of DICOM series to others, as DICOM, but for studies that were removed meanwhile."""
        known, exported = set(datastore.list_images()), self.work.predictions.segmentations
        for file in sorted(exported.path.glob("*.dcm")):
            if file.stem not in known:
                print(f"{file.stem}: its image was removed meanwhile, so its label is not stored", flush=True)
                continue
            try:
                datastore.hand_out(file.stem, file)
            except BundleError as error:
                print(f"{file.stem} is not stored: {' '.join(str(error).split())}", flush=True)


def is_training() -> bool:
    """Whether a training of this server is at work."""
    return bool(processes("train"))


def _is_there(datastore: ReloadingDatastore, study: str) -> bool:
    """Whether a study is listed and its image can be read."""
    try:
        datastore.image_mark(study)
    except OSError:
        return False
    return study in datastore.list_images()


def _is_better(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a study's label of an earlier round is of the same classes and trusted more than a transferred one."""
    if before.get("label_info") != now["label_info"]:
        return False
    worst_before, worst_now = (min(of["predicted_dice"].values(), default=0.0) for of in (before, now))
    return bool(worst_before > worst_now)
