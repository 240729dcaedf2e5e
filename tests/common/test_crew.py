"""Cases that others work on: the same files, errors and progress as where one process does all."""

import pickle
import traceback
import weakref
from threading import Event, Thread

import pytest
import torch
from threadpoolctl import threadpool_info

from scripts.common.case_stage import CASES, CaseStage, listening
from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.common.made_of import content_of
from scripts.common.sharing.crew import (
    LostWorkersError,
    Outcome,
    crew_at_work,
    outcome_of,
    outcomes,
    present_crew,
    value_or_reason,
)
from scripts.common.sharing.one_thread import allowed_threads, one_thread

NUMBERS = {"a": 1, "b": 2, "c": 3}


class Sharing(CaseStage):
    """Writes each case's number by the sum of all, which `survey` finds; `bad` cases fail."""

    name = "sharing"

    def __init__(self, folder, numbers=NUMBERS, bad=()):
        self.folder, self.numbers, self.bad, self.made = folder, numbers, bad, []

    def cases(self):
        return sorted(self.numbers)

    def inputs(self, case):
        return [self.numbers[case], sum(self.numbers.values())]

    def record(self, case):
        return self.folder / f"{case}.json"

    def surveyed(self):
        return self.cases()

    def survey(self, case):
        return self.numbers[case]

    def summarise(self, surveys):
        self.total = sum(surveys[case] for case in sorted(surveys))

    def context_of(self, case):
        return self.total

    def make(self, case):
        if case in self.bad:
            raise BundleError("no more")
        self.made.append(case)
        file = self.folder / f"{case}.txt"
        file.write_text(f"{self.numbers[case]}/{self.context}", encoding="utf-8")
        return {"case": case}, [file]


class SharingJob:
    """The same stage, made elsewhere."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def start(self):
        stage = Sharing(*self.arguments)
        stage.prepare()
        return stage.do


class BackwardsCrew:
    """Works on the last case first, on copies as another process gets them."""

    def __init__(self):
        self.jobs = []

    def work(self, job, items):
        self.jobs.append(list(items))
        work = pickle.loads(pickle.dumps(job)).start()
        for case, item in reversed(items.items()):
            yield pickle.loads(pickle.dumps(outcome_of(work, case, pickle.loads(pickle.dumps(item)))))


def shared(folder, *arguments):
    stage, crew = Sharing(folder, *arguments), BackwardsCrew()
    stage.job = SharingJob(folder, *arguments)
    return stage, crew


def test_a_case_that_failed_keeps_no_volume_in_memory():
    volumes = []

    def fail(_):
        volume = torch.zeros(2)
        volumes.append(weakref.ref(volume))
        try:
            raise ValueError(volume.sum())
        except ValueError as error:
            raise BundleError("bad") from error

    outcome = outcome_of(fail, "a", None)
    assert volumes[0]() is None
    lines = "".join(traceback.format_exception(outcome.error))
    assert "raise ValueError" in lines and "raise BundleError" in lines, "where it happened is still told"


def test_a_crew_makes_what_one_process_makes(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    assert Sharing(tmp_path / "here").run() == ["a", "b", "c"]
    stage, crew = shared(tmp_path / "there")
    with crew_at_work(crew):
        assert stage.run() == ["a", "b", "c"]
    assert stage.made == [] and crew.jobs == [["a", "b", "c"]] * 2, "surveyed, then made, by the crew alone"
    for case in NUMBERS:
        assert (tmp_path / "there" / f"{case}.txt").read_text(encoding="utf-8") == f"{NUMBERS[case]}/6"
        here, there = (tmp_path / name / f"{case}.json" for name in ("here", "there"))
        assert content_of(here) == content_of(there) and read_json(here)["inputs"] == read_json(there)["inputs"]
        assert read_json(here)["files"] == read_json(there)["files"]


def test_only_what_is_left_is_given_to_the_crew(tmp_path):
    Sharing(tmp_path).run()
    (tmp_path / "b.txt").unlink()
    stage, crew = shared(tmp_path)
    with crew_at_work(crew):
        assert stage.run() == ["b"]
    assert stage.made == ["b"] and crew.jobs == [["a", "b", "c"]], "a single case is made here"


def test_progress_is_that_of_the_whole(tmp_path):
    stage, crew = shared(tmp_path)
    told = []
    with crew_at_work(crew), listening(lambda *step: told.append(step)):
        stage.run()
    assert told == [(CASES, done, 3) for done in (0, 1, 2, 3)]


def test_failures_are_told_in_the_order_of_the_cases(tmp_path):
    stage, crew = shared(tmp_path, NUMBERS, ("a", "c"))
    with crew_at_work(crew), pytest.raises(BundleError) as caught:
        stage.run()
    assert caught.value.problem == "2 of 3 cases failed, the others are done"
    assert str(caught.value.found).split() == ["a:", "no", "more", "c:", "no", "more"]
    assert (tmp_path / "b.json").exists()


def test_where_the_first_three_fail_the_crew_stops(tmp_path):
    numbers = dict.fromkeys("abcde", 1)
    stage, crew = shared(tmp_path, numbers, tuple(numbers))
    with crew_at_work(crew), pytest.raises(BundleError, match="case c"):
        stage.run()


def test_a_crew_is_there_as_long_as_the_block(tmp_path):
    crew = BackwardsCrew()
    with crew_at_work(crew):
        assert present_crew() is crew
        assert [one.case for one in outcomes(SharingJob(tmp_path), {})] == [] and crew.jobs == []
    assert present_crew() is None


def test_a_case_that_stops_workers_is_left_out_and_other_faults_are_not():
    lost = LostWorkersError("the case stopped its worker again and again", case="b")
    assert value_or_reason(Outcome("a", 3)) == 3
    assert value_or_reason(Outcome("b", error=lost)) is lost
    with pytest.raises(BundleError, match="cannot write"):
        value_or_reason(Outcome("c", error=BundleError("cannot write the file")))


def test_one_thread_is_one_for_torch_and_for_linear_algebra():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
        assert {library["num_threads"] for library in threadpool_info()} == {1}
    assert torch.get_num_threads() == before


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_threads_that_are_allowed_are_known_within_one_thread():
    assert allowed_threads() == 3
    with one_thread(), one_thread():
        assert (torch.get_num_threads(), allowed_threads()) == (1, 3)
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_threads_that_overlap_within_one_thread_each_get_back_what_there_was():
    entered, left, found = Event(), Event(), []

    def second():
        with one_thread():
            entered.set()
            left.wait(10)
            found.extend((torch.get_num_threads(), allowed_threads()))
        found.append(torch.get_num_threads())

    other = Thread(target=second)
    with one_thread():
        other.start()
        entered.wait(10)
    found.append(torch.get_num_threads())
    left.set()
    other.join()
    assert found == [3, 1, 3, 3]
