"""The self-check with hand-made witnesses: what is wrong in the result must show."""

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json, write_nifti
from scripts.common.overlap import dice_of
from scripts.data.resampling import nearest_on_grid
from scripts.data.volume_io import Volume
from scripts.label_propagation.label_fusion import ATLAS_LABELS
from scripts.quality.evidence import ClassMeasurement, CohortStatistics, ConfidencePenalty, TrustRule
from scripts.quality.records import NETWORK, distrusted
from scripts.quality.self_check import MASK, SelfCheck
from tests.label_propagation.test_first_round import organs
from tests.prnet_fixtures import CLASSES, LAS, make_cohort

OTHERS = ("case_1", "case_2")


@pytest.fixture
def cohort(tmp_path):
    """A support and two cases, each with its one-shot mask and the labels that two voters send there."""
    cohort = make_cohort(tmp_path, count=3)
    for case in OTHERS:
        atlases = {"case_0": heard(0.6), "helper": heard(0.4)}
        record = {"similarity": 0.5, "atlases": atlases, "mean_round_trip_dice": heard(0.8)}
        write_json(tmp_path / "propagation" / f"{case}.json", record)
        cached = nib.load(cohort.cached_image(case))
        says = nearest_on_grid(Volume(organs(), LAS), cached.affine, cached.shape[:3])
        write_nifti(tmp_path / "propagation" / f"{case}{ATLAS_LABELS}", np.stack([says, says], axis=-1), cached.affine)
        write_nifti(tmp_path / "pseudo_labels" / f"{case}.nii.gz", organs(), LAS)
        write_nifti(tmp_path / "results" / f"{case}.nii.gz", almost(organs()), LAS)
    write_nifti(tmp_path / "region.nii.gz", organs(), LAS)
    return cohort


def heard(weight):
    """About every class, with the same weight."""
    return dict.fromkeys(CLASSES, weight)


def almost(label):
    """The same but for one voxel, so that result and mask differ."""
    label = label.copy()
    label[0, 0, 0] = CLASSES["spleen"]
    return label


def stage(cohort, folder, rule=None, **changes):
    return SelfCheck(cohort, folder, folder / "region.nii.gz", folder / "results", rule, **changes)


def check(cohort, folder, result=None, rule=None):
    if result is not None:
        write_nifti(folder / "results" / "case_1.nii.gz", result, LAS)
    stage(cohort, folder, rule).run()
    return read_json(folder / "self_check" / "case_1.json")


def test_a_right_result_is_trusted(cohort, tmp_path):
    record = check(cohort, tmp_path)
    assert record["similarity"] == 0.5 and not record["flagged"]
    for found in record["classes"].values():
        assert found["predicted_dice"] > 0.95 and not found["flagged"] and found["reasons"] == []
        assert set(found["agreement"]) == {MASK, "case_0", "helper"}
        low, high = found["interval"]
        assert low <= found["predicted_dice"] <= high
    assert stage(cohort, tmp_path).run() == []


def test_the_network_is_a_witness_of_what_it_did_not_make_alone(cohort, tmp_path):
    write_nifti(tmp_path / "network" / "case_1.nii.gz", np.zeros_like(organs()), LAS)
    agreement = check(cohort, tmp_path)["classes"]["spleen"]["agreement"]
    assert agreement[NETWORK] == 0 and agreement[MASK] > 0.95
    write_nifti(tmp_path / "network" / "case_1.nii.gz", almost(organs()), LAS)
    assert NETWORK not in check(cohort, tmp_path)["classes"]["spleen"]["agreement"], "it is the result itself"


def test_a_network_that_contradicts_all_others_is_told(cohort, tmp_path):
    """Votes and one-shot mask agree about the kidney, as they may where all of them follow the support."""
    other = np.where(organs() == CLASSES["left_kidney"], 0, organs())
    write_nifti(tmp_path / "network" / "case_1.nii.gz", other, LAS)
    classes = check(cohort, tmp_path)["classes"]
    kidney = classes["left_kidney"]
    assert kidney["predicted_dice"] > 0.9 and kidney["flagged"]
    assert kidney["reasons"] == ["the network alone finds something else: Dice 0.00"]
    assert not classes["spleen"]["flagged"]


def test_of_what_it_learns_from_a_network_of_an_earlier_run_says_nothing(cohort, tmp_path):
    write_nifti(tmp_path / "network" / "case_1.nii.gz", np.zeros_like(organs()), LAS)
    SelfCheck(cohort, tmp_path, tmp_path / "region.nii.gz", tmp_path / "pseudo_labels").run()
    found = read_json(tmp_path / "self_check" / "case_1.json")["classes"]["spleen"]
    assert set(found["agreement"]) == {"case_0", "helper"} and found["predicted_dice"] > 0.95


def test_a_missing_organ_is_flagged(cohort, tmp_path):
    classes = check(cohort, tmp_path, np.where(organs() == CLASSES["spleen"], 0, organs()))["classes"]
    assert classes["spleen"]["predicted_dice"] == 0 and classes["spleen"]["volume_ml"] == 0
    assert classes["spleen"]["flagged"] and classes["spleen"]["reasons"] == ["not found"]
    assert not classes["left_kidney"]["flagged"]


def test_a_bowel_full_of_contrast_is_no_kidney(cohort, tmp_path):
    classes = check(cohort, tmp_path)["classes"]
    assert (classes["spleen"]["median_hu"], classes["left_kidney"]["median_hu"]) == (120, 190), "as drawn"
    usual = CohortStatistics.of(
        [ClassMeasurement(150.0, hu) for hu in (100.0, 110.0, 120.0, 125.0, 260.0)]
        + [ClassMeasurement(0.0, float("nan"))]
    )
    assert (usual.hu, usual.spread_hu) == (120.0, 10.0)
    rule = stage(cohort, tmp_path, TrustRule(tissue_hu=60, tissue_spread=5))
    assert rule._reasons(0.9, ConfidencePenalty(), {}, ClassMeasurement(150.0, 260.0), usual) == [
        "its tissue, 260 HU, is unlike the cohort's: median 120 HU"
    ]
    assert rule._reasons(0.9, ConfidencePenalty(), {}, ClassMeasurement(150.0, 175.0), usual) == []
    varied = stage(cohort, tmp_path, TrustRule(tissue_hu=60, tissue_spread=20))
    assert varied._reasons(0.9, ConfidencePenalty(), {}, ClassMeasurement(150.0, 260.0), usual) == [], (
        "contrast differs between scans"
    )


def test_an_organ_elsewhere_is_flagged(cohort, tmp_path):
    classes = check(cohort, tmp_path, np.roll(organs(), 10, axis=1))["classes"]
    assert classes["spleen"]["flagged"] and classes["spleen"]["predicted_dice"] < 0.3
    assert "agrees little with" in classes["spleen"]["reasons"][0] and "case_0 0.00" in classes["spleen"]["reasons"][0]


def test_witnesses_that_contradict_each_other_are_not_believed(cohort, tmp_path):
    file = tmp_path / "propagation" / f"case_1{ATLAS_LABELS}"
    atlases = nib.load(file)
    labels = np.asarray(atlases.dataobj)
    scattered = np.stack([np.roll(labels[..., n], (6, 12)[n], axis=1) for n in range(2)], axis=-1)
    write_nifti(file, scattered, atlases.affine)
    (tmp_path / "pseudo_labels" / "case_1.nii.gz").unlink()
    assert check(cohort, tmp_path)["classes"]["spleen"]["flagged"]


def test_an_unusual_volume_is_told(cohort, tmp_path):
    result = np.where(organs() == CLASSES["left_kidney"], 0, organs())
    result[16, 16, 14] = CLASSES["left_kidney"]
    reasons = check(cohort, tmp_path, result)["classes"]["left_kidney"]["reasons"]
    assert any("unlike the cohort's" in reason for reason in reasons)


def test_an_unlike_body_flags_everything(cohort, tmp_path):
    record = check(cohort, tmp_path, rule=TrustRule(least_similarity=0.6))
    assert record["flagged"] and "unlike the support's" in record["reasons"][0]
    assert {found["predicted_dice"] for found in record["classes"].values()} == {0.0}, "however much they agree"
    assert all(found["flagged"] for found in record["classes"].values())


def test_a_mask_is_no_witness_of_itself(cohort, tmp_path):
    agreement = check(cohort, tmp_path, organs())["classes"]["spleen"]["agreement"]
    assert set(agreement) == {"case_0", "helper"}


def test_what_changed_is_checked_again(cohort, tmp_path):
    assert stage(cohort, tmp_path).run() == list(OTHERS)
    (tmp_path / "self_check" / "case_1.json").write_text("{")
    assert stage(cohort, tmp_path).run() == ["case_1"]
    write_nifti(tmp_path / "results" / "case_1.nii.gz", organs(), LAS)
    assert stage(cohort, tmp_path).run() == list(OTHERS), "the usual volume depends on every result"


def test_what_all_witnesses_get_wrong_is_seen_on_the_support(cohort, tmp_path):
    """The helpers agree on organs one voxel off, at the support too, where the region tells."""
    shifted = np.roll(organs(), 1, axis=1)
    tests = tmp_path / "on_support"
    cached = nib.load(cohort.cached_image("case_0"))
    says = nearest_on_grid(Volume(shifted, LAS), cached.affine, cached.shape[:3])
    write_json(tests / "propagation" / "case_0.json", {"atlases": {"case_1": heard(0.5), "case_2": heard(0.5)}})
    write_nifti(tests / "propagation" / f"case_0{ATLAS_LABELS}", np.stack([says, says], axis=-1), cached.affine)
    write_nifti(tests / "pseudo_labels" / "case_0.nii.gz", shifted, LAS)
    trusting = check(cohort, tmp_path)
    dice = [dice_of(shifted == value, organs() == value) for value in CLASSES.values()]
    assert trusting["shared_quality"] == pytest.approx(np.median(dice), abs=1e-3)
    found = trusting["classes"]["left_kidney"]
    assert found["predicted_dice"] == pytest.approx(np.median(dice), abs=0.02) and found["interval"][1] < 0.9


def test_labels_that_do_not_come_back_lower_the_trust(cohort, tmp_path):
    """A mask agrees with what it was made of; that alone is no evidence."""
    record = {
        "similarity": 0.5,
        "atlases": {"case_0": heard(1.0)},
        "mean_round_trip_dice": {"spleen": 0.75, "left_kidney": 0.35},
    }
    write_json(tmp_path / "propagation" / "case_1.json", record)
    file = tmp_path / "propagation" / f"case_1{ATLAS_LABELS}"
    atlases = nib.load(file)
    write_nifti(file, np.asarray(atlases.dataobj)[..., :1], atlases.affine)
    classes = check(cohort, tmp_path, organs())["classes"]
    assert classes["spleen"]["predicted_dice"] > 0.95 and not classes["spleen"]["flagged"], "as well as good organs do"
    kidney = classes["left_kidney"]
    assert kidney["predicted_dice"] == pytest.approx(
        kidney["agreed_dice"] * 0.35 / TrustRule().good_round_trip, abs=1e-3
    )
    assert kidney["agreed_dice"] > 0.95 and kidney["interval"][1] > 0.95
    assert kidney["reasons"] == ["labels that were sent there and back return with a mean Dice of 0.35 only"]
    assert distrusted(tmp_path / "self_check", "case_1", 0.6) == [], "it still teaches"


def test_a_helper_is_a_witness_of_the_classes_it_is_heard_about(cohort, tmp_path):
    """Of the spleen the helper vouches for the mask, of the kidney the support is alone."""
    atlases = {"case_0": {"spleen": 0.6, "left_kidney": 1.0}, "helper": {"spleen": 0.4}}
    record = {"similarity": 0.5, "atlases": atlases, "mean_round_trip_dice": {"spleen": 0.9, "left_kidney": 0.35}}
    write_json(tmp_path / "propagation" / "case_1.json", record)
    write_nifti(tmp_path / "pseudo_labels" / "case_1.nii.gz", organs(), LAS)
    classes = check(cohort, tmp_path, organs())["classes"]
    assert set(classes["spleen"]["agreement"]) == {"case_0", "helper"}
    assert classes["spleen"]["predicted_dice"] > 0.95
    assert set(classes["left_kidney"]["agreement"]) == {"case_0"}
    assert classes["left_kidney"]["predicted_dice"] <= 0.5 < 0.95 < classes["left_kidney"]["agreed_dice"]


def test_a_region_without_a_clear_border_lowers_the_trust(cohort, tmp_path):
    """All agree, but limits made most of the kidney's border: what a network may learn from is judged without that."""
    file = tmp_path / "support_mask.json"
    write_json(file, {"border_confidence": {"spleen": 0.9, "left_kidney": 0.55}})
    stage(cohort, tmp_path, support_mask_record=file).run()
    classes = read_json(tmp_path / "self_check" / "case_1.json")["classes"]
    for name, factor in (("spleen", 0.9), ("left_kidney", 0.55)):
        found = classes[name]
        assert found["predicted_dice"] == pytest.approx(factor * found["agreed_dice"], abs=1e-3)
        assert found["agreed_dice"] > 0.95
        assert found["interval"][0] <= found["predicted_dice"] < found["interval"][1], "the region may well be right"
    assert not classes["spleen"]["flagged"]
    assert classes["left_kidney"]["reasons"] == [
        "the support's region has no clear border (sureness 0.55): look at it and correct it"
    ]
    assert distrusted(tmp_path / "self_check", "case_1", 0.6) == []
    write_json(file, {"border_confidence": {"spleen": 0.9}})
    assert stage(cohort, tmp_path, support_mask_record=file).run() == list(OTHERS), "it depends on the region's record"
    assert not read_json(tmp_path / "self_check" / "case_1.json")["classes"]["left_kidney"]["flagged"]


def test_an_accepted_label_map_is_the_truth(cohort, tmp_path):
    file = tmp_path / "propagation" / f"case_1{ATLAS_LABELS}"
    atlases = nib.load(file)
    write_nifti(file, np.asarray(atlases.dataobj)[..., :1], atlases.affine)
    write_json(tmp_path / "propagation" / "case_1.json", {"similarity": 1.0, "atlases": {"case_1": heard(1.0)}})
    shifted = np.roll(organs(), 1, axis=1)
    kidney = CLASSES["left_kidney"]
    write_nifti(tmp_path / "results" / "case_1.nii.gz", shifted, LAS)
    write_json(tmp_path / "support_mask.json", {"border_confidence": {"left_kidney": 0.5}})
    stage(cohort, tmp_path, support_mask_record=tmp_path / "support_mask.json").run()
    found = read_json(tmp_path / "self_check" / "case_1.json")["classes"]["left_kidney"]
    dice = dice_of(shifted == kidney, organs() == kidney)
    assert (
        found["predicted_dice"] == pytest.approx(dice, abs=1e-3) and found["interval"] == [found["predicted_dice"]] * 2
    )


def test_a_case_that_was_not_propagated(cohort, tmp_path):
    (tmp_path / "propagation" / f"case_1{ATLAS_LABELS}").unlink()
    with pytest.raises(BundleError, match="was not propagated"):
        check(cohort, tmp_path)
