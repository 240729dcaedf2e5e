from dataclasses import replace

import numpy as np
import pytest

from bundle.benchmark.measure.points import PointCount, count_points, organs_at, redenoise, score_points, sweep
from scripts.data.records import KEPT, PointSet, PropagationRecord
from scripts.data.volume_io import Volume
from scripts.points.denoising import denoising_rule

AFFINE = np.diag([2.0, 3.0, 5.0, 1.0])
CLASSES = {"spleen": 1, "liver": 6}
BACKGROUND = 0


def point(label, located_mm, m2, m4, misfit=0.0, reason=KEPT):
    return label, located_mm, m2, m4, misfit, reason


def record(*points, case="b"):
    labels, located_mm, m2, m4, misfits, reasons = (list(column) for column in zip(*points, strict=True))
    located_mm = np.array(located_mm, dtype=float)
    count = len(labels)
    similarities = {"m1": np.ones(count), "m2": np.array(m2), "m3": np.ones(count), "m4": np.array(m4)}
    return PropagationRecord(
        case=case,
        support="a",
        rule={},
        spacing_mm=(4.0, 4.0, 4.0),
        classes=CLASSES,
        points=PointSet(
            labels=np.array(labels),
            support_voxels=np.zeros((count, 3), dtype=int),
            support_mm=np.zeros((count, 3)),
            located_mm=located_mm,
            working_voxels=np.rint(located_mm / 4).astype(int),
            scores=np.zeros(count),
            reasons=np.array(reasons, dtype=object),
            similarities=similarities,
            evidence={"tissue_misfit": np.array(misfits)},
        ),
    )


def test_another_threshold_keeps_other_points():
    before = record(point(1, [0, 0, 0], 0.9, 0.9), point(6, [40, 0, 0], 0.9, 0.6))
    strict, mild = (redenoise(before, denoising_rule("dual", tau)) for tau in (0.7, 0.5))
    assert strict.points.kept.tolist() == [True, False]
    assert strict.points.reasons.tolist() == ["", "similarity"]
    assert strict.points.scores.tolist() == pytest.approx([0.81, 0.54])
    assert strict.not_located == ["liver"]
    assert (strict.rule["name"], strict.rule["levels"], strict.rule["tau"]) == ("dual", ("m2", "m4"), 0.7)
    assert mild.points.kept.all() and mild.not_located == []


def test_another_tissue_tolerance_keeps_other_points():
    before = record(point(1, [0, 0, 0], 0.9, 0.9, misfit=0.1), point(6, [40, 0, 0], 0.9, 0.9))
    checked = redenoise(before, denoising_rule("dual", 0.5, tissue_tolerance=0.08))
    assert checked.points.reasons.tolist() == ["tissue", ""]
    assert checked.rule["tissue_tolerance"] == 0.08 and checked.not_located == ["spleen"]


def test_the_tolerance_for_the_way_back_stays_what_it_was():
    before = record(point(1, [0, 0, 0], 0.9, 0.9), point(6, [40, 0, 0], 0.9, 0.9))
    points = replace(before.points, evidence={**before.points.evidence, "cycle_mm": np.array([20.0, 4.0])})
    before = replace(before, rule={"point_cycle_mm": 16.0}, points=points)
    judged = redenoise(before, denoising_rule("dual", 0.0))
    assert judged.points.reasons.tolist() == ["cycle", ""] and judged.rule["point_cycle_mm"] == 16.0


def test_collisions_are_judged_on_the_working_grid():
    before = record(
        point(1, [4.0, 8.0, 0.0], 0.8, 0.9),
        point(6, [5.9, 7.0, 1.0], 0.9, 0.9),  # the same voxel of 4 mm, more similar
        point(BACKGROUND, [4.0, 8.0, 0.0], 1.0, 1.0),  # erases nothing
    )
    reasons = redenoise(before, denoising_rule("dual", 0.5)).points.reasons.tolist()
    assert reasons == ["collision", "", "collision"]


def test_the_supports_own_points_always_stay():
    after = redenoise(record(point(1, [0, 0, 0], 0.1, 0.1), case="a"), denoising_rule("dual", 0.9))
    assert after.points.kept.tolist() == [True] and after.rule["tau"] == 0.9


def truth():
    label = np.zeros((10, 10, 10), np.uint8)
    label[1, 1, 1], label[2, 2, 2], label[3, 3, 3] = 1, 6, 9
    return Volume(label, AFFINE)


def test_points_are_counted_where_they_lie():
    at = [np.multiply(index, [2.0, 3.0, 5.0]).tolist() for index in ([1, 1, 1], [2, 2, 2], [3, 3, 3], [99, 99, 99])]
    located = record(
        point(1, at[0], 1, 1),
        point(1, at[1], 1, 1),
        point(6, at[1], 1, 1, reason="similarity"),
        point(BACKGROUND, at[2], 1, 1),  # another organ, which is none of the classes
        point(BACKGROUND, at[0], 1, 1),
        point(BACKGROUND, at[3], 1, 1),  # outside: the nearest voxel counts
    )
    organs = organs_at(located, truth())
    assert organs.tolist() == [1, 6, 6, 0, 1, 0]
    assert count_points(located, organs) == {
        "spleen": PointCount(all=2, kept=2, right=1),
        "liver": PointCount(all=1, kept=0, right=0),
        "background": PointCount(all=3, kept=3, right=2),
    }


def test_sweep_averages_over_cases():
    right, wrong = [2.0, 3.0, 5.0], [18.0, 27.0, 45.0]
    background = point(BACKGROUND, [0.0, 27.0, 0.0], 1, 1)
    b = record(point(1, right, 0.9, 0.9), point(1, wrong, 0.9, 0.9), point(6, right, 0, 0), background)
    c = record(point(1, right, 0.1, 0.1), point(6, [4.0, 6.0, 10.0], 0.9, 0.9), background, case="c")
    records = {"b": b, "c": c}
    organs = {case: organs_at(one, truth()) for case, one in records.items()}
    rows = sweep(records, organs, [denoising_rule("dual", 0.5)])
    assert [row["class"] for row in rows] == ["spleen", "liver", "background"]
    spleen = rows[0]
    assert (spleen["rule"], spleen["tau"], spleen["tissue_tolerance"]) == ("dual", 0.5, None)
    assert (spleen["kept_mean"], spleen["kept_sd"]) == (0.5, 0.5)
    assert (spleen["precision_mean"], spleen["cases_with_points"]) == (0.5, 1)
    assert rows[2]["precision_mean"] == 1.0


def test_a_class_of_which_no_point_is_kept_anywhere_has_no_precision():
    one = record(
        point(1, [0, 0, 0], 1, 1, reason="similarity"), point(6, [0, 0, 0], 1, 1), point(BACKGROUND, [0, 0, 0], 1, 1)
    )
    spleen = score_points({"b": one}, {"b": organs_at(one, truth())})[0]
    assert (spleen["kept_mean"], spleen["precision_mean"], spleen["precision_sd"]) == (0.0, None, None)
