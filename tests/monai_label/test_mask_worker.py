"""The process that grows support masks: it stays between two looks, and comes back when it ended."""

import io
import json
import os
import signal

import pytest

from bundle.monai_label.masks.grow import serve
from bundle.monai_label.masks.worker import DONE, MaskWorker
from scripts.common.errors import BundleError


def look(folder, **changes):
    """Arguments of a look at volumes that are not there."""
    options = {"images": folder / "none", "support": "a", "scribbles": folder / "s.nii.gz", "output": folder / "out"}
    return [
        "support-mask",
        *(str(part) for name, value in {**options, **changes}.items() for part in (f"--{name}", value)),
    ]


def test_what_went_wrong_is_told_in_the_fields_of_an_error(tmp_path):
    answers = io.StringIO()
    serve([json.dumps(look(tmp_path)), json.dumps(look(tmp_path, device="nonsense"))], answers)
    first, second = (json.loads(line) for line in answers.getvalue().splitlines())
    assert first["problem"] == "the images folder is missing" and first["file"] == str(tmp_path / "none")
    assert second != DONE and set(second) == {"problem", "case", "stage", "file", "expected", "found"}
    assert not (tmp_path / "out").exists()


def test_between_two_looks_the_gpu_is_free_for_trainings(tmp_path, monkeypatch):
    answers, told = io.StringIO(), []
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: told.append(len(answers.getvalue().splitlines())))
    serve([json.dumps(look(tmp_path))] * 2, answers)
    assert told == [1, 2], "after each answer, which nobody waits for"


@pytest.mark.slow
def test_it_stays_between_two_looks_and_comes_back_when_it_ended(tmp_path):
    worker = MaskWorker()
    process = worker.start()
    try:
        for _ in range(2):
            with pytest.raises(BundleError, match="the images folder is missing") as caught:
                worker.grow(look(tmp_path))
            assert caught.value.file == str(tmp_path / "none")
        assert worker.start().pid == process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(BundleError, match="the images folder is missing"):
            worker.grow(look(tmp_path))
        assert worker.start().pid != process.pid
    finally:
        worker.start().kill()


def test_a_process_that_ends_during_a_look_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("bundle.monai_label.masks.worker.PROGRAM", ["-c", "input()"])
    with pytest.raises(BundleError, match="the process that grows masks ended"):
        MaskWorker().grow(look(tmp_path))
