"""What a training begins with and leaves, without a server."""

import subprocess
import sys

import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from bundle.monai_label import training as training_module
from bundle.monai_label.names import OUTSIDE
from bundle.monai_label.results import Handed
from bundle.monai_label.training import OneShotTraining
from bundle.run_progress import RunProgress
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


@pytest.fixture
def studies(tmp_path):
    (tmp_path / "labels").mkdir()
    studies = Fetching(tmp_path / "labels", "a", "b")
    studies.submit("a", [0, 1, 2, 0], spleen=1, **{OUTSIDE: 2})
    return studies


@pytest.fixture
def training(tmp_path):
    return OneShotTraining(tmp_path / "app", {})


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
