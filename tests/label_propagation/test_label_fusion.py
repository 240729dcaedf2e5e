"""Fusion with an untrained network on equal volumes: every voter must find the organs where they are."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json, write_nifti
from scripts.data.probability_maps import FULL_VOTE, VOTES, read_votes
from scripts.label_propagation.first_round import Correspondence, CorrespondenceSettings
from scripts.label_propagation.label_fusion import ON_SUPPORT, VOTERS, FusionSettings, VoteFusion
from scripts.registration.embedding_matching import MatchingSettings
from tests.label_propagation.test_first_round import organs, write_embedding
from tests.prnet_fixtures import CLASSES, LAS, make_cohort, phantom

MATCHING = MatchingSettings(body_points=300)
ALL = dict.fromkeys(CLASSES, 1.0)


@pytest.fixture(scope="module")
def first_round(tmp_path_factory):
    """Three equal volumes, the first round done: (cohort, first round's folder, embedding folder)."""
    folder = tmp_path_factory.mktemp("fusion")
    for number in range(3):
        hu = phantom(0)
        hu[12, 12, 0] += number  # equal but for this, or a volume would count as present twice
        write_nifti(folder / "images" / f"case_{number}.nii.gz", hu, LAS)
    cohort, embedding, first = make_cohort(folder, write=False), write_embedding(folder / "embedding"), folder / "first"
    write_nifti(folder / "region.nii.gz", organs(), LAS)
    Correspondence(cohort, first, embedding, folder / "region.nii.gz", CorrespondenceSettings(MATCHING)).run()
    spleen = np.where(organs() == CLASSES["spleen"], organs(), 0).astype(np.uint8)
    for number in range(3):
        write_nifti(first / "pseudo_labels" / f"case_{number}.nii.gz", spleen, LAS)
    return cohort, first, embedding


def fuse(place, output, **settings):
    cohort, first, embedding = place
    return VoteFusion(cohort, output, first, embedding, FusionSettings(MATCHING, **settings))


def test_helpers_vote_beside_the_support(first_round, tmp_path):
    stage = fuse(first_round, tmp_path, helpers=1, least_dice=0.0)
    assert stage.run() == ["case_0", "case_1", "case_2"]
    (helper,) = stage.helpers
    other = ({"case_1", "case_2"} - {helper}).pop()
    record = read_json(tmp_path / "propagation" / f"{other}.json")
    assert (record["rule"], record["confident_vote"], record["cycle_mm"]) == ("votes", 0.9, None)
    assert set(record["voters"]) == {"case_0", helper}
    assert all(sum(voter[name] for voter in record["voters"].values()) == pytest.approx(1) for name in CLASSES)
    assert read_json(tmp_path / "propagation" / f"{helper}.json")["voters"] == {"case_0": ALL}, "none votes for itself"
    votes, _ = read_votes(tmp_path / "propagation" / f"{other}{VOTES}")
    alone, affine = read_votes(first_round[1] / "propagation" / f"{other}{VOTES}")
    assert votes.sum(axis=0) == pytest.approx(1, abs=0.01)
    assert votes[2].sum() < 0.7 * alone[2].sum(), "the helper knows no kidney"
    voters = np.asarray(nib.load(tmp_path / "propagation" / f"{other}{VOTERS}").dataobj)
    cached = nib.load(first_round[0].cached_image(other))
    assert alone.shape[1:] == cached.shape and np.allclose(affine, cached.affine)
    support_says = alone.argmax(axis=0)
    assert list(record["voters"]) == ["case_0", helper]
    assert np.array_equal(voters[..., 0], np.array([0, *CLASSES.values()])[support_says])
    assert not (voters[..., 1] == CLASSES["left_kidney"]).any()
    record = read_json(tmp_path / ON_SUPPORT / "propagation" / "case_0.json")
    assert record["voters"] == {helper: ALL} and record["points"] == [], "the support's own strokes must not help"
    assert fuse(first_round, tmp_path, helpers=1, least_dice=0.0).run() == []
    assert fuse(first_round, tmp_path, helpers=2, least_dice=0.0).run() == ["case_0", "case_1", "case_2"]


def test_without_a_good_case_the_support_decides(first_round, tmp_path):
    fuse(first_round, tmp_path, least_dice=0.0).run()
    stage = fuse(first_round, tmp_path, least_dice=1.1)
    stage.run()
    assert stage.helpers == [] and not (tmp_path / ON_SUPPORT).exists()
    for number in range(3):
        votes, alone = (
            read_votes(folder / "propagation" / f"case_{number}{VOTES}")[0] for folder in (tmp_path, first_round[1])
        )
        np.testing.assert_allclose(votes, alone, atol=1.01 / FULL_VOTE)


def test_a_helper_is_heard_about_what_returned_from_it(first_round, tmp_path):
    """No kidney returns: about it the support decides alone, and nobody makes one on the support."""
    cohort, first, embedding = first_round
    place = tmp_path / "first"
    shutil.copytree(first, place)
    for case in ("case_1", "case_2"):
        file = place / "propagation" / f"{case}.json"
        write_json(file, read_json(file) | {"returned_dice": {"spleen": 0.9, "left_kidney": 0.4}})
    stage = fuse((cohort, place, embedding), tmp_path, helpers=1)
    stage.run()
    (helper,) = stage.helpers
    other = ({"case_1", "case_2"} - {helper}).pop()
    record = read_json(tmp_path / "propagation" / f"{other}.json")
    voters = record["voters"]
    assert set(voters[helper]) == {"spleen"} and voters["case_0"]["left_kidney"] == 1
    assert record["came_back"] == pytest.approx({"spleen": 0.9, "left_kidney": 0.4}), "from the case and the helper"
    votes, _ = read_votes(tmp_path / "propagation" / f"{other}{VOTES}")
    alone, _ = read_votes(first / "propagation" / f"{other}{VOTES}")
    np.testing.assert_allclose(votes[2], alone[2] / np.maximum(votes[1:].sum(axis=0), 1), atol=0.01)
    assert not read_votes(tmp_path / ON_SUPPORT / "propagation" / f"case_0{VOTES}")[0][2].any()


def test_what_the_user_accepted_always_votes(first_round, tmp_path):
    cohort, first, embedding = first_round
    write_nifti(tmp_path / "accepted.nii.gz", organs(), LAS)
    accepted = {"case_2": tmp_path / "accepted.nii.gz"}

    def fusion(**settings):
        return VoteFusion(cohort, tmp_path, first, embedding, FusionSettings(MATCHING, **settings), accepted)

    stage = fusion(helpers=0, least_dice=1.1)
    stage.run()
    assert stage.helpers == ["case_2"]
    assert set(read_json(tmp_path / "propagation" / "case_1.json")["voters"]) == {"case_0", "case_2"}
    record = read_json(tmp_path / "propagation" / "case_2.json")
    assert record["voters"] == {"case_2": ALL} and record["came_back"] == ALL
    own = np.asarray(nib.load(tmp_path / "propagation" / f"case_2{VOTERS}").dataobj)[..., 0]
    assert set(np.unique(own)) == {0, *CLASSES.values()}, "nobody votes about it"
    assert fusion(helpers=0, least_dice=1.1).run() == []
    write_nifti(tmp_path / "accepted.nii.gz", np.roll(organs(), 1, axis=0), LAS)
    assert fusion(helpers=0, least_dice=1.1).run() == ["case_0", "case_1", "case_2"]
    assert fusion(helpers=2, least_dice=0.0).helpers == ["case_2", "case_1"]


def test_a_case_without_a_first_round(first_round, tmp_path):
    cohort, _, embedding = first_round
    with pytest.raises(BundleError, match="the first round lacks a case"):
        VoteFusion(cohort, tmp_path, tmp_path, embedding)
