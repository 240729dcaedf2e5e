import logging

import pytest

from bundle.pipeline.state import Stage, WorkDirectory
from scripts.common.errors import BundleError
from scripts.common.files import read_json


class Steps:
    """Three stages in a chain, a -> b -> c; b has a folder whose content says how often it was continued."""

    def __init__(self, path):
        self.directory = WorkDirectory(path)
        self.done = []
        self.config = {"a": 1, "b": 1, "c": 1}
        self.inputs = {"a": "x", "b": None, "c": None}
        self.fail = {}

    def stage(self, name, after):
        folder = self.directory.path / name

        def action():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"start_{len(list(folder.iterdir()))}").touch()
            if name in self.fail:
                raise self.fail[name]
            self.done.append(name)

        return Stage(name, action, self.config[name], self.inputs[name], after, folder)

    def run(self):
        self.done = []
        for name, after in (("a", []), ("b", ["a"]), ("c", ["b"])):
            self.directory.run(self.stage(name, after))
        return "".join(self.done)

    def files(self, name):
        return sorted(path.name for path in (self.directory.path / name).iterdir())


@pytest.fixture
def steps(tmp_path, monkeypatch):
    monkeypatch.setattr("bundle.pipeline.state.gc.collect", lambda: 0)  # slow, and there is nothing to collect
    return Steps(tmp_path / "out")


def test_a_second_run_does_nothing(steps, caplog):
    caplog.set_level(logging.INFO)
    assert steps.run() == "abc"
    assert steps.run() == ""
    assert caplog.text.count("done before") == 3


def test_two_runs_in_one_folder_are_refused(steps):
    other = WorkDirectory(steps.directory.path)
    inside = Stage("a", lambda: other.run(Stage("b", lambda: None, 1, None)), 1, None)
    with pytest.raises(BundleError, match="another run works in this folder"):
        steps.directory.run(inside)
    assert steps.run() == "abc", "the lock goes with the run"


def test_state_holds_what_the_contract_says(steps):
    steps.run()
    state = read_json(steps.directory.path / "state.json")
    assert list(state) == ["a", "b", "c"]
    assert set(state["b"]) == {"inputs", "config", "done", "seconds", "peak_memory_mb"}
    assert state["b"]["done"] is True
    assert state["b"]["peak_memory_mb"] > 1


@pytest.mark.parametrize("failure", [RuntimeError("disk"), SystemExit(1), KeyboardInterrupt()])
def test_a_stage_killed_in_the_middle_continues_with_its_files(steps, failure, caplog):
    caplog.set_level(logging.INFO)
    steps.fail = {"b": failure}
    with pytest.raises(type(failure)):
        steps.run()
    assert steps.directory.state()["b"]["done"] is False
    steps.fail = {}
    assert steps.run() == "bc"
    assert "b: continuing" in caplog.text
    assert steps.files("b") == ["start_0", "start_1"]


def test_changed_settings_redo_that_stage_and_those_after_it_and_say_so(steps, caplog):
    steps.run()
    steps.config["b"] = 2
    assert steps.run() == "bc"
    assert steps.files("b") == ["start_0"], "the old results must be gone"
    assert "b: its settings changed since the last run, so it is done again" in caplog.text
    assert "c: its inputs changed" in caplog.text
    assert "a: its" not in caplog.text
    assert steps.run() == ""


def test_changed_inputs_redo_everything_that_depends_on_them(steps, caplog):
    steps.run()
    steps.inputs["a"] = "y"
    assert steps.run() == "abc"
    assert "a: its inputs changed" in caplog.text


def test_settings_changed_while_a_stage_was_unfinished(steps):
    steps.fail = {"b": SystemExit(1)}
    with pytest.raises(SystemExit):
        steps.run()
    steps.fail, steps.config["b"] = {}, 2
    assert steps.run() == "bc"
    assert steps.files("b") == ["start_0"]


def test_a_kill_while_old_results_are_removed_leaves_none_that_count(steps, monkeypatch):
    steps.run()
    steps.config["b"] = 2

    def kill(path, **_):
        if path.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr("bundle.pipeline.state.shutil.rmtree", kill)
    with pytest.raises(KeyboardInterrupt):
        steps.run()
    monkeypatch.undo()
    steps.config["b"] = 1  # back to the settings of the removed results
    assert steps.run() == "b"
    assert steps.files("b") == ["start_0"]
    steps.config["b"] = 3
    assert steps.run() == "bc"
    assert sorted(path.name for path in steps.directory.path.iterdir()) == ["a", "b", "c", "state.json"]


def test_results_that_are_gone_are_made_again(steps, caplog):
    steps.run()
    for path in (steps.directory.path / "b").iterdir():
        path.unlink()
    (steps.directory.path / "b").rmdir()
    assert steps.run() == "b"
    assert "b: its results are gone, so it is done again" in caplog.text


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"a": 3}'])
def test_a_damaged_state_file_is_said_and_survived(steps, caplog, content):
    steps.run()
    (steps.directory.path / "state.json").write_text(content)
    assert steps.run() == "abc"
    assert "state.json is damaged" in caplog.text
    assert steps.files("b") == ["start_0", "start_1"], "each stage continues from its files"
    assert steps.run() == ""


def test_seconds_add_up_over_kills_but_not_over_changes(steps, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("bundle.pipeline.state.time.monotonic", lambda: next(clock))
    steps.run()
    assert steps.directory.state()["a"]["seconds"] == 10
    state = steps.directory.state()
    steps.directory._record("a", state["a"] | {"done": False})
    steps.run()
    assert steps.directory.state()["a"]["seconds"] == 20
    steps.directory._record("a", state["a"] | {"done": False})
    steps.config["a"] = 2
    steps.run()
    assert steps.directory.state()["a"]["seconds"] == 10
