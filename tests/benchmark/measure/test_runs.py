from dataclasses import replace

from bundle.benchmark.measure import default
from bundle.benchmark.measure.machine import made
from bundle.benchmark.measure.runs import Bench, Run, chosen_runs, merged
from bundle.datasets.dataset import Dataset
from scripts.common.files import write_json


def dataset(folder):
    for name in ("s_a", "s_b", "t_a"):
        write_json(folder / "scribbles" / f"{name}.nii.gz", "strokes")
    return Dataset(folder, {"liver": 6}, {"liver": 6}, 7, "s", ("t",), ("s", "t", "u"), ("v",), False)


def test_first_strokes_come_first_and_accepted_support_masks_last(tmp_path):
    names = [run.name for run in chosen_runs(dataset(tmp_path))]
    grown, accepted = "support mask as grown", "support mask accepted"
    assert names == [f"s a, {grown}", f"t a, {grown}", f"s b, {grown}", f"s a, {accepted}", f"t a, {accepted}"]
    assert Run("s", "a", "as grown").folder == "s_a_as_grown"


def test_a_dataset_of_one_support_has_its_runs_alone(tmp_path):
    alone = replace(dataset(tmp_path), alternative_supports=())
    assert {run.support for run in chosen_runs(alone)} == {"s"}


def test_every_further_support_has_one_run_of_all_classes(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Bench, "on_test", lambda bench, run, folder: asked.append(folder))
    monkeypatch.setattr(default, "by_atlases", lambda dataset, run, pipeline: {"what": "run", "name": run.name})
    lines = list(default.from_further_supports(Bench(dataset(tmp_path), tmp_path, small=True, device=None)))
    assert lines == [{"what": "all_classes_further", "name": "t a, support mask as grown"}]
    assert asked == ["all_classes_t"]


def test_the_second_overrides_win_key_by_key():
    first, second = {"a": {"x": 1, "y": 2}, "b": {"z": 3}}, {"a": {"y": 4}, "c": {"w": 5}}
    assert merged(first, second) == {"a": {"x": 1, "y": 4}, "b": {"z": 3}, "c": {"w": 5}}


def test_a_line_says_when_by_what_and_where_it_was_made():
    origin = made()
    assert len(origin["date"]) == len("2026-01-31") and origin["version"].count(".") == 2
    assert set(origin["machine"]) == {"processor", "threads", "gpu"}
