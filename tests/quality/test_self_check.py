"""The self-check on files with hand-made reference segmentations: what is wrong in a result must show."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import binary_dilation

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json, write_nifti
from scripts.common.overlap import dice_of, joined_dice
from scripts.common.work_folder import WorkFolder
from scripts.data.probability_maps import write_probabilities
from scripts.data.records import PointSet, PropagationRecord, PseudoLabelRecord
from scripts.data.resampling import nearest_on_grid
from scripts.data.volume_io import Volume
from scripts.quality.evidence import TrustRule
from scripts.quality.records import NETWORK, PSEUDO_LABEL, distrusted
from scripts.quality.self_check import SelfCheckStage
from tests.damage import damage
from tests.prnet_fixtures import CLASSES, LAS, SPACING_MM, make_cohort, phantom

OTHERS = ("case_1", "case_2")


def organs():
    """The phantom's organs on its own grid."""
    hu = phantom(0)
    label = np.zeros(hu.shape, dtype=np.uint8)
    label[hu == 120], label[hu == 190] = CLASSES["spleen"], CLASSES["left_kidney"]
    return label


def almost(label):
    """The same but for one voxel, so that result and pseudo label differ."""
    label = label.copy()
    label[0, 0, 0] = CLASSES["spleen"]
    return label


def every_class(value):
    return dict.fromkeys(CLASSES, value)


@pytest.fixture
def cohort(tmp_path):
    """A support and two cases, each with a pseudo label, a result, and the labels that two atlases predict there."""
    cohort = make_cohort(tmp_path, count=3)
    work = WorkFolder(tmp_path)
    for case in OTHERS:
        atlases = {"case_0": every_class(0.6), "selected": every_class(0.4)}
        write_propagation(cohort, work.propagation, case, atlases, [organs(), organs()])
        write_nifti(work.pseudo_labels.label(case), organs(), LAS)
        write_nifti(tmp_path / "results" / f"{case}.nii.gz", almost(organs()), LAS)
    write_nifti(tmp_path / "support_mask.nii.gz", organs(), LAS)
    return cohort


def write_propagation(
    cohort, folder, case, atlases, labels=None, mean_round_trip_dice=None, similarity=0.5, turned=None
):
    """A record, and on the working grid label values of each atlas, given on the case's own, and their mean as class
    probabilities; None leaves both."""
    record = PropagationRecord(
        case=case,
        support="case_0",
        rule={"name": "probabilities"},
        spacing_mm=SPACING_MM,
        classes=CLASSES,
        points=PointSet.empty(),
        similarity=similarity,
        turned=turned,
        atlases=atlases,
        mean_round_trip_dice=mean_round_trip_dice or every_class(0.8),
    )
    write_json(folder.record(case), record.to_json())
    if labels is not None:
        cached = nib.load(cohort.cached_image(case))
        stack = [nearest_on_grid(Volume(label, LAS), cached.affine, cached.shape[:3]) for label in labels]
        write_atlases(folder, case, np.stack(stack, axis=-1), cached.affine)


def write_atlases(folder, case, labels, affine):
    write_nifti(folder.atlases(case), labels, affine)
    one_hot = [(labels == value).mean(axis=-1) for value in (0, *CLASSES.values())]
    write_probabilities(folder.probabilities(case), np.stack(one_hot), affine)


def stage(cohort, folder, **changes):
    arguments = {
        "support_mask": folder / "support_mask.nii.gz",
        "support_mask_record": None,
        "results_dir": folder / "results",
        "checks_dir": folder / "checks",
    }
    return SelfCheckStage(cohort, folder, **arguments | changes)


def check(cohort, folder, result=None, **changes):
    """The record of case_1, with `result` in place of its result."""
    if result is not None:
        write_nifti(folder / "results" / "case_1.nii.gz", result, LAS)
    stage(cohort, folder, **changes).run()
    return read_json(folder / "checks" / "case_1.json")


def test_a_right_result_is_trusted(cohort, tmp_path):
    record = check(cohort, tmp_path)
    assert record["case"] == "case_1" and record["similarity"] == 0.5 and not record["flagged"]
    for checked in record["classes"].values():
        assert checked["predicted_dice"] > 0.95 and not checked["flagged"] and checked["reasons"] == []
        assert set(checked["agreement"]) == {"case_0", "selected"} and set(checked["rater_agreement"]) == {PSEUDO_LABEL}
        low, high = checked["interval"]
        assert low <= checked["predicted_dice"] <= high
    assert (record["classes"]["spleen"]["median_hu"], record["classes"]["left_kidney"]["median_hu"]) == (120, 190)
    assert stage(cohort, tmp_path).run() == []


def test_nothing_is_learnt_from_a_turned_body(cohort, tmp_path):
    assert distrusted(tmp_path / "checks", "case_1", 0.5) == [], "it was not checked yet"
    check(cohort, tmp_path)
    assert distrusted(tmp_path / "checks", "case_1", 0.5) == []
    atlases = {"case_0": every_class(0.6), "selected": every_class(0.4)}
    write_propagation(cohort, WorkFolder(tmp_path).propagation, "case_1", atlases, turned="mirrored feet to head")
    assert check(cohort, tmp_path)["reasons"][0].startswith("the body is mirrored feet to head against the support's")
    assert distrusted(tmp_path / "checks", "case_1", 0.5) == list(CLASSES)
    assert distrusted(tmp_path / "checks", "case_2", 0.5) == []


def test_the_network_is_a_reference_of_what_it_did_not_make_alone(cohort, tmp_path):
    network = WorkFolder(tmp_path).network.label("case_1")
    write_nifti(network, np.zeros_like(organs()), LAS)
    agreement = check(cohort, tmp_path)["classes"]["spleen"]["rater_agreement"]
    assert agreement[NETWORK] == 0 and agreement[PSEUDO_LABEL] > 0.95
    write_nifti(network, almost(organs()), LAS)
    assert NETWORK not in check(cohort, tmp_path)["classes"]["spleen"]["rater_agreement"], "it is the result itself"


def test_the_networks_label_maps_may_lie_elsewhere(cohort, tmp_path):
    write_nifti(tmp_path / "elsewhere" / "case_1.nii.gz", np.zeros_like(organs()), LAS)
    spleen = check(cohort, tmp_path, network_dir=tmp_path / "elsewhere")["classes"]["spleen"]
    assert spleen["rater_agreement"][NETWORK] == 0


def test_a_network_that_contradicts_all_others_is_told(cohort, tmp_path):
    """Atlases and pseudo label agree about the kidney, as they may where all of them follow the support."""
    other = np.where(organs() == CLASSES["left_kidney"], 0, organs())
    write_nifti(WorkFolder(tmp_path).network.label("case_1"), other, LAS)
    classes = check(cohort, tmp_path)["classes"]
    kidney = classes["left_kidney"]
    assert kidney["predicted_dice"] > 0.9 and kidney["flagged"]
    assert kidney["reasons"] == ["the network alone finds something else: Dice 0.00"]
    assert not classes["spleen"]["flagged"]


def test_of_what_it_learns_from_a_network_of_an_earlier_run_says_nothing(cohort, tmp_path):
    work = WorkFolder(tmp_path)
    write_nifti(work.network.label("case_1"), np.zeros_like(organs()), LAS)
    spleen = check(cohort, tmp_path, results_dir=work.pseudo_labels.path)["classes"]["spleen"]
    assert set(spleen["agreement"]) == {"case_0", "selected"} and spleen["predicted_dice"] > 0.95
    assert "rater_agreement" not in spleen


def test_a_missing_organ_is_flagged(cohort, tmp_path):
    classes = check(cohort, tmp_path, np.where(organs() == CLASSES["spleen"], 0, organs()))["classes"]
    assert classes["spleen"]["predicted_dice"] == 0 and classes["spleen"]["volume_ml"] == 0
    assert classes["spleen"]["flagged"] and classes["spleen"]["reasons"] == ["not found"]
    assert not classes["left_kidney"]["flagged"]


def test_an_organ_elsewhere_is_flagged(cohort, tmp_path):
    spleen = check(cohort, tmp_path, np.roll(organs(), 10, axis=1))["classes"]["spleen"]
    assert spleen["flagged"] and spleen["predicted_dice"] < 0.3
    assert "agrees least with" in spleen["reasons"][0] and "case_0 0.00" in spleen["reasons"][0]


def test_references_that_contradict_each_other_are_not_believed(cohort, tmp_path):
    work = WorkFolder(tmp_path)
    file = work.propagation.atlases("case_1")
    atlases = nib.load(file)
    labels = np.asarray(atlases.dataobj)
    scattered = np.stack([np.roll(labels[..., n], (6, 12)[n], axis=1) for n in range(2)], axis=-1)
    write_atlases(work.propagation, "case_1", scattered, atlases.affine)
    work.pseudo_labels.label("case_1").unlink()
    assert check(cohort, tmp_path)["classes"]["spleen"]["flagged"]


def test_an_unusual_volume_is_told(cohort, tmp_path):
    result = np.where(organs() == CLASSES["left_kidney"], 0, organs())
    result[16, 16, 14] = CLASSES["left_kidney"]
    reasons = check(cohort, tmp_path, result)["classes"]["left_kidney"]["reasons"]
    assert any("unlike the cohort's" in reason for reason in reasons)


@pytest.mark.parametrize("cases", [1, 2])
def test_in_a_small_cohort_the_support_mask_tells_an_unusual_volume_and_tissue(cohort, tmp_path, cases):
    kidney, grown = CLASSES["left_kidney"], organs()
    if cases == 1:
        (tmp_path / "results" / "case_2.nii.gz").unlink()
    grown[binary_dilation(organs() == kidney, iterations=6) & (organs() == 0)] = kidney
    assert np.mean(grown == kidney) / np.mean(organs() == kidney) > 4
    checked = check(cohort, tmp_path, grown)["classes"]["left_kidney"]
    whose = ["the cohort's: median", "the support's:"][cases == 1]
    for of in ("volume", "tissue"):
        assert any(reason.startswith(f"its {of}") and whose in reason for reason in checked["reasons"])


def test_what_the_first_version_said_is_checked_again(cohort, tmp_path):
    first = stage(cohort, tmp_path)
    first.version = 1
    assert first.run() == list(OTHERS) and first.run() == []
    assert stage(cohort, tmp_path).run() == list(OTHERS)


def test_volumes_on_a_sheared_grid_are_those_of_its_slanted_voxels(cohort, tmp_path):
    sheared = LAS.copy()
    sheared[1, 2] += 3.0
    write_nifti(tmp_path / "results" / "case_1.nii.gz", organs(), sheared)
    voxels = np.count_nonzero(organs() == CLASSES["spleen"])
    volume_ml = stage(cohort, tmp_path).survey("case_1")["spleen"].volume_ml
    assert volume_ml == pytest.approx(voxels * np.prod(np.abs(np.diag(LAS))) / 1000)


def test_an_unlike_body_flags_everything(cohort, tmp_path):
    record = check(cohort, tmp_path, rule=TrustRule(least_similarity=0.6))
    assert record["flagged"] and "unlike the support's" in record["reasons"][0]
    checks = record["classes"].values()
    assert {checked["predicted_dice"] for checked in checks} == {0.0}, "however much they agree"
    assert all(checked["flagged"] for checked in checks)


def test_a_pseudo_label_is_no_reference_of_itself(cohort, tmp_path):
    assert "rater_agreement" not in check(cohort, tmp_path, organs())["classes"]["spleen"]


def test_what_changed_is_checked_again(cohort, tmp_path):
    assert stage(cohort, tmp_path).run() == list(OTHERS)
    (tmp_path / "checks" / "case_1.json").write_text("{", encoding="utf-8")
    assert stage(cohort, tmp_path).run() == ["case_1"]
    write_nifti(tmp_path / "results" / "case_1.nii.gz", organs(), LAS)
    assert stage(cohort, tmp_path).run() == list(OTHERS), "the cohort's volume depends on every result"
    write_nifti(WorkFolder(tmp_path).network.label("case_2"), organs(), LAS)
    assert stage(cohort, tmp_path).run() == ["case_2"]
    assert stage(cohort, tmp_path, rule=TrustRule(least_dice=0.4)).run() == list(OTHERS)


def test_a_check_of_the_support_from_before_it_was_scribbled_goes(cohort, tmp_path):
    stage(cohort, tmp_path).run()
    stale = stage(cohort, tmp_path).record(cohort.support)
    stale.write_bytes((tmp_path / "checks" / "case_1.json").read_bytes())
    assert stage(cohort, tmp_path).run() == [] and not stale.exists()


def test_what_a_case_depends_on_is_no_longer_in_a_larger_cohort(cohort, tmp_path):
    of_two = json.dumps(stage(cohort, tmp_path).inputs("case_1"))
    (tmp_path / "results" / "case_2.nii.gz").unlink()
    of_one = json.dumps(stage(cohort, tmp_path).inputs("case_1"))
    assert len(of_one) == len(of_two) and of_one != of_two


def test_cases_without_a_result_are_none(cohort, tmp_path):
    (tmp_path / "results" / "case_2.nii.gz").unlink()
    assert stage(cohort, tmp_path).cases() == ["case_1"]
    with pytest.raises(BundleError, match="unknown case"):
        stage(cohort, tmp_path).run(["case_2"])


def test_what_all_atlases_get_wrong_is_seen_on_the_support(cohort, tmp_path):
    """The selected atlases agree on organs one voxel off, at the support too, where the support mask tells."""
    shifted, work = np.roll(organs(), 1, axis=1), WorkFolder(tmp_path)
    atlases = {"case_1": every_class(0.5), "case_2": every_class(0.5)}
    write_propagation(cohort, work.on_support, "case_0", atlases, [shifted, shifted])
    write_nifti(work.on_support_labels.label("case_0"), shifted, LAS)
    record = check(cohort, tmp_path)
    dice = [dice_of(shifted == value, organs() == value) for value in CLASSES.values()]
    assert record["shared_quality"] == pytest.approx(np.median(dice), abs=1e-3)
    kidney = record["classes"]["left_kidney"]
    assert kidney["predicted_dice"] == pytest.approx(np.median(dice), abs=0.02) and kidney["interval"][1] < 0.97
    again = check(cohort, tmp_path, support_mask=as_segments(tmp_path / "support_mask.nii.gz"))
    assert again["shared_quality"] == record["shared_quality"]


def as_segments(label_map):
    """The label map as 3D Slicer writes one: other values, and the classes' names."""
    image = sitk.ReadImage(str(label_map))
    values = sitk.GetArrayFromImage(image)
    segments = sitk.GetImageFromArray(sum((values == value) * (10 + n) for n, value in enumerate(CLASSES.values())))
    segments.CopyInformation(image)
    for number, name in enumerate(CLASSES):
        for key, content in (("ID", f"S_{number}"), ("Name", name), ("Layer", 0), ("LabelValue", 10 + number)):
            segments.SetMetaData(f"Segment{number}_{key}", str(content))
    sitk.WriteImage(segments, str(label_map.with_name("support_mask.seg.nrrd")))
    return label_map.with_name("support_mask.seg.nrrd")


def test_labels_that_do_not_come_back_lower_the_trust(cohort, tmp_path):
    """A pseudo label agrees with what it was made of; that alone is no evidence."""
    atlases, dice = {"case_0": every_class(1.0)}, {"spleen": 0.75, "left_kidney": 0.34}
    write_propagation(cohort, WorkFolder(tmp_path).propagation, "case_1", atlases, [organs()], dice)
    classes = check(cohort, tmp_path, organs())["classes"]
    assert classes["spleen"]["predicted_dice"] > 0.95 and not classes["spleen"]["flagged"], "as good organs do"
    kidney = classes["left_kidney"]
    expected = kidney["agreed_dice"] * 0.34 / TrustRule().good_round_trip
    assert kidney["predicted_dice"] == pytest.approx(expected, abs=1e-3)
    assert kidney["agreed_dice"] > 0.95 and kidney["interval"][1] > 0.95
    assert kidney["reasons"] == ["labels sent to another case and back match little: mean round-trip Dice 0.34"]
    assert distrusted(tmp_path / "checks", "case_1", 0.6) == [], "it still teaches"


def test_an_atlas_is_a_reference_of_the_classes_it_votes_for(cohort, tmp_path):
    """Of the spleen the selected atlas bears the label out, of the kidney the support is alone."""
    atlases = {"case_0": {"spleen": 0.6, "left_kidney": 1.0}, "selected": {"spleen": 0.4}}
    dice = {"spleen": 0.9, "left_kidney": 0.35}
    write_propagation(cohort, WorkFolder(tmp_path).propagation, "case_1", atlases, mean_round_trip_dice=dice)
    classes = check(cohort, tmp_path, organs())["classes"]
    assert set(classes["spleen"]["agreement"]) == {"case_0", "selected"}
    assert classes["spleen"]["predicted_dice"] > 0.95
    assert set(classes["left_kidney"]["agreement"]) == {"case_0"}
    assert classes["left_kidney"]["predicted_dice"] <= 0.5 < 0.95 < classes["left_kidney"]["agreed_dice"]


def test_other_tissue_in_a_label_map_lowers_the_trust_in_that_class_alone_and_not_in_mr(cohort, tmp_path):
    hu, spleen = phantom(1), CLASSES["spleen"]
    right = np.where(hu == 120, spleen, np.where(hu == 190, CLASSES["left_kidney"], 0)).astype(np.uint8)
    swollen = np.where(binary_dilation(right == spleen) & (right == 0), spleen, right).astype(np.uint8)
    share = np.mean(hu[swollen == spleen] == 120) / 0.9
    assert 0.5 < share < 0.9
    before, after = (check(cohort, tmp_path, label)["classes"] for label in (right, swollen))
    assert before["spleen"]["predicted_dice"] == before["spleen"]["agreed_dice"]
    assert after["left_kidney"] == before["left_kidney"]
    expected = after["spleen"]["agreed_dice"] * 2 * share / (1 + share)
    assert after["spleen"]["predicted_dice"] == pytest.approx(expected, abs=1e-3)
    as_mr = check(replace(cohort, modality="mr"), tmp_path, swollen)["classes"]["spleen"]
    assert as_mr["predicted_dice"] == as_mr["agreed_dice"] == after["spleen"]["agreed_dice"]


def write_support_mask_record(file, border_confidence):
    write_json(file, PseudoLabelRecord("case_0", CLASSES, border_confidence=border_confidence).to_json())
    return file


def test_a_support_mask_without_a_clear_border_lowers_the_trust(cohort, tmp_path):
    """All agree, but limits made most of the kidney's border: what a network may learn from is judged without that."""
    confidence = {"spleen": 0.9, "left_kidney": 0.45}
    file = write_support_mask_record(tmp_path / "support_mask.json", confidence)
    without, classes = (check(cohort, tmp_path, **of)["classes"] for of in ({}, {"support_mask_record": file}))
    for name, of_mask in confidence.items():
        checked = classes[name]
        tissue = without[name]["predicted_dice"] / checked["agreed_dice"]
        expected = joined_dice(checked["agreed_dice"], of_mask) * tissue
        assert checked["predicted_dice"] == pytest.approx(expected, abs=1e-3)
        assert checked["agreed_dice"] > 0.95
        low, high = checked["interval"]
        assert low <= checked["predicted_dice"] < high, "the support mask may well be right"
    assert not classes["spleen"]["flagged"]
    assert classes["left_kidney"]["reasons"] == [
        "the support mask has no clear border (border confidence 0.45): look at that mask and correct it"
    ]
    assert distrusted(tmp_path / "checks", "case_1", 0.6) == []
    write_support_mask_record(file, {"spleen": 0.9})
    assert stage(cohort, tmp_path, support_mask_record=file).run() == list(OTHERS), "it depends on that record"
    assert not read_json(tmp_path / "checks" / "case_1.json")["classes"]["left_kidney"]["flagged"]


def test_a_support_mask_of_another_organ_flags_its_class_alone(cohort, tmp_path):
    """The spleen's mask lies on another organ, and all atlases and labels follow it."""
    other = np.roll(np.where(organs() == CLASSES["spleen"], CLASSES["spleen"], 0), 10, axis=1)
    wrong = np.where(organs() == CLASSES["left_kidney"], organs(), other).astype(np.uint8)
    write_nifti(tmp_path / "support_mask.nii.gz", wrong, LAS)
    atlases = {"case_0": every_class(0.6), "selected": every_class(0.4)}
    for case in OTHERS:
        write_propagation(cohort, WorkFolder(tmp_path).propagation, case, atlases, [wrong, wrong])
        write_nifti(WorkFolder(tmp_path).pseudo_labels.label(case), wrong, LAS)
        write_nifti(tmp_path / "results" / f"{case}.nii.gz", wrong, LAS)
    classes = check(cohort, tmp_path)["classes"]
    assert classes["spleen"]["flagged"] and classes["spleen"]["predicted_dice"] == 0.0
    assert any("leaves out strokes" in reason for reason in classes["spleen"]["reasons"])
    assert classes["left_kidney"]["predicted_dice"] > 0.95 and not classes["left_kidney"]["flagged"]


def test_an_accepted_label_map_is_the_truth(cohort, tmp_path):
    accepted = {"case_1": every_class(1.0)}
    write_propagation(
        cohort, WorkFolder(tmp_path).propagation, "case_1", accepted, [organs()], every_class(1.0), similarity=1.0
    )
    shifted, kidney = np.roll(organs(), 1, axis=1), CLASSES["left_kidney"]
    file = write_support_mask_record(tmp_path / "support_mask.json", {"left_kidney": 0.5})
    checked = check(cohort, tmp_path, shifted, support_mask_record=file)["classes"]["left_kidney"]
    dice = dice_of(shifted == kidney, organs() == kidney)
    assert checked["predicted_dice"] == pytest.approx(dice, abs=1e-3)
    assert checked["interval"] == [checked["predicted_dice"]] * 2


def test_a_case_that_was_not_propagated(cohort, tmp_path):
    WorkFolder(tmp_path).propagation.atlases("case_1").unlink()
    with pytest.raises(BundleError, match="was not propagated"):
        check(cohort, tmp_path)


@pytest.mark.parametrize("place", ["pseudo_labels", "results"])
def test_a_damaged_label_map_of_an_earlier_stage_is_told_with_what_makes_it_again(cohort, tmp_path, place):
    file = tmp_path / place / "case_2.nii.gz"
    damage(file, "cut")
    with pytest.raises(BundleError, match=r"a result of an earlier stage cannot be read") as error:
        check(cohort, tmp_path)
    assert str(file) in str(error.value) and str(error.value.expected).endswith("makes it again")


def test_a_record_without_label_fusion_is_refused(cohort, tmp_path):
    write_propagation(cohort, WorkFolder(tmp_path).propagation, "case_1", {"case_0": every_class(1.0)}, similarity=None)
    with pytest.raises(BundleError, match="says nothing of label fusion") as error:
        check(cohort, tmp_path)
    assert error.value.case == "case_1"


def test_a_cohort_without_a_support_is_refused(tmp_path):
    cohort = make_cohort(tmp_path, count=2)
    with pytest.raises(BundleError, match="needs a support"):
        stage(type(cohort)(**{**cohort.__dict__, "support": None}), tmp_path)
