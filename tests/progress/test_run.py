"""Progress of a run of several stages, by a clock that is set by hand."""

import logging

import jsonschema
import pytest

from bundle.progress import run as run_module
from bundle.progress.run import RunProgress
from bundle.progress.stage import DONE, RUNNING, StageProgress, in_words, share_done, time_left
from scripts.common.case_stage import CASES, EPOCHS, advance, done_before, is_listened_to, listening
from scripts.common.errors import BundleError
from scripts.common.files import read_json
from tests.paths import ROOT

SCHEMA = read_json(ROOT / "docs" / "progress.schema.json")
STAGES = [("first", "labels"), ("training", "training"), ("second", "labels"), ("check", "check")]


class Clock:
    """Seconds."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress(tmp_path, clock):
    run = RunProgress(tmp_path / "out" / "progress.json", clock)
    run.begin(STAGES)
    return run


def written(run):
    content = read_json(run.file)
    jsonschema.validate(content, SCHEMA, cls=jsonschema.Draft202012Validator)
    return content


def work(clock, count, seconds_each, unit=CASES):
    advance(unit, 0, count)
    for done in range(1, count + 1):
        clock.now += seconds_each
        advance(unit, done, count)


def finish(progress):
    for name, _ in STAGES:
        with progress.stage(name):
            pass


def test_a_bar_moves_most_while_a_network_is_trained():
    stages = [StageProgress("support_mask", "support_mask", DONE), StageProgress("segmentation", "segmentation")]
    assert share_done(stages) == pytest.approx(1 / 13)
    stages[1].state, stages[1].unit, stages[1].done, stages[1].total = RUNNING, EPOCHS, 30, 60
    assert share_done(stages) == pytest.approx(7 / 13)
    stages[1].state = DONE
    assert share_done(stages) == 1
    assert share_done([]) == 0


def test_a_network_that_was_there_before_counts_as_any_stage():
    stages = [StageProgress("embedding", "embedding"), StageProgress("label_fusion", "label_fusion")]
    assert share_done(stages) == 0
    stages[0].state = DONE
    assert share_done(stages) == 1 / 2


def test_only_listeners_of_the_moment_are_told():
    told = []
    with listening(lambda *about: told.append(about)):
        assert is_listened_to()
        advance(CASES, 1, 3)
    advance(CASES, 2, 3)
    assert told == [(CASES, 1, 3)] and not is_listened_to()


def test_the_file_says_where_the_run_is(progress, clock):
    with progress.stage("first"):
        assert [stage["state"] for stage in written(progress)["stages"]] == ["running", *["waiting"] * 3]
        advance(CASES, 0, 4)
        clock.now += 10
        advance(CASES, 1, 4)
        content = written(progress)
        assert content["stages"][0] == {
            "name": "first",
            "work": "",
            "state": "running",
            "seconds": 10.0,
            "unit": "cases",
            "done": 1,
            "total": 4,
        }
        assert (content["state"], content["share"], content["seconds"]) == ("running", 0.0625, 10.0)
        # Three cases of 10 s; of the other stages nothing is known.
        assert (content["seconds_left"], content["stages_not_estimated"]) == (30.0, 3)


def test_a_stage_is_taken_to_last_as_long_as_the_last_of_its_kind(progress, clock):
    with progress.stage("first"):
        clock.now += 5  # before the first case
        work(clock, 4, 10)
    with progress.stage("training"):
        advance(EPOCHS, 2, 10)  # it goes on after a kill
        clock.now += 6
        advance(EPOCHS, 4, 10)
        assert time_left(progress.stages) == (6 / 2 * 6 + 45, 1)


def test_a_stage_that_was_done_before_tells_nothing_of_others(progress):
    with progress.stage("first"):
        pass
    assert time_left(progress.stages) == (0, 3)
    assert written(progress)["stages"][0] == {
        "name": "first",
        "work": "",
        "state": "done",
        "seconds": 0.0,
        "unit": None,
        "done": 0,
        "total": 0,
    }


def test_a_run_ends_finished_or_stopped(progress):
    finish(progress)
    assert (written(progress)["state"], written(progress)["share"]) == ("finished", 1.0)
    progress.begin(STAGES)
    with pytest.raises(KeyboardInterrupt), progress.stage("first"):
        raise KeyboardInterrupt
    content = written(progress)
    assert (content["state"], content["seconds_left"]) == ("stopped", None), "nobody works on it any more"


def test_a_stage_that_an_earlier_run_began_counts_all_its_cases(progress, clock):
    with progress.stage("first"), done_before(2):
        work(clock, 2, 10)
        assert (progress.stages[0].done, progress.stages[0].total) == (4, 4)
    assert time_left(progress.stages) == (40, 2), "the other of its kind has four cases to do"


def test_a_command_is_finished_once_what_follows_its_stages_is_written(progress, clock):
    with progress.whole():
        finish(progress)
        assert (written(progress)["state"], written(progress)["share"]) == ("running", 1.0)
        clock.now += 10
        advance(CASES, 1, 3)  # of the report
        assert written(progress)["seconds"] == 10, "whoever looks sees that it goes on"
    assert written(progress)["state"] == "finished"


@pytest.mark.parametrize("error", [BundleError("full", stage="report"), KeyboardInterrupt()])
def test_an_error_after_the_stages_stops_the_run(progress, error):
    with pytest.raises(type(error)), progress.whole():
        finish(progress)
        raise error
    assert written(progress)["state"] == "stopped"
    progress.begin(STAGES)
    with progress.whole():
        finish(progress)
    assert written(progress)["state"] == "finished"


def test_a_command_that_is_refused_before_its_stages_leaves_the_file_as_it_was(progress):
    with pytest.raises(BundleError), progress.whole():
        raise BundleError("refused", stage="cohort")
    with pytest.raises(BundleError), progress.whole(), progress.ahead("reading"):
        raise BundleError("refused", stage="inference")
    assert not progress.file.exists()


def test_what_comes_next_is_expected(progress):
    assert progress.expects(["first", "training"]) and progress.expects([])
    assert not progress.expects(["training"])
    with progress.stage("first"):
        pass
    assert progress.expects(["training"]) and not progress.expects(["first"])


def test_in_a_pipe_there_is_a_plain_line_each_half_minute(progress, clock, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "bundle")
    monkeypatch.setattr(run_module, "is_terminal", lambda: False)
    with progress.stage("first"):
        work(clock, 5, 20)
    assert caplog.messages == [
        "stage 1 of 4, first",
        "stage 1 of 4, first: 2 of 5 cases, 1 min left and 3 stages of unknown length",
        "stage 1 of 4, first: 4 of 5 cases, less than a minute left and 3 stages of unknown length",
    ]


def test_on_a_terminal_and_for_epochs_others_say_how_far_it_is(progress, clock, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "bundle")
    monkeypatch.setattr(run_module, "is_terminal", lambda: True)
    with progress.stage("first"):
        work(clock, 5, 20)
    monkeypatch.setattr(run_module, "is_terminal", lambda: False)
    with progress.stage("training"):
        work(clock, 5, 20, EPOCHS)
    assert caplog.messages == ["stage 1 of 4, first", "stage 2 of 4, training"]


def test_who_shows_one_stage_is_told_how_far_the_run_is(progress, clock):
    with progress.stage("first"):
        work(clock, 4, 60)
    with progress.stage("training"):
        advance(EPOCHS, 0, 10)
        clock.now += 60
        words = "stage 2 of 4, of the run 13 min left and 1 stage of unknown length"
        assert advance(EPOCHS, 1, 10) == words, "nine epochs of a minute, and a stage of the first one's kind"
    with progress.ahead("cohort"):
        assert advance(CASES, 1, 4) == "", "the stages are not known yet"


def test_it_is_not_written_more_often_than_each_second(progress, clock, monkeypatch):
    times = []
    monkeypatch.setattr("bundle.progress.run.write_json", lambda file, content: times.append(clock.now))
    with progress.stage("first"):
        work(clock, 10, 0.25)
    assert times == [1000.0, 1001.0, 1002.0, 1002.5]


def test_a_file_that_cannot_be_written_stops_a_run_before_a_stage_and_not_in_it(progress, clock):
    with progress.stage("first"):
        progress.file.unlink()
        progress.file.mkdir()
        work(clock, 2, 5)
    assert progress.stages[0].state == "done"
    with pytest.raises(BundleError) as caught, progress.stage("training"):
        pass
    assert caught.value.file == str(progress.file)


@pytest.mark.parametrize(
    ("seconds", "unknown", "words"),
    [
        (0, 0, "less than a minute left"),
        (0, 2, "2 stages of unknown length left"),
        (89, 0, "about 1 min left"),
        (7500, 0, "about 2 h 5 min left"),
        (120, 1, "2 min left and 1 stage of unknown length"),
    ],
)
def test_time_left_in_words(seconds, unknown, words):
    assert in_words(seconds, unknown) == words


def test_what_comes_ahead_of_the_stages_is_written_once_it_takes_a_second(progress, clock):
    with progress.ahead("cohort"):
        advance(CASES, 0, 4)
        assert not progress.file.exists()
        clock.now += 10
        advance(CASES, 1, 4)
        content = written(progress)
        assert [(stage["name"], stage["state"], stage["done"]) for stage in content["stages"]] == [
            ("cohort", "running", 1)
        ]
        assert (content["state"], content["seconds_left"], content["stages_not_estimated"]) == ("running", 30.0, 0)
        assert content["share"] == 0, "else a bar would fall back when the stages begin"
    assert not progress.expects(["cohort"]), "the stages are still to be named"
    progress.begin(STAGES)
    with progress.stage("first"):
        assert [stage["name"] for stage in written(progress)["stages"]] == [name for name, _ in STAGES]


def test_what_comes_ahead_is_said_without_a_number(progress, clock, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "bundle")
    monkeypatch.setattr(run_module, "is_terminal", lambda: False)
    with progress.ahead("cohort"):
        work(clock, 3, 40)
    assert caplog.messages == [
        "cohort: 1 of 3 cases, about 1 min left",
        "cohort: 2 of 3 cases, less than a minute left",
        "cohort: 3 of 3 cases, less than a minute left",
    ]


@pytest.mark.parametrize("before", [None, b"of an earlier run"])
def test_refused_ahead_of_the_stages_the_file_is_as_it_was(progress, clock, before):
    if before is not None:
        progress.file.parent.mkdir(parents=True)
        progress.file.write_bytes(before)
    with pytest.raises(BundleError), progress.ahead("cohort"):
        work(clock, 3, 10)
        assert written(progress)["stages"][0]["name"] == "cohort"
        raise BundleError("refused", stage="cohort")
    assert (progress.file.read_bytes() if progress.file.exists() else None) == before
