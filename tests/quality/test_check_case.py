"""Label maps so small that every number can be checked by hand; (X, Y, Z) is (N, 1, 1)."""

from dataclasses import replace

import numpy as np
import pytest

from scripts.common.overlap import joined_dice
from scripts.quality.case_spread import spread_of_cases
from scripts.quality.check_case import (
    CaseEvidence,
    CohortEvidence,
    calibrate_on_support,
    check_case,
    reasons_to_flag,
    without_names,
)
from scripts.quality.evidence import AtlasLabels, ClassMeasurement, CohortStatistics, ConfidencePenalty, TrustRule
from scripts.quality.modelled_dice import modelled_dice
from scripts.quality.records import ClassCheck
from scripts.quality.support_calibration import SupportCalibration

LIVER = {"liver": 6}
ORGANS = {"spleen": 1, "left_kidney": 3}
USUAL = CohortStatistics(volume_ml=100.0, median_hu=120.0, spread_hu=10.0)
UNREMARKABLE = ClassMeasurement(volume_ml=100.0, median_hu=120.0)
RULE = TrustRule()
UNSURE = "the atlases are not sure of it; it agrees least with"


def label_map(*values):
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1)


def evidence(result, labels, atlas_classes, **changes):
    """Of case_1, a class measuring as usual; `labels` are those of the atlases, which vote for `atlas_classes`."""
    classes = {name: frozenset(names) for name, names in atlas_classes.items()}
    values = {
        "case": "case_1",
        "raters": {},
        "similarity": 0.5,
        "mean_round_trip_dice": dict.fromkeys([*ORGANS, *LIVER], 1.0),
        "measurements": dict.fromkeys([*ORGANS, *LIVER], UNREMARKABLE),
    }
    values["probabilities"] = {name: (result == value).astype(float) for name, value in (ORGANS | LIVER).items()}
    return CaseEvidence(result=result, atlases=AtlasLabels(labels, classes), **values | changes)


def cohort(classes, **values):
    return CohortEvidence(classes, dict.fromkeys(classes, USUAL), **values)


def three_raters(**changes):
    """Dice 0.75 with the pseudo label and 0.5 with the atlas; the probabilities let expect 2 * 3 / (4 + 4) of it,
    and 2 * 4 / (6 + 4) of the best mask, which has two voxels more."""
    values = {"raters": {"pseudo label": label_map(6, 6, 6, 0, 6, 0, 0)}}
    probability = {"liver": np.array([1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.0]).reshape(-1, 1, 1)}
    result = label_map(6, 6, 6, 6, 0, 0, 0)
    values["probabilities"] = probability
    return evidence(result, {"case_0": label_map(6, 6, 0, 0, 0, 6, 6)}, {"case_0": ["liver"]}, **values | changes)


PREDICTED = 0.75 / np.sqrt(0.8)


def test_predicted_dice_is_what_the_probabilities_let_expect():
    liver = check_case(three_raters(), cohort(LIVER), RULE).classes["liver"]
    assert liver.agreement == {"case_0": 0.5} and liver.rater_agreement == {"pseudo label": 0.75}
    assert liver.predicted_dice == liver.agreed_dice == pytest.approx(PREDICTED, abs=1e-4)
    assert not liver.flagged and liver.reasons == ()
    assert (liver.volume_ml, liver.median_hu) == (100.0, 120.0)


def test_the_interval_is_as_wide_as_cases_differ():
    rule = TrustRule(case_concentration=20.0, case_loss_power=3.0, interval_coverage=0.8)
    known = cohort(LIVER, calibration=SupportCalibration(1.0, {"liver": 1.0}))
    liver = check_case(three_raters(), known, rule).classes["liver"]
    assert liver.interval == pytest.approx(spread_of_cases(PREDICTED, 20.0, 3.0, 0.8), abs=1e-4)
    unknown = check_case(three_raters(), cohort(LIVER), rule).classes["liver"]
    assert unknown.interval == (0.0, 1.0), "no atlas labelled the support"


def test_what_all_atlases_get_wrong_together_lowers_everything():
    all_cases = cohort(LIVER, calibration=SupportCalibration(shared_quality=0.8))
    record = check_case(three_raters(), all_cases, RULE)
    assert record.shared_quality == 0.8
    liver = record.classes["liver"]
    assert liver.agreed_dice == pytest.approx(0.8 * PREDICTED, abs=1e-4)


def test_a_class_that_is_wrong_on_the_support_is_lowered_alone():
    calibration = SupportCalibration(0.9, {"spleen": 0.5})
    label = label_map(1, 1, 3, 3)
    classes = check_case(
        evidence(label, {"case_0": label}, {"case_0": ORGANS}), cohort(ORGANS, calibration=calibration), RULE
    ).classes
    assert (classes["spleen"].predicted_dice, classes["left_kidney"].predicted_dice) == pytest.approx((0.5, 0.9))


def test_a_penalty_lowers_predicted_dice():
    case = three_raters(mean_round_trip_dice={"liver": 0.35})
    all_cases = cohort(LIVER, border_confidence={"liver": 0.8})
    liver = check_case(case, all_cases, TrustRule(good_round_trip=0.7)).classes["liver"]
    round_trip = 0.35 / 0.7
    assert liver.agreed_dice == pytest.approx(PREDICTED, abs=1e-4)
    assert liver.predicted_dice == pytest.approx(joined_dice(PREDICTED, 0.8) * round_trip, abs=1e-4)
    assert liver.border_confidence == 0.8
    assert [reason[:7] for reason in liver.reasons] == ["labels ", "the sup"], "the heavier reason first"


def test_an_atlas_is_a_reference_of_the_classes_it_votes_for():
    result = label_map(1, 1, 3, 3)
    labels = {"case_0": label_map(1, 1, 3, 3), "case_2": label_map(0, 0, 0, 0)}
    classes = check_case(
        evidence(result, labels, {"case_0": ORGANS, "case_2": ["left_kidney"]}), cohort(ORGANS), RULE
    ).classes
    assert classes["spleen"].agreement == {"case_0": 1.0} and classes["spleen"].predicted_dice == 1.0
    assert classes["left_kidney"].agreement == {"case_0": 1.0, "case_2": 0.0}


def test_a_label_map_that_the_user_accepted_is_the_truth():
    truth = label_map(0, 6, 6, 6)
    case = evidence(label_map(6, 6, 6, 0), {"case_1": truth}, {"case_1": LIVER}, truth=truth)
    poor = cohort(LIVER, calibration=SupportCalibration(0.5), border_confidence={"liver": 0.5})
    liver = check_case(case, poor, RULE).classes["liver"]
    assert liver.predicted_dice == pytest.approx(2 / 3) and liver.interval == (liver.predicted_dice,) * 2
    assert liver.border_confidence == 1.0 and liver.reasons == ()


def test_what_the_user_accepted_is_not_held_against_other_cases():
    """Ten times the cohort's volume, and 300 HU from its tissue."""
    truth = label_map(6, 6, 0, 0)
    unlike = {"liver": ClassMeasurement(1000.0, 360.0)}
    statistics = {"liver": CohortStatistics(100.0, 60.0, 5.0)}
    others = CohortEvidence(classes=LIVER, statistics=statistics)
    accepted = evidence(truth, {"case_1": truth}, {"case_1": LIVER}, truth=truth, measurements=unlike)
    assert check_case(accepted, others, RULE).classes["liver"].reasons == ()
    nobody = check_case(replace(accepted, truth=None), others, RULE).classes["liver"]
    assert [reason[:10] for reason in nobody.reasons] == ["its volume", "its tissue"]
    another = check_case(replace(accepted, result=label_map(0, 0, 0, 6)), others, RULE).classes["liver"]
    assert another.reasons == ("it is not what was accepted: Dice 0.00 with that",)


def test_a_class_that_the_accepted_label_map_rightly_lacks_is_right():
    """Neither map has a spleen, the accepted one alone a left kidney."""
    result, truth = label_map(6, 6, 0), label_map(6, 6, 3)
    case = evidence(result, {"case_1": result}, {"case_1": ORGANS}, truth=truth)
    classes = check_case(case, cohort(ORGANS), RULE).classes
    assert classes["spleen"].predicted_dice == 1.0 and classes["spleen"].interval == (1.0, 1.0)
    assert not classes["spleen"].flagged and classes["spleen"].reasons == ()
    assert classes["left_kidney"].predicted_dice == 0.0 and classes["left_kidney"].flagged


@pytest.mark.parametrize("name", ["network", "pseudo label"])
def test_a_case_may_be_called_like_a_rater(name):
    """What the rater says is no truth, and neither hides what the other says."""
    result, empty = label_map(6, 6, 0, 0), label_map(0, 0, 0, 0)
    half = {"liver": 0.5 * (result == 6)}
    own = evidence(result, {"case_0": result}, {"case_0": LIVER}, case=name, raters={name: result}, probabilities=half)
    liver = check_case(own, cohort(LIVER), RULE).classes["liver"]
    assert liver.predicted_dice == pytest.approx(modelled_dice(result == 6, half["liver"])) != 1.0
    labels = {"case_0": result, name: result}
    other = evidence(result, labels, {"case_0": LIVER, name: []}, raters={name: empty}, probabilities=half)
    liver = check_case(other, cohort(LIVER), RULE).classes["liver"]
    for said in (liver, ClassCheck.from_json(liver.to_json())):
        assert said.agreement == {"case_0": 1.0} and said.rater_agreement == {name: 0.0}
    assert liver.flagged == (name == "network")


def test_a_body_unlike_the_supports_flags_every_class():
    record = check_case(three_raters(similarity=0.2), cohort(LIVER), TrustRule(least_similarity=0.26))
    assert record.flagged and record.reasons == ("the body is unlike the support's: similarity 0.20",)
    liver = record.classes["liver"]
    assert (liver.predicted_dice, liver.interval, liver.flagged) == (0.0, (0.0, 0.0), True)
    record = check_case(three_raters(similarity=0.26), cohort(LIVER), TrustRule(least_similarity=0.26))
    assert not record.flagged and record.reasons == ()


def test_a_turned_body_is_flagged_however_well_its_references_agree():
    label = label_map(6, 6, 0, 0)
    case = evidence(label, {"case_0": label}, {"case_0": LIVER}, turned="mirrored left to right")
    record = check_case(case, cohort(LIVER), RULE)
    (reason,) = record.reasons
    assert record.flagged and "mirrored left to right against the support's: correct the orientation" in reason
    liver = record.classes["liver"]
    assert (liver.predicted_dice, liver.agreed_dice, liver.interval, liver.flagged) == (0.0, 0.0, (0.0, 0.0), True)
    both = check_case(replace(case, similarity=0.2), cohort(LIVER), TrustRule(least_similarity=0.26))
    first, second = both.reasons
    assert first == reason and second.startswith("the body is unlike the support's"), "reports name the first"


def test_a_class_that_is_absent_has_no_intensity():
    absent = {"liver": ClassMeasurement(0.0, float("nan"))}
    labels = {"case_0": label_map(6, 6, 0, 0)}
    liver = check_case(
        evidence(label_map(0, 0, 0, 0), labels, {"case_0": LIVER}, measurements=absent), cohort(LIVER), RULE
    ).classes["liver"]
    assert (liver.volume_ml, liver.median_hu, liver.reasons) == (0.0, None, ("not found",))


def test_the_support_is_judged_by_the_selected_atlases_alone():
    """The spleen agrees by 1 with its probabilities and by 0.5 with the mask; the kidney, by 1 with both."""
    label, truth = label_map(1, 1, 3, 0, 0), label_map(0, 1, 3, 1, 0)
    probabilities = {name: (label == value).astype(float) for name, value in ORGANS.items()}
    calibration = calibrate_on_support(label, truth, probabilities, set(ORGANS), ORGANS, RULE)
    assert calibration.shared_quality == pytest.approx(0.75)
    assert calibration.class_quality == pytest.approx({"spleen": (0.75 + 0.5) / 2, "left_kidney": (0.75 + 1) / 2})


def test_a_class_without_an_atlas_teaches_nothing():
    label = label_map(1, 1, 0, 0)
    probabilities = dict.fromkeys(ORGANS, (label == 1).astype(float))
    calibration = calibrate_on_support(label, label, probabilities, {"spleen"}, ORGANS, RULE)
    assert calibration.class_quality == {"spleen": 1.0}


def reasons(
    agreed_dice=0.9,
    penalty=None,
    agreement=None,
    raters=None,
    measurement=UNREMARKABLE,
    usual=USUAL,
    rule=RULE,
    is_mr=False,
):
    penalty = penalty or ConfidencePenalty()
    return reasons_to_flag(agreed_dice, penalty, agreement or {}, raters or {}, measurement, usual, rule, is_mr)


def test_low_agreement_names_the_three_worst_references():
    agreement = {"case_0": 0.2, "case_2": 0.4, "case_3": 0.5}
    (told,) = reasons(0.4, agreement=agreement, raters={"pseudo label": 0.3})
    assert told == f"{UNSURE} case_0 0.20, pseudo label 0.30, case_2 0.40"
    assert without_names(told) == "the atlases are not sure of it"
    assert without_names("not found") == "not found"


def test_a_penalty_is_a_reason_only_where_it_decides():
    unclear = ConfidencePenalty(border_confidence=0.8)
    assert reasons(0.9, unclear) == [], "0.72 is enough"
    assert unclear.predicted(0.6) > RULE.least_dice > unclear.at_worst(0.6)
    assert reasons(0.6, unclear) == [
        "the support mask has no clear border (border confidence 0.80): look at that mask and correct it"
    ]
    agreement = {"case_0": 0.5}
    assert reasons(0.49, unclear, agreement) == [f"{UNSURE} case_0 0.50"], "low without the penalty, too"


def test_a_penalty_that_is_heavier_than_the_atlases_doubt_is_told_first():
    foreign = ConfidencePenalty(border_confidence=0.8, tissue_share=0.3)
    assert reasons(0.45, foreign, {"case_0": 0.5}) == [
        "70% of it is tissue that the support mask does not have",
        f"{UNSURE} case_0 0.50",
    ]


def test_a_network_that_contradicts_all_others_is_a_reason():
    assert reasons(raters={"network": 0.49}) == ["the network alone finds something else: Dice 0.49"]
    assert reasons(raters={"network": 0.5}) == reasons(agreement={"network": 0.49}) == []


@pytest.mark.parametrize(("volume_ml", "flagged"), [(24.0, True), (25.0, False), (400.0, False), (401.0, True)])
def test_volumes_four_times_off_are_a_reason(volume_ml, flagged):
    reason = f"its volume, {volume_ml:.0f} ml, is unlike the cohort's: median 100 ml"
    assert reasons(measurement=ClassMeasurement(volume_ml, 120.0)) == ([reason] if flagged else [])


def test_a_reason_says_that_the_support_alone_is_the_measure():
    of_support = replace(USUAL, of_support=True)
    (volume,) = reasons(measurement=ClassMeasurement(500.0, 120.0), usual=of_support)
    (tissue,) = reasons(measurement=ClassMeasurement(100.0, 260.0), usual=of_support)
    assert volume == "its volume, 500 ml, is unlike the support's: 100 ml"
    assert tissue == "its tissue, 260 HU, is unlike the support's: 120 HU"


def test_a_bowel_full_of_contrast_is_no_kidney():
    bowel = ClassMeasurement(100.0, 260.0)
    rule = TrustRule(tissue_hu=60, tissue_spread=5)
    assert reasons(measurement=bowel, rule=rule) == ["its tissue, 260 HU, is unlike the cohort's: median 120 HU"]
    assert reasons(measurement=ClassMeasurement(100.0, 175.0), rule=rule) == []
    found, usual = "intensity 0.81 of 0 to 1", "intensity 0.64 of 0 to 1"
    assert reasons(measurement=bowel, rule=rule, is_mr=True) == [
        f"its tissue, {found}, is unlike the cohort's: median {usual}"
    ]
    varied = TrustRule(tissue_hu=60, tissue_spread=20)
    assert reasons(measurement=bowel, rule=varied) == [], "contrast differs between scans"
