"""The self-check with an untrained network on equal volumes: what is wrong in the result must show."""

import numpy as np
import pytest

from scripts.files import read_json, write_nifti
from scripts.label_transfer import TransferSettings
from scripts.matching import MatchingSettings
from scripts.self_check import SelfCheck, SelfCheckSettings, TrustRule, predicted_dice
from tests.prnet_fixtures import CLASSES, LAS, make_cohort, phantom
from tests.test_correspondence import organs, write_embedding

# An untrained network hardly tells neighbours apart, so cells ask hardly beyond where the map points.
PARTS = {"matching": MatchingSettings(body_points=300), "transfer": TransferSettings(prior_mm=4.0, temperature=0.02)}
SETTINGS = SelfCheckSettings(**PARTS, rule=TrustRule(least_dice=0.5, least_similarity=0.4))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(cohort of two equal volumes, embedding folder, region file)."""
    folder = tmp_path_factory.mktemp("self_check")
    twin = phantom(0)
    twin[12, 12, 0] += 1
    write_nifti(folder / "images" / "case_0.nii.gz", phantom(0), LAS)
    write_nifti(folder / "images" / "case_1.nii.gz", twin, LAS)
    region = folder / "region.nii.gz"
    write_nifti(region, organs(), LAS)
    return make_cohort(folder, write=False), write_embedding(folder / "embedding"), region


def check(place, folder, result, settings=SETTINGS):
    cohort, embedding, region = place
    write_nifti(folder / "results" / "case_1.nii.gz", result, LAS)
    stage = SelfCheck(cohort, folder, embedding, region, folder / "results", settings)
    assert stage.run() == ["case_1"]
    assert stage.run() == []
    return read_json(folder / "self_check" / "case_1.json")


def test_a_right_result_is_trusted(place, tmp_path):
    record = check(place, tmp_path, organs())
    assert record["similarity"] > 0.9 and not record["flagged"]
    for found in record["classes"].values():
        assert found["predicted_dice"] > 0.6 and not found["flagged"] and found["reasons"] == []


def test_a_missing_organ_is_flagged(place, tmp_path):
    result = np.where(organs() == CLASSES["spleen"], 0, organs())
    classes = check(place, tmp_path, result)["classes"]
    assert classes["spleen"] == {
        "predicted_dice": 0.0,
        "reverse_dice": 0.0,
        "transfer_dice": 0.0,
        "flagged": True,
        "reasons": ["not found"],
    }
    assert not classes["left_kidney"]["flagged"]


def test_an_organ_elsewhere_is_flagged(place, tmp_path):
    result = np.where(organs() == CLASSES["spleen"], 0, organs())
    free = np.argwhere((result == 0) & (phantom(0) > -200))[0]
    result[tuple(slice(start, start + 3) for start in free)] = CLASSES["spleen"]
    found = check(place, tmp_path, result)["classes"]["spleen"]
    assert found["flagged"] and found["predicted_dice"] < 0.3
    assert any("the support's" in reason for reason in found["reasons"])


def test_an_unlike_body_flags_everything(place, tmp_path):
    strict = SelfCheckSettings(**PARTS, rule=TrustRule(0.5, least_similarity=1.1))
    record = check(place, tmp_path, organs(), strict)
    assert record["flagged"] and "unlike the support's" in record["reasons"][0]
    assert all(found["flagged"] for found in record["classes"].values())


def test_a_changed_result_is_checked_again(place, tmp_path):
    cohort, embedding, region = place
    check(place, tmp_path, organs())
    write_nifti(tmp_path / "results" / "case_1.nii.gz", np.zeros_like(organs()), LAS)
    stage = SelfCheck(cohort, tmp_path, embedding, region, tmp_path / "results", SETTINGS)
    assert stage.run() == ["case_1"]
    (tmp_path / "self_check" / "case_1.json").write_text("{")
    assert stage.run() == ["case_1"]


def test_predicted_dice_is_the_geometric_mean():
    assert predicted_dice(0.9, 0.4) == pytest.approx(0.6)
