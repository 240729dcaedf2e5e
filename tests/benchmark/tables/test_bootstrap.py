import numpy as np
import pytest

from bundle.benchmark.tables.bootstrap import bootstrap_interval, case_dice, change, worst_dice


def scores(**cases):
    """Case -> (spleen's Dice, liver's Dice); None is a class that the truth lacks."""
    rows = {}
    for case, values in cases.items():
        names = zip(("spleen", "liver"), values, strict=True)
        rows[case] = {name: {"dice": dice, "status": "absent" if dice is None else "ok"} for name, dice in names}
    return {"cases": rows}


def test_mean_over_the_classes_that_are_there():
    assert case_dice([scores(a=(0.8, 0.6), b=(None, 0.4))]).tolist() == [pytest.approx(0.7), 0.4]


def test_mean_over_runs():
    assert case_dice([scores(a=(0.8, 0.6)), scores(a=(0.4, 0.4))]).tolist() == [pytest.approx(0.55)]


def test_the_worst_of_all_runs_leaves_absent_classes_out():
    missed = scores(a=(0.8, 0.6))
    missed["cases"]["a"]["spleen"] = {"dice": None, "status": "not predicted"}
    assert worst_dice([scores(a=(0.8, 0.6), b=(None, 0.4)), scores(a=(0.7, 0.5))]) == 0.4
    assert worst_dice([missed]) == 0.0


def test_interval_of_the_mean():
    assert bootstrap_interval(np.full(6, 0.1)) == (pytest.approx(0.1), pytest.approx(0.1))
    low, high = bootstrap_interval(np.array([0.0, 0.0, 0.0, 1.0]))
    assert (low, high) == (0.0, 0.75)


def test_a_change_is_measured_minus_base():
    text = change([scores(a=(0.6, 0.6), b=(0.7, 0.7))], [scores(a=(0.8, 0.6), b=(0.8, 0.8))])
    assert text == "-0.100 (-0.100 to -0.100)"
