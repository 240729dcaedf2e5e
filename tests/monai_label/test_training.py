"""What a training begins with and leaves, without a server."""

import subprocess
import sys

import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from bundle.monai_label.names import OUTSIDE
from bundle.monai_label.training import OneShotTraining
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
