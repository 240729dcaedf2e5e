"""Fusion with an untrained network on equal volumes: every voter must find the organs where they are."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json, write_nifti
from scripts.data.probability_maps import FULL_PROBABILITY, PROBABILITIES, read_probabilities
from scripts.label_propagation.first_round import FirstRound, FirstRoundSettings
from scripts.label_propagation.label_fusion import ATLAS_LABELS, ON_SUPPORT, FusionSettings, LabelFusion
from scripts.registration.embedding_matching import MatchingSettings
from tests.label_propagation.test_first_round import organs, write_embedding
from tests.prnet_fixtures import CLASSES, LAS, make_cohort, phantom

MATCHING = MatchingSettings(body_points=300)
ALL = dict.fromkeys(CLASSES, 1.0)


@pytest.fixture(scope="module")
def first_round(tmp_path_factory):
    """Three equal volumes, the first round done: (cohort, first round's folder, embedding folder)."""
    folder = tmp_path_factory.mktemp("label_fusion")
    for number in range(3):
        hu = phantom(0)
        hu[12, 12, 0] += number  # equal but for this, or a volume would count as present twice
        write_nifti(folder / "images" / f"case_{number}.nii.gz", hu, LAS)
    cohort, embedding, first = make_cohort(folder, write=False), write_embedding(folder / "embedding"), folder / "first"
    write_nifti(folder / "region.nii.gz", organs(), LAS)
    FirstRound(cohort, first, embedding, folder / "region.nii.gz", FirstRoundSettings(MATCHING)).run()
    spleen = np.where(organs() == CLASSES["spleen"], organs(), 0).astype(np.uint8)
    for number in range(3):
        write_nifti(first / "pseudo_labels" / f"case_{number}.nii.gz", spleen, LAS)
    return cohort, first, embedding


def fuse(place, output, **settings):
    cohort, first, embedding = place
    return LabelFusion(cohort, output, first, embedding, FusionSettings(MATCHING, **settings))


def test_helpers_vote_beside_the_support(first_round, tmp_path):
    stage = fuse(first_round, tmp_path, most_atlases=1, least_round_trip_dice=0.0)
    assert stage.run() == ["case_0", "case_1", "case_2"]
    (helper,) = stage.selected
    other = ({"case_1", "case_2"} - {helper}).pop()
    record = read_json(tmp_path / "propagation" / f"{other}.json")
    assert (record["rule"], record["least_point_probability"], record["cycle_mm"]) == ("probabilities", 0.9, None)
    assert set(record["atlases"]) == {"case_0", helper}
    assert all(sum(atlas[name] for atlas in record["atlases"].values()) == pytest.approx(1) for name in CLASSES)
    assert read_json(tmp_path / "propagation" / f"{helper}.json")["atlases"] == {"case_0": ALL}, "none votes for itself"
    probabilities, _ = read_probabilities(tmp_path / "propagation" / f"{other}{PROBABILITIES}")
    alone, affine = read_probabilities(first_round[1] / "propagation" / f"{other}{PROBABILITIES}")
    assert probabilities.sum(axis=0) == pytest.approx(1, abs=0.01)
    assert probabilities[2].sum() < 0.7 * alone[2].sum(), "the helper knows no kidney"
    atlases = np.asarray(nib.load(tmp_path / "propagation" / f"{other}{ATLAS_LABELS}").dataobj)
    cached = nib.load(first_round[0].cached_image(other))
    assert alone.shape[1:] == cached.shape and np.allclose(affine, cached.affine)
    support_says = alone.argmax(axis=0)
    assert list(record["atlases"]) == ["case_0", helper]
    assert np.array_equal(atlases[..., 0], np.array([0, *CLASSES.values()])[support_says])
    assert not (atlases[..., 1] == CLASSES["left_kidney"]).any()
    record = read_json(tmp_path / ON_SUPPORT / "propagation" / "case_0.json")
    assert record["atlases"] == {helper: ALL} and record["points"] == [], "the support's own strokes must not help"
    assert fuse(first_round, tmp_path, most_atlases=1, least_round_trip_dice=0.0).run() == []
    assert fuse(first_round, tmp_path, most_atlases=2, least_round_trip_dice=0.0).run() == [
        "case_0",
        "case_1",
        "case_2",
    ]


def test_without_a_good_case_the_support_decides(first_round, tmp_path):
    fuse(first_round, tmp_path, least_round_trip_dice=0.0).run()
    stage = fuse(first_round, tmp_path, least_round_trip_dice=1.1)
    stage.run()
    assert stage.selected == [] and not (tmp_path / ON_SUPPORT).exists()
    for number in range(3):
        probabilities, alone = (
            read_probabilities(folder / "propagation" / f"case_{number}{PROBABILITIES}")[0]
            for folder in (tmp_path, first_round[1])
        )
        np.testing.assert_allclose(probabilities, alone, atol=1.01 / FULL_PROBABILITY)


def test_a_helper_is_heard_about_what_returned_from_it(first_round, tmp_path):
    """No kidney returns: about it the support decides alone, and nobody makes one on the support."""
    cohort, first, embedding = first_round
    place = tmp_path / "first"
    shutil.copytree(first, place)
    for case in ("case_1", "case_2"):
        file = place / "propagation" / f"{case}.json"
        write_json(file, read_json(file) | {"round_trip_dice": {"spleen": 0.9, "left_kidney": 0.4}})
    stage = fuse((cohort, place, embedding), tmp_path, most_atlases=1)
    stage.run()
    (helper,) = stage.selected
    other = ({"case_1", "case_2"} - {helper}).pop()
    record = read_json(tmp_path / "propagation" / f"{other}.json")
    atlases = record["atlases"]
    assert set(atlases[helper]) == {"spleen"} and atlases["case_0"]["left_kidney"] == 1
    assert record["mean_round_trip_dice"] == pytest.approx({"spleen": 0.9, "left_kidney": 0.4}), (
        "from the case and the helper"
    )
    probabilities, _ = read_probabilities(tmp_path / "propagation" / f"{other}{PROBABILITIES}")
    alone, _ = read_probabilities(first / "propagation" / f"{other}{PROBABILITIES}")
    np.testing.assert_allclose(probabilities[2], alone[2] / np.maximum(probabilities[1:].sum(axis=0), 1), atol=0.01)
    assert not read_probabilities(tmp_path / ON_SUPPORT / "propagation" / f"case_0{PROBABILITIES}")[0][2].any()


def test_what_the_user_accepted_always_votes(first_round, tmp_path):
    cohort, first, embedding = first_round
    write_nifti(tmp_path / "accepted.nii.gz", organs(), LAS)
    accepted = {"case_2": tmp_path / "accepted.nii.gz"}

    def fusion(**settings):
        return LabelFusion(cohort, tmp_path, first, embedding, FusionSettings(MATCHING, **settings), accepted)

    stage = fusion(most_atlases=0, least_round_trip_dice=1.1)
    stage.run()
    assert stage.selected == ["case_2"]
    assert set(read_json(tmp_path / "propagation" / "case_1.json")["atlases"]) == {"case_0", "case_2"}
    record = read_json(tmp_path / "propagation" / "case_2.json")
    assert record["atlases"] == {"case_2": ALL} and record["mean_round_trip_dice"] == ALL
    own = np.asarray(nib.load(tmp_path / "propagation" / f"case_2{ATLAS_LABELS}").dataobj)[..., 0]
    assert set(np.unique(own)) == {0, *CLASSES.values()}, "nobody votes about it"
    assert fusion(most_atlases=0, least_round_trip_dice=1.1).run() == []
    write_nifti(tmp_path / "accepted.nii.gz", np.roll(organs(), 1, axis=0), LAS)
    assert fusion(most_atlases=0, least_round_trip_dice=1.1).run() == ["case_0", "case_1", "case_2"]
    assert fusion(most_atlases=2, least_round_trip_dice=0.0).selected == ["case_2", "case_1"]


def test_a_case_without_a_first_round(first_round, tmp_path):
    cohort, _, embedding = first_round
    with pytest.raises(BundleError, match="the first round lacks a case"):
        LabelFusion(cohort, tmp_path, tmp_path, embedding)
