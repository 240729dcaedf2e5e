"""One command at a time in a folder: also after kills, across processes, and where there are no locks."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from bundle import folder_lock
from bundle.folder_lock import FILE_NAME, only_command_in
from scripts.common.errors import BundleError
from tests.paths import ROOT

HOLD = """
import sys, time
from pathlib import Path
from bundle.folder_lock import only_command_in
with only_command_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that works in `out`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_another_process_is_kept_out_and_told_who_is_in(tmp_path, holder):
    with (
        pytest.raises(BundleError, match="another command works in this folder") as caught,
        only_command_in(tmp_path / "out"),
    ):
        pass
    assert caught.value.file == str(tmp_path / "out")
    assert f"process {holder.pid} on {socket.gethostname()}: {sys.executable}" in caught.value.found


def test_other_spellings_of_a_folder_are_the_same_folder(tmp_path, holder):
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for folder in (tmp_path / "link", tmp_path / "out" / ".." / "out"):
        with pytest.raises(BundleError, match="another command works"), only_command_in(folder):
            pass
    with only_command_in(tmp_path / "other"):
        pass


def test_a_killed_process_leaves_the_folder_free(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "out" / FILE_NAME).exists()
    with only_command_in(tmp_path / "out"):
        text = (tmp_path / "out" / FILE_NAME).read_text(encoding="utf-8")
        assert text.startswith(f"process {os.getpid()} on "), "what the killed one wrote is gone"


def test_one_process_may_nest_it_and_the_outermost_end_frees_the_folder(tmp_path):
    folder = tmp_path / "out"
    with only_command_in(folder):
        with only_command_in(folder):
            pass
        held = subprocess.run([sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, capture_output=True, text=True)
        assert held.returncode == 1 and "another command works in this folder" in held.stderr
        (folder / "result").touch()
    assert [file.name for file in folder.iterdir()] == ["result"]


def test_folders_that_nothing_came_into_go_again(tmp_path):
    with pytest.raises(ValueError), only_command_in(tmp_path / "a" / "b"):
        raise ValueError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    with only_command_in(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").exists(), "that was there before"


def test_a_lock_that_went_with_its_folder_is_taken_again(tmp_path):
    for _ in range(3):
        with only_command_in(tmp_path / "out"):
            assert (tmp_path / "out" / FILE_NAME).exists()


def test_two_processes_that_take_turns_never_hold_it_together(tmp_path):
    """Each counts up a number that only one may change at a time; the lock's file comes and goes meanwhile."""
    script = """
import sys, time
from pathlib import Path
from bundle.folder_lock import only_command_in
from scripts.common.errors import BundleError
folder, done = Path(sys.argv[1]), 0
while done < 40:
    try:
        with only_command_in(folder):
            number = int((folder / "number").read_text())
            time.sleep(0.001)
            (folder / "number").write_text(str(number + 1))
            done += 1
    except BundleError:
        time.sleep(0.0005)
"""
    (tmp_path / "number").write_text("0")
    command = [sys.executable, "-c", script, str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "120"


def test_a_file_or_a_closed_folder_is_said(tmp_path):
    (tmp_path / "file").write_text("the user's")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BundleError, match="the output folder cannot be written"), only_command_in(folder):
            pass
    assert (tmp_path / "file").read_text() == "the user's"


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(folder_lock.FileLock, "acquire", refuse)
    with only_command_in(tmp_path / "out"):
        time.sleep(0)
    assert "its file system has no locks" in caplog.text
