"""What a training begins with and leaves, without a server."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from bundle.monai_label import training as training_module
from bundle.monai_label.names import DRAWN_ON, OUTSIDE, SHOWN, TAG
from bundle.monai_label.results import Handed
from bundle.monai_label.studies.reloading import ReloadingDatastore
from bundle.monai_label.training import OneShotTraining
from bundle.progress.run import RunProgress
from scripts.common.errors import BundleError
from tests.monai_label.test_submissions import Studies
from tests.paths import ROOT
from tests.test_folder_lock import HOLD


class Fetching(Studies):
    """Learns of submissions only when it is asked to fetch them."""

    def __init__(self, folder, *cases):
        super().__init__(folder, *cases)
        self.fetched = 0

    def fetch_submissions(self):
        self.fetched += 1

    def run_input(self, study):
        return self.folder / "a.nii.gz"

    def image_mark(self, study):
        return None


@pytest.fixture
def studies(tmp_path):
    (tmp_path / "labels").mkdir()
    studies = Fetching(tmp_path / "labels", "a", "b")
    studies.submit("a", [0, 1, 2, 0], spleen=1, **{OUTSIDE: 2})
    return studies


@pytest.fixture
def training(tmp_path, studies):
    return OneShotTraining(tmp_path / "app", {}, lambda: studies)


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_a_training_that_outlived_its_server_keeps_its_inputs(training, studies, tmp_path):
    training.check(studies)
    studies.submit("b", [1, 1, 0, 0], spleen=1)
    before = contents(training.folder)
    command = [sys.executable, "-c", HOLD, str(training.work.path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as orphan:
        assert orphan.stdout.readline() == b"held\n"
        with pytest.raises(BundleError, match="another command works in this folder"):
            training.check(studies)
        left = contents(training.folder)
        orphan.kill()
    lock = training.work.path.relative_to(training.folder) / ".lock"
    assert studies.fetched == 1 and left.keys() - {lock} == before.keys()
    assert {name: left[name] for name in before} == before
    training.check(studies)
    assert (training.folder / "accepted" / "b.nii.gz").exists()


def test_without_links_a_round_has_the_images_as_they_are_now(training, studies, monkeypatch):
    def refuse(*_, **__):
        raise OSError

    monkeypatch.setattr("os.symlink", refuse)
    monkeypatch.setattr(studies, "run_input", lambda study: Path(studies.get_image_uri(study)))
    training._link_studies(studies)
    studies.replace("a", "another image")
    studies.cases.remove("b")
    images, _ = training._link_studies(studies)
    assert [file.read_text() for file in images.glob("*.nii.gz")] == ["another image"]


class Killed(BaseException):
    pass


def test_what_a_kill_left_is_told_until_every_label_is_given_back(training, studies, monkeypatch):
    handed = Handed({"spleen": 1}, {}, {}, True)

    def pipeline(*_):
        run = RunProgress(training.work.progress)
        run.begin([("self_check", "self_check")])
        with run.stage("self_check"):
            pass

    def killed(*_):
        raise Killed

    monkeypatch.setattr(training_module, "run_command", pipeline)
    monkeypatch.setattr(training_module.RoundLabels, "of_network", lambda work: None)
    monkeypatch.setattr(training, "_hand_back", lambda *_: handed)
    monkeypatch.setattr(training_module, "assemble", killed)
    assert training.left_over() is None
    with pytest.raises(Killed):
        training({}, studies)
    assert "interrupted while it gave its labels back" in training.left_over()
    monkeypatch.setattr(training_module, "assemble", lambda *_: None)
    training({}, studies)
    assert training.left_over() is None


@pytest.fixture
def rounds(training, monkeypatch):
    """A round that labelled `a` and `b`; a datastore that keeps the tags which it is given."""
    saved = {}

    class Made:
        final = True

        def files(self):
            return {"a": "a.nii.gz", "b": "b.nii.gz"}

        def info(self, work, case):
            return {"label_info": [], "predicted_dice": {"spleen": 0.9}, "doubted": {}, "final": True}

    class Marked:
        def list_images(self):
            return ["a", "b"]

        def image_mark(self, study):
            return f"image of {study}"

        def get_label_info(self, study, tag):
            return saved.get((study, tag), {})

        def get_labels_by_image_id(self, study):
            return {tag: study for of_study, tag in saved if of_study == study}

        def save_label(self, study, file, tag, info):
            saved[study, tag] = info

    monkeypatch.setattr(training_module, "load_cohort", lambda _: SimpleNamespace(classes={"spleen": 1}))
    monkeypatch.setattr(training_module, "read_labels", lambda _: SimpleNamespace(array=np.ones(3, np.uint8)))
    return Made(), Marked(), saved


def test_labels_say_which_image_they_were_made_of_and_one_replaced_meanwhile_gets_none(training, rounds, capsys):
    made, datastore, saved = rounds
    task = SimpleNamespace(support="a", accepted=None)
    marks = {"a": "image of a", "b": "another image of b"}
    handed = training._hand_back(made, task, datastore, marks)
    assert set(saved) == {("a", TAG), ("a", SHOWN)} and handed.predicted_dice == {}
    assert all(info[DRAWN_ON] == "image of a" for info in saved.values())
    assert "b: its image was replaced meanwhile, so it gets no label; train again" in capsys.readouterr().out
    training._hand_back(made, task, datastore, {"a": None, "b": None})
    assert DRAWN_ON not in saved["b", TAG], "where the datastore removes labels of replaced images itself"


@pytest.mark.parametrize("by_user", [False, True])
def test_a_better_label_of_before_stays_until_the_final_one_but_not_beside_the_users_own(
    training, rounds, tmp_path, by_user
):
    made, datastore, saved = rounds
    made.final = False
    saved["b", TAG] = before = {"label_info": [], "predicted_dice": {"spleen": 0.95}, "doubted": {}}
    accepted = tmp_path / "accepted"
    accepted.mkdir()
    if by_user:
        nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), accepted / "b.nii.gz")
    training._hand_back(made, SimpleNamespace(support="a", accepted=accepted), datastore, {"a": None, "b": None})
    assert (saved["b", TAG] is before) is not by_user


@pytest.mark.parametrize(("while_given", "noticed"), [("a", False), ("a", True), ("b", True)])
def test_a_study_removed_while_labels_are_given_back_gets_none_and_the_others_do(
    training, rounds, tmp_path, capsys, while_given, noticed
):
    datastore, label = three_studies(tmp_path)

    class Made(type(rounds[0])):
        def files(self):
            return dict.fromkeys("abc", label)

        def info(self, work, case):
            if case == while_given:
                (tmp_path / "studies" / "b.nii.gz").unlink()
                if noticed:
                    datastore.list_images()
            return super().info(work, case)

    marks = {study: datastore.image_mark(study) for study in datastore.list_images()}
    handed = training._hand_back(Made(), SimpleNamespace(support="a", accepted=None), datastore, marks)
    assert datastore.labelled(TAG) == datastore.labelled(SHOWN) == {"a", "c"}
    assert set(handed.predicted_dice) == {"c"} and Handed.read(training.handed.file) == handed
    assert capsys.readouterr().out.count("b: its image was removed meanwhile, so it gets no label\n") == 1


def test_no_segmentation_is_stored_of_a_series_that_is_gone(training, rounds, monkeypatch, capsys):
    datastore, stored = rounds[1], []
    monkeypatch.setattr(type(datastore), "hand_out", lambda _, study, file: stored.append(study), raising=False)
    folder = training.work.predictions.segmentations
    folder.path.mkdir(parents=True)
    for study in ("a", "gone"):
        folder.label(study).touch()
    training._hand_out(datastore)
    assert stored == ["a"] and "gone: its image was removed meanwhile" in capsys.readouterr().out


def test_a_label_that_cannot_be_written_is_no_removed_study(training, rounds, tmp_path, monkeypatch):
    datastore, _ = three_studies(tmp_path)

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(datastore, "save_label", full)
    with pytest.raises(OSError, match="no space left"):
        training._hand_back(rounds[0], SimpleNamespace(support="a", accepted=None), datastore, {})


def three_studies(tmp_path):
    """A datastore of `a`, `b` and `c`, and a label map."""
    (tmp_path / "studies").mkdir()
    for name in ("studies/a", "studies/b", "studies/c", "label"):
        nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), tmp_path / f"{name}.nii.gz")
    return ReloadingDatastore(tmp_path / "studies"), tmp_path / "label.nii.gz"
