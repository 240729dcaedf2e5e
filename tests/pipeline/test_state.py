import json
import logging
import signal
import subprocess
import sys

import pytest

from bundle.pipeline import state as module
from bundle.pipeline.state import WorkDirectory
from scripts.common.work_folder import WorkFolder
from tests.paths import ROOT


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "hand_back_memory", lambda: None)  # slow, and there is nothing to collect
    return WorkDirectory(WorkFolder(tmp_path / "out"))


def raising(error):
    def action():
        raise error

    return action


def test_a_stage_that_did_something_is_logged_with_time_and_memory(directory, caplog):
    caplog.set_level(logging.INFO)
    assert directory.run("a", lambda: True)
    assert directory.run("b", lambda: True)
    state = json.loads(directory.work.state.read_text(encoding="utf-8"))
    assert list(state) == ["a", "b"]
    assert set(state["b"]) == {"done", "seconds", "peak_memory_mb"}
    assert state["b"]["done"] is True and state["b"]["peak_memory_mb"] > 1
    assert "a: finished in 0 s" in caplog.text


def test_a_stage_with_nothing_to_do_keeps_its_entry_and_says_so(directory, caplog, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    directory.run("a", lambda: True)
    before = directory.state()
    caplog.clear()
    caplog.set_level(logging.INFO)
    assert not directory.run("a", lambda: False)
    assert directory.state() == before
    assert "a: done before" in caplog.text and "finished" not in caplog.text


@pytest.mark.parametrize("failure", [RuntimeError("disk"), SystemExit(1), KeyboardInterrupt()])
def test_a_stage_that_died_is_unfinished(directory, failure):
    with pytest.raises(type(failure)):
        directory.run("a", raising(failure))
    assert directory.state()["a"] == {"done": False, "seconds": 0.0}


def test_a_stage_done_again_and_killed_is_unfinished(directory):
    directory.run("a", lambda: True)
    with pytest.raises(SystemExit):
        directory.run("a", raising(SystemExit(1)))
    assert directory.state()["a"]["done"] is False


def test_seconds_add_up_over_kills_but_not_over_changes(directory, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def work():
        now[0] += 10.0
        return True

    directory.run("a", work)
    assert directory.state()["a"]["seconds"] == 10

    def stop_after_work():
        work()
        raise SystemExit(1)

    with pytest.raises(SystemExit):
        directory.run("a", stop_after_work)
    assert directory.state()["a"] == {"done": False, "seconds": 10}
    directory.run("a", work)
    assert directory.state()["a"]["seconds"] == 20
    directory.run("a", work)
    assert directory.state()["a"]["seconds"] == 10


def test_what_stages_before_kept_of_the_gpu_is_handed_back_first(directory, monkeypatch):
    """A cohort that a training held there is garbage in cycles; workers of the next stage share the GPU."""
    order = []
    monkeypatch.undo()
    monkeypatch.setattr("bundle.computing_device.gc.collect", lambda: order.append("collect"))
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: order.append("empty"))
    directory.run("a", lambda: order.append("work") or True)
    assert order == ["collect", "empty", "work"]


def test_of_a_stage_that_was_killed_the_time_is_known(directory):
    program = f"""
import os, signal, time
from pathlib import Path
from bundle.pipeline import state
from scripts.common.work_folder import WorkFolder

def work():
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)

state.NOTED_EVERY_S = 0.1
state.WorkDirectory(WorkFolder(Path({str(directory.path)!r}))).run("a", work)
"""
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    entry = directory.state()["a"]
    assert entry["done"] is False and 0.3 <= entry["seconds"] <= 30


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"a": 3}', '{"b": {"seconds": "3"}}'])
def test_a_damaged_file_is_said_once_and_survived(directory, caplog, content):
    directory.run("a", lambda: True)
    directory.work.state.write_text(content, encoding="utf-8")
    directory.run("b", lambda: True)
    assert caplog.text.count("state.json is damaged") == 1
    assert list(directory.state()) == ["b"]


def test_no_file_is_no_state(directory):
    assert directory.state() == {}
