"""Dask's workers: real processes, some of which are killed."""

import logging
import os
import signal
import time
from concurrent.futures import CancelledError

import pytest
from distributed import LocalCluster

from bundle.pipeline.pipeline import Pipeline
from bundle.workers.cluster import DaskCrew, _Shift, local_settings
from scripts.common.case_stage import listening
from scripts.common.errors import BundleError
from scripts.common.sharing.crew import crew_at_work
from tests.pipeline_fixtures import make_cohort, make_weights, settings
from tests.same_results import differing
from tests.workers.jobs import Counting, Killing, Unstartable, Writing


def shift(*cases, pace_s):
    made = _Shift(dict.fromkeys(cases), pace_s=pace_s)
    made.left.extend(cases)
    return made


def test_slow_cases_go_one_by_one_and_quick_ones_together():
    assert shift(*"abcdef", pace_s=20.0).next_cases(2) == ["a"]
    assert shift(*"abcdef", pace_s=0.5).next_cases(2) == ["a", "b"]
    assert shift(*"abcdef", pace_s=0.001).next_cases(2) == ["a", "b", "c"], "the other worker gets as many"


def test_what_stopped_a_worker_goes_alone():
    one = shift("a", "b", pace_s=0.001)
    one.alone.append("x")
    assert one.next_cases(2) == ["x"]


def test_a_suspect_waits_until_nothing_else_is_under_way_and_nothing_goes_beside_it():
    one = shift("a", pace_s=0.001)
    one.suspects.extend("xy")
    assert one.next_cases(2) == ["a"]
    one.running = {"first": ["a"]}
    assert one.next_cases(2) == []
    one.running = {}
    assert one.next_cases(2) == ["x"] and one.tried == {"x"}
    one.running = {"second": ["x"]}
    assert one.next_cases(2) == []
    one.running = {}
    assert one.next_cases(2) == ["y"]


def test_nothing_is_spilled_to_disk_and_no_page_is_served():
    chosen = local_settings(2)
    assert not any(chosen[f"distributed.worker.memory.{what}"] for what in ("target", "spill", "pause"))
    assert chosen["distributed.scheduler.http.routes"] == chosen["distributed.worker.http.routes"] == []


@pytest.fixture(scope="module")
def crew():
    """Two worker processes of this machine."""
    made = DaskCrew(2, 2.0)
    yield made
    made.close()


def values(crew, job, numbers):
    """Case -> value or error, in the order in which they came back."""
    found = crew.work(job, {f"case_{number}": number for number in numbers})
    return {outcome.case: outcome.error or outcome.value for outcome in found}


@pytest.mark.slow
def test_every_worker_starts_a_job_once_and_what_it_says_is_said_once(crew, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    assert values(crew, Counting(tmp_path), range(100)) == {f"case_{number}": 2 * number for number in range(100)}
    starts = (tmp_path / "started").read_text(encoding="utf-8").split()
    assert len(starts) == len(set(starts)) <= 2 and str(os.getpid()) not in starts
    said = [record.getMessage() for record in caplog.records if record.name == "scripts.jobs"]
    assert said.count("starts") == 1 and said.count("at 57") == 1


@pytest.mark.slow
def test_ports_are_open_on_loopback_alone_and_encrypted(crew, tmp_path):
    values(crew, Counting(tmp_path), range(2))
    addresses = [crew._cluster.scheduler_address, *crew._client.nthreads()]
    assert all(address.startswith("tls://127.0.0.1:") for address in addresses) and len(addresses) == 3


@pytest.mark.slow
def test_cases_of_a_killed_worker_are_done_again(crew, tmp_path):
    assert values(crew, Killing(tmp_path), range(12)) == {f"case_{number}": 2 * number for number in range(12)}
    assert (tmp_path / "killed_7").exists()


@pytest.mark.slow
def test_a_case_that_stops_its_worker_three_times_has_failed_and_is_named(crew, tmp_path):
    found = values(crew, Killing(tmp_path), (13, 10, 11))
    assert (found["case_10"], found["case_11"]) == (20, 22)
    error = found["case_13"]
    assert (error.case, error.problem) == ("case_13", "the case stopped its worker again and again")
    assert error.found.startswith("3 workers") and "--worker-memory" in error.expected


@pytest.mark.slow
def test_a_job_that_cannot_start_says_why(crew):
    with pytest.raises(BundleError, match=r"\[stage test\] nothing to start from"):
        values(crew, Unstartable(), range(3))


@pytest.fixture
def others():
    """A scheduler with two workers that somebody else started."""
    with LocalCluster(2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        yield cluster


@pytest.mark.slow
def test_the_command_ends_when_a_schedulers_workers_have_ended_what_they_began(others, tmp_path):
    crew = DaskCrew(1, 4.0, others.scheduler_address)
    found = crew.work(Writing(tmp_path, 2.0), {"case_0": 0, "case_1": 1})
    assert next(found).case == "case_0"
    while not (tmp_path / "begun_1").exists():
        time.sleep(0.01)
    found.close()
    assert (tmp_path / "ended_1").exists(), "nobody writes after the command has given its lock back"
    crew.close()


@pytest.mark.slow
@pytest.mark.parametrize("error", [CancelledError(), OSError("no connection")])
def test_a_scheduler_that_ends_is_told(crew, tmp_path, monkeypatch, error):
    def lost(*_, **__):
        raise error

    monkeypatch.setattr("bundle.workers.cluster.wait", lost)
    with pytest.raises(BundleError, match="the scheduler is gone"):
        values(crew, Writing(tmp_path, 0.0), range(3))


def test_where_no_scheduler_answers_that_is_said(monkeypatch):
    monkeypatch.setattr("bundle.workers.cluster.WAITS_S", 1.0)
    with pytest.raises(BundleError, match="there are no workers"):
        values(DaskCrew(1, 4.0, "tcp://127.0.0.1:9"), Unstartable(), range(3))


@pytest.mark.slow
def test_a_run_by_workers_one_of_which_is_killed_is_that_of_one_process(tmp_path):
    """A scheduler that runs already, two worker processes, real stages of mode `paper`."""
    from distributed import LocalCluster

    weights = make_weights(tmp_path / "weights")
    folder = make_cohort(tmp_path, count=6)
    overrides = {"point_propagation": {"tau": 0.0, "class_limit": 3, "background_limit": 3}}
    chosen = settings(folder, weights=weights, overrides=overrides)
    Pipeline(chosen).propagate()
    (tmp_path / "out").rename(tmp_path / "alone")
    told, killed = [], []
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        crew = DaskCrew(1, 4.0, cluster.scheduler_address)

        def kill_one(unit, done, total):
            told.append((done, total))
            if (done, total) == (2, 6) and not killed:
                killed.append(next(iter(crew._client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        with crew_at_work(crew), listening(kill_one):
            Pipeline(chosen).propagate()
        crew.close()
    assert len(killed) == 1 and (6, 6) in told
    assert differing(tmp_path / "alone", tmp_path / "out") == []
