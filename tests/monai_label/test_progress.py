"""How far a training is, as viewers show it, and what an earlier one left."""

import pytest

from bundle.monai_label.progress import is_done, left_over, read_progress, stage_in_words, train_stats
from bundle.monai_label.ready import ready_sentence
from bundle.progress.run import RunProgress
from scripts.common.errors import BundleError

STAGES = [("embedding", "embedding"), ("label_fusion", "label_fusion"), ("self_check", "self_check")]


@pytest.fixture
def progress(tmp_path):
    """progress(n, cases): what a run's file says with n stages done and the next at (done, total) cases."""

    def at(stages, cases=None, stopped=False):
        run = RunProgress(tmp_path / "progress.json", clock=lambda: 0.0)
        run.begin(STAGES)
        for name, _ in STAGES[:stages]:
            with run.stage(name):
                pass
        if cases is not None:
            row = run.stages[stages]
            row.state, row.unit, (row.done, row.total) = ("stopped" if stopped else "running"), "cases", cases
            run._write()
        return read_progress(tmp_path / "progress.json")

    return at


def test_stats_are_shares_of_a_hundred_and_never_full_while_it_runs(progress):
    stats = train_stats(progress(1, (1, 4)), None, True)
    assert (stats["epoch"], stats["total_epochs"]) == (int(100 * 1.25 / 3), 100)
    assert (
        stats["stage"] == "2 of 3: labels sent from several atlases and fused, 1 of 4 cases"
        and "total_time" not in stats
    )
    assert "best_metric" not in stats, "there is no label yet"
    assert train_stats(progress(3), 0.81234, True)["epoch"] == 99
    assert train_stats(progress(3), 0.81234, True)["best_metric"] == 0.8123


def test_what_has_ended_tells_its_time(progress):
    stats = train_stats(progress(3), 0.8, False)
    assert stats["epoch"] == stats["total_epochs"] == 100 and stats["total_time"] == "0:00:00"


def test_stats_before_the_first_training_and_at_its_start():
    assert train_stats(None, None, False) == {}
    assert train_stats(None, None, True) == {"epoch": 0, "total_epochs": 100}
    assert train_stats(None, 0.7, True) == {"epoch": 0, "total_epochs": 100, "best_metric": 0.7}


def test_a_damaged_file_is_none(tmp_path):
    (tmp_path / "progress.json").write_text("{", encoding="utf-8")
    assert read_progress(tmp_path / "progress.json") is None


def test_which_stages_have_ended(progress):
    content = progress(2, (0, 4))
    assert is_done(content, "label_fusion") and not is_done(content, "self_check") and not is_done(None, "label_fusion")
    assert stage_in_words(content) == "3 of 3: Dice of every result predicted, 0 of 4 cases"


def test_an_interrupted_training_is_told_with_what_to_do(progress, tmp_path):
    run = tmp_path / "run"
    assert left_over(run, None, True) is None and left_over(run, progress(3), True) is None
    for stopped in (False, True):
        sentence = left_over(run, progress(1, (1, 4), stopped), False)
        assert sentence == (
            "An earlier training was interrupted (stage 2 of 3: labels sent from several atlases and fused, 1 of 4 "
            "cases). Press Train: it goes on from there."
        )


def test_a_training_killed_after_its_last_stage_is_told(progress, tmp_path):
    told = "An earlier training was interrupted before its first stage. Press Train."
    assert left_over(tmp_path / "run", None, False) == told
    assert left_over(tmp_path / "run", progress(3), False) == (
        "An earlier training was interrupted while it gave its labels back. Press Train: it does so again."
    )


def test_a_training_whose_report_could_not_be_written_is_no_finished_one(tmp_path):
    run = RunProgress(tmp_path / "progress.json", clock=lambda: 0.0)
    run.begin(STAGES)
    with pytest.raises(BundleError), run.whole():
        for name, _ in STAGES:
            with run.stage(name):
                pass
        raise BundleError("no space", stage="report")
    content = read_progress(run.file)
    assert train_stats(content, 0.8, False)["epoch"] == 99
    assert left_over(tmp_path / "run", content, False) == (
        "An earlier training was interrupted (stage 3 of 3 done: DICOM, tables and report to be written). Press Train: "
        "it goes on from there."
    )


def test_a_training_that_survived_its_server_is_told(progress, tmp_path, monkeypatch):
    def taken(folder):
        raise BundleError("another command works in this folder", found="process 7 on here: python -m bundle")

    monkeypatch.setattr("bundle.monai_label.progress.only_command_in", taken)
    sentence = left_over(tmp_path / "run", progress(1, (1, 4)), False)
    assert "still works" in sentence and "process 7 on here" in sentence and "Wait for it" in sentence


def test_the_last_line_of_the_start_says_what_is_served_and_what_to_do():
    assert ready_sentence("/ct", 4, 8000, None) == (
        "Ready: 4 studies of /ct. In 3D Slicer open the module MONAI Label and enter http://127.0.0.1:8000; draw "
        'strokes in each organ, and outside all of them in a segment "outside"; submit; press Train.'
    )
    assert ready_sentence("/ct", 1, 8000, "Go on.").startswith("Ready: 1 study of /ct.")
    assert ready_sentence("/ct", 1, 8000, "Go on.").endswith("press Train. Go on.")
    web = ready_sentence("http://127.0.0.1:8042/dicom-web", 2, 8001, None)
    assert "or open http://127.0.0.1:8001/ohif/ in a browser" in web
