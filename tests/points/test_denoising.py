import math

import numpy as np
import pytest
import torch

from scripts.points.denoising import (
    RULES,
    cosine_similarities,
    denoise,
    denoising_rule,
    product_of_levels,
)


def reasons(labels, voxels, scores, tau=0.5, misfits=None, tolerance=None):
    misfits = np.zeros(len(labels)) if misfits is None else np.array(misfits, dtype=float)
    rule = denoising_rule("dual", tau, tolerance)
    return denoise(np.array(labels), np.array(voxels), np.array(scores, dtype=float), misfits, rule)


def test_cosines_by_hand():
    support = {"m2": torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]]), "m4": torch.tensor([[1.0], [2.0], [1.0]])}
    query = {"m2": torch.tensor([[4.0, 3.0], [0.0, 2.0], [1.0, 1.0]]), "m4": torch.tensor([[5.0], [0.1], [0.0]])}
    cosines = cosine_similarities(support, query)
    assert cosines["m2"].tolist() == pytest.approx([24 / 25, 0, 0]), "a dead feature vector agrees with nothing"
    assert cosines["m4"].tolist() == pytest.approx([1, 1, 0])


def test_score_is_the_product_of_the_rule_s_levels():
    cosines = {"m1": [0.5, 1.0], "m2": [0.9, 0.8], "m3": [0.5, 1.0], "m4": [0.7, 0.6]}
    dual = product_of_levels(cosines, RULES["dual"].levels)
    multi = product_of_levels(cosines, RULES["multi"].levels)
    assert dual.tolist() == pytest.approx([0.63, 0.48]) and multi.tolist() == pytest.approx([0.1575, 0.48])


def test_rules():
    assert (RULES["dual"].levels, RULES["dual"].tau) == (("m2", "m4"), 0.5)
    assert (RULES["multi"].levels, RULES["multi"].tau) == (("m1", "m2", "m3", "m4"), 0.1)
    assert denoising_rule("dual") == RULES["dual"] and RULES["dual"].tissue_tolerance is None
    assert denoising_rule("multi", 0).tau == 0 and denoising_rule("multi", 0).levels == RULES["multi"].levels
    with pytest.raises(ValueError, match=r"unknown denoising rule 'triple', expected one of \['dual', 'multi'\]"):
        denoising_rule("triple")


def test_a_score_must_exceed_tau():
    apart = [[n, 0, 0] for n in range(4)]
    dropped = reasons([1, 1, 0, 0], apart, [0.5, math.nextafter(0.5, 1), 0.5, 0.6])
    assert dropped == ["similarity", "", "similarity", ""], "background passes the same threshold"
    assert reasons([1, 1, 0, 0], apart, [0.0, 0.1, 0.0, 1.0], tau=0) == [""] * 4
    assert reasons([1], [[0, 0, 0]], [math.nan]) == ["similarity"]


def test_a_point_must_come_back_within_the_tolerance():
    labels, apart = np.array([1, 1, 1, 0]), np.array([[n, 0, 0] for n in range(4)])
    judged = (labels, apart, np.array([0.9, 0.9, 0.1, 0.9]), np.zeros(4))
    cycle_mm = np.array([16.0, 16.1, 30.0, math.nan])
    rule = denoising_rule("dual", 0.5, point_cycle_mm=16.0)
    assert denoise(*judged, rule, cycle_mm) == ["", "cycle", "similarity", "cycle"]
    assert denoise(*judged, denoising_rule("dual", 0.5), cycle_mm) == ["", "", "similarity", ""], "off unless given"
    assert denoise(*judged, rule) == ["", "", "similarity", ""], "nothing was sought back"


def test_the_tissue_check_is_a_second_threshold():
    apart = [[n, 0, 0] for n in range(4)]
    points = ([1, 1, 1, 0], apart, [0.9, 0.9, 0.1, 0.9])
    misfits = [0.08, 0.09, 0.09, 0.0]
    assert reasons(*points, misfits=misfits, tolerance=0.08) == ["", "tissue", "similarity", ""]
    assert reasons(*points, misfits=misfits) == ["", "", "similarity", ""], "off unless a tolerance is given"
    assert reasons([1], [[0, 0, 0]], [0.9], misfits=[math.nan], tolerance=0.08) == ["tissue"]


def test_a_point_in_the_wrong_tissue_claims_no_voxel():
    voxel = [4, 5, 6]
    assert reasons([1, 2], [voxel, voxel], [0.9, 0.6], misfits=[0.5, 0.0], tolerance=0.1) == ["tissue", ""]


def test_foreground_is_never_erased_by_background():
    voxel = [4, 5, 6]
    assert reasons([0, 1], [voxel, voxel], [0.99, 0.51]) == ["collision", ""]
    assert reasons([1, 0], [voxel, voxel], [0.51, 0.99]) == ["", "collision"]


def test_the_higher_score_wins_between_classes():
    voxel = [4, 5, 6]
    assert reasons([1, 3, 1, 0], [voxel] * 4, [0.7, 0.8, 0.6, 0.9]) == ["collision", "", "collision", "collision"]
    assert reasons([3, 1], [voxel, voxel], [0.7, 0.7]) == ["", "collision"], "a tie goes to the first point"


def test_points_of_one_class_share_a_voxel():
    voxel, other = [4, 5, 6], [4, 5, 7]
    assert reasons([1, 1, 1, 0, 0], [voxel, voxel, other, [0, 0, 0], [0, 0, 0]], [0.9, 0.6, 0.7, 0.6, 0.8]) == [""] * 5


def test_a_dropped_point_takes_no_voxel():
    voxel = [4, 5, 6]
    assert reasons([1, 0], [voxel, voxel], [0.4, 0.9]) == ["similarity", ""]
