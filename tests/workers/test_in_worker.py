import pickle

import pytest

from bundle.version import bundle_version
from bundle.workers.in_worker import Order, Said, forget, work_on
from scripts.common.errors import BundleError, UnexpectedError
from tests.workers.jobs import Counting


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # goes back, wherever an order leads
    forget()
    yield
    forget()


def order(folder, number="1", version=None):
    made = Order(Counting(folder), number, str(folder), version or bundle_version())
    return pickle.loads(pickle.dumps(made))


def starts(folder):
    return len((folder / "started").read_text(encoding="utf-8").splitlines())


def test_a_job_is_started_once_however_many_messages_come(tmp_path):
    first = work_on(order(tmp_path), {"a": 1, "b": 2})
    second = work_on(order(tmp_path), {"c": 3})
    assert [(one.case, one.value) for one in (*first.outcomes, *second.outcomes)] == [("a", 2), ("b", 4), ("c", 6)]
    assert starts(tmp_path) == 1


def test_another_job_takes_the_place_of_the_one_before(tmp_path):
    for number in ("1", "2", "1"):
        work_on(order(tmp_path, number), {"a": 1})
    assert starts(tmp_path) == 3, "one is kept at most"


def test_what_is_logged_comes_back_and_is_not_printed(tmp_path, capsys):
    report = work_on(order(tmp_path), {"a": 1})
    assert [(line.logger, line.message) for line in report.said] == [
        ("scripts.jobs", "starts"),
        ("scripts.jobs", "at 1"),
    ]
    assert report.said[1] == Said("scripts.jobs", 30, "at 1") and capsys.readouterr() == ("", "")


def test_an_error_is_the_outcome_of_its_case_alone(tmp_path):
    bad, good = work_on(order(tmp_path), {"a": -1, "b": 1}).outcomes
    assert str(pickle.loads(pickle.dumps(bad)).error) == "below zero\n  found: -1"
    assert good.value == 2 and not bad.stops_all


def test_workers_of_another_version_refuse(tmp_path):
    with pytest.raises(BundleError, match=r"the workers run another version\n  expected: 0\.0\.1"):
        work_on(order(tmp_path, version="0.0.1"), {"a": 1})


def test_errors_survive_the_way_to_another_process():
    error = BundleError("problem", case="a", stage="s", file="f", expected=1, found={"x": 2})
    fault = UnexpectedError(KeyError("liver"), case="a", stage="s")
    for one in (error, fault):
        again = pickle.loads(pickle.dumps(one))
        assert type(again) is type(one) and str(again) == str(one) and vars(again) == vars(one)
