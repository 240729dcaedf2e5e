import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.segmentation.correction.cohort_verdicts import ClassMeasures, Verdict, measure, plan_round
from scripts.segmentation.correction.settings import GuardSettings

SETTLED = [0.5, 0.7, 0.75, 0.77, 0.78, 0.78, 0.78, 0.78]
RISING = [0.1, 0.2, 0.3, 0.4, 0.5]


def plan(first, label, dice, curve=SETTLED, shrunk=(), epoch=19):
    measures = ClassMeasures(*(np.array(values, float)[:, None] for values in (first, label, dice)))
    return plan_round(measures, [curve], shrunk, epoch, GuardSettings(latest_start_epoch=20))[0]


def test_measures_count_voxels_and_compare_them_with_the_network():
    first, label = np.array([1, 1, 0, 2]).reshape(4, 1, 1), np.array([1, 1, 1, 3]).reshape(4, 1, 1)
    probability = np.eye(3)[[1, 0, 1, 2]].T.reshape(3, 4, 1, 1)
    assert measure(first, label, probability).tolist() == [[2, 1], [3, 0], [0.8, 0]]


def test_a_class_is_corrected_once_the_network_knows_it():
    assert plan([100, 300, 200], [100, 300, 200], [0.6, 0.7, 0.4]) == (plan_of(Verdict.CORRECTED, 200))
    assert plan([100, 300, 200], [100, 300, 200], [0.6, 0.7, 0.4], RISING) == plan_of(Verdict.LEARNING, 200)
    assert plan([100, 300, 200], [100, 300, 200], [0.4, 0.7, 0.4]) == plan_of(Verdict.UNLIKE, 200)


def test_a_short_training_need_not_settle():
    assert plan([9, 9], [9, 9], [0.9, 0.9], RISING, epoch=20).verdict is Verdict.CORRECTED
    assert plan([9, 9], [9, 9], [0.4, 0.4], RISING, epoch=20).verdict is Verdict.UNLIKE


def test_cases_without_the_class_say_nothing_of_it():
    assert plan([0, 0, 300, 200], [100, 0, 300, 200], [0.1, 0.0, 0.7, 0.6]) == plan_of(Verdict.CORRECTED, 250)
    assert plan([0, 0, 200], [0, 0, 200], [0.0, 0.0, 0.9]) == plan_of(Verdict.UNLIKE, 0)


def test_a_class_that_shrinks_is_rolled_back_for_good():
    first = [100, 100, 100]
    assert plan(first, [79, 79, 100], [0.9, 0.9, 0.9]) == plan_of(Verdict.SHRANK, 100)
    assert plan(first, [80, 80, 10], [0.9, 0.9, 0.9]) == plan_of(Verdict.CORRECTED, 100)
    assert plan(first, first, [0.9, 0.9, 0.9], shrunk={0}) == plan_of(Verdict.SHRANK, 100)


def plan_of(verdict, usual):
    return type(plan([1, 1], [1, 1], [1, 1]))(verdict, usual)


def test_limits_are_shares():
    with pytest.raises(BundleError, match="most_total_share is out of range"):
        GuardSettings(most_total_share=1.2)
