import json

import numpy as np
import pytest

from scripts.common.overlap import joined_dice
from scripts.quality.evidence import (
    AtlasLabels,
    ClassMeasurement,
    CohortStatistics,
    ConfidencePenalty,
    TrustRule,
    measure_classes,
    stroke_confidence,
)
from scripts.quality.tissue import tissues
from tests.paths import CONFIGS

ABSENT = ClassMeasurement(0.0, float("nan"))


def test_the_rules_defaults_are_the_configs_values():
    config = json.loads((CONFIGS / "self_check.json").read_text(encoding="utf-8"))
    values = {key: value for key, value in config["rule"].items() if key != "_target_"}
    assert TrustRule(**values) == TrustRule() and set(values) == set(TrustRule.__dataclass_fields__)


def test_volume_in_ml_and_median_in_hu_by_hand():
    label = np.array([1, 1, 1, 3]).reshape(2, 2, 1)
    image_hu = np.array([10.0, 20.0, 60.0, -5.0]).reshape(2, 2, 1)
    found = tissues(label, image_hu, {"spleen": 1, "left_kidney": 3, "liver": 6})
    measured = measure_classes(found, voxel_ml=0.25, shares={"spleen": 0.7})
    assert measured["spleen"] == ClassMeasurement(0.75, 20.0, tissue_share=0.7)
    assert measured["left_kidney"] == ClassMeasurement(0.25, -5.0)
    assert measured["liver"].volume_ml == 0.0 and np.isnan(measured["liver"].median_hu)


def test_an_absent_class_has_a_volume_and_no_intensity_in_the_cohorts_medians():
    present = [ClassMeasurement(150.0, hu) for hu in (100.0, 110.0, 120.0, 125.0, 260.0)]
    assert CohortStatistics.of([*present, ABSENT]) == CohortStatistics(150.0, 120.0, 10.0)
    assert CohortStatistics.of([ABSENT, ABSENT, present[0]]) == CohortStatistics(0.0, 100.0, 0.0)


def measured(*volumes_ml):
    return [ClassMeasurement(volume_ml, 10 + volume_ml) for volume_ml in volumes_ml]


def test_few_cases_are_held_against_the_support_mask_and_one_against_nothing_else():
    (support,) = measured(200.0)
    of_support = CohortStatistics(200.0, 210.0, 0.0, of_support=True)
    assert CohortStatistics.with_support(measured(1000.0), support) == of_support
    two = CohortStatistics.with_support(measured(1600.0, 10.0), support)
    assert two == CohortStatistics(200.0, 210.0, 190.0) and not two.of_support
    three = measured(100.0, 110.0, 120.0)
    assert CohortStatistics.with_support(three, support) == CohortStatistics.of(three), "they are enough"


def test_a_support_mask_without_the_class_says_nothing_of_it():
    for cases in (measured(100.0), measured(100.0, 300.0)):
        assert CohortStatistics.with_support(cases, ABSENT) == CohortStatistics.of(cases)


def test_a_class_that_no_case_has():
    nowhere = CohortStatistics.of([ABSENT])
    assert nowhere.volume_ml == 0.0 and np.isnan(nowhere.median_hu) and np.isnan(nowhere.spread_hu)


def test_losses_of_independent_steps_add_up_in_squares():
    assert joined_dice(0.7, 0.6) == pytest.approx(1 - 0.5)
    assert joined_dice(0.7, 1.0) == joined_dice(1.0, 0.7) == pytest.approx(0.7)
    assert joined_dice(0.2, 0.2) == pytest.approx(0.04), "not below what is left if the losses add up"
    assert joined_dice(0.0, 0.9) == 0.0


def test_the_penalty_joins_the_masks_loss_and_takes_the_share_of_a_good_round_trip():
    penalty = ConfidencePenalty(border_confidence=0.6, mean_round_trip_dice=0.35, good_round_trip=0.7)
    assert penalty.round_trip_factor == pytest.approx(0.5)
    assert penalty.predicted(0.7) == pytest.approx(0.25) and penalty.at_worst(0.7) == pytest.approx(0.21)
    assert ConfidencePenalty(mean_round_trip_dice=0.8, good_round_trip=0.7).predicted(0.7) == pytest.approx(0.7)
    assert ConfidencePenalty().in_words() == []


def test_other_tissue_is_too_much_in_the_prediction_and_in_place_of_the_organ_at_worst():
    penalty = ConfidencePenalty(tissue_share=0.6)
    assert penalty.predicted(0.8) == pytest.approx(0.8 * 0.75) and penalty.at_worst(0.8) == pytest.approx(0.8 * 0.6)
    assert penalty.in_words() == ["40% of it is tissue that the support mask does not have"]


def test_of_several_atlases_each_has_its_part_of_the_round_trips_penalty():
    penalty = ConfidencePenalty(mean_round_trip_dice=0.175, good_round_trip=0.7, atlases=2)
    assert penalty.round_trip_factor == pytest.approx(0.5)
    assert ConfidencePenalty(mean_round_trip_dice=0.35, good_round_trip=0.7, atlases=0).predicted(1.0) == pytest.approx(
        0.5
    )


def test_the_heavier_reason_comes_first():
    border = "the support mask has no clear border (border confidence 0.40): look at that mask and correct it"
    round_trip = "labels sent to another case and back match little: mean round-trip Dice 0.35"
    assert ConfidencePenalty(0.4, 0.35, 0.7).in_words() == [border, round_trip]
    assert ConfidencePenalty(0.6, 0.35, 0.7).in_words() == [round_trip, border.replace("0.40", "0.60")]


def test_what_weighs_hardly_anything_is_told_alone_or_not_at_all():
    tissue = "33% of it is tissue that the support mask does not have"
    assert ConfidencePenalty(border_confidence=0.97, tissue_share=0.67).in_words() == [tissue]
    assert len(ConfidencePenalty(border_confidence=0.89, tissue_share=0.67).in_words()) == 2
    assert len(ConfidencePenalty(border_confidence=0.97).in_words()) == 1, "or a flag would have no reason"


def test_a_mask_that_leaves_strokes_out_has_no_more_of_the_organ():
    strokes = np.array([1, 1, 1, 1, 3, 3, 14, 0]).reshape(-1, 1, 1)
    mask = np.array([1, 0, 0, 3, 3, 3, 1, 6]).reshape(-1, 1, 1)
    confidence = stroke_confidence(mask, strokes, {"spleen": 1, "left_kidney": 3, "liver": 6})
    assert confidence == {"spleen": pytest.approx(2 * 0.25 / 1.25), "left_kidney": 1.0}, "the liver has no stroke"
    penalty = ConfidencePenalty(border_confidence=0.5, stroke_confidence=0.4)
    assert penalty.mask_confidence == 0.4
    assert penalty.in_words()[0].startswith("the support mask leaves out strokes of its class (stroke confidence 0.40)")


def test_an_atlas_that_does_not_vote_for_a_class_is_no_reference_of_it():
    label = np.zeros((1, 1, 1), np.uint8)
    atlases = AtlasLabels(
        {"case_0": label, "case_2": label}, {"case_0": frozenset({"a", "b"}), "case_2": frozenset("a")}
    )
    assert list(atlases.voting("a")) == ["case_0", "case_2"] and list(atlases.voting("b")) == ["case_0"]
