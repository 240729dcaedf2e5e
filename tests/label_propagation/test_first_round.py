"""The stage with an untrained network: of two equal volumes every cell must still find itself."""

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json, write_nifti
from scripts.common.work_folder import PropagationFolder
from scripts.data.records import PropagationRecord
from scripts.label_propagation.first_round import FirstRoundStage
from scripts.label_propagation.propagate_case import FirstRoundSettings, KeepingRule
from scripts.registration.embedding_matching import MatchingSettings
from scripts.registration.orientation import ORIENTATIONS
from tests.embedding_fixtures import organs, write_embedding
from tests.prnet_fixtures import BACKGROUND_VALUE, CLASSES, LAS, SPACING_MM, make_cohort, phantom

SETTINGS = FirstRoundSettings(matching=MatchingSettings(body_points=300), keeping=KeepingRule(point_cycle_mm=16.0))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A support and its equal, matched once: (cohort, propagation folder, embedding folder, support mask)."""
    folder = tmp_path_factory.mktemp("first_round")
    twin = phantom(0)
    twin[12, 12, 0] += 1  # equal but for this, or the support would count as present twice
    write_nifti(folder / "images" / "case_0.nii.gz", phantom(0), LAS)
    write_nifti(folder / "images" / "case_1.nii.gz", twin, LAS)
    cohort = make_cohort(folder, write=False)
    embedding = write_embedding(folder / "embedding")
    mask = folder / "mask.nii.gz"
    write_nifti(mask, organs(), LAS)
    propagation = PropagationFolder(folder / "propagation")
    assert stage(cohort, propagation, embedding, mask).run() == ["case_0", "case_1"]
    return cohort, propagation, embedding, mask


def stage(cohort, propagation, embedding, support_mask=None, settings=SETTINGS):
    return FirstRoundStage(cohort, propagation.path, embedding, support_mask, settings)


def test_an_equal_volume_gets_the_points_where_they_are(finished):
    record = PropagationRecord.read(finished[1].record("case_1"))
    assert record.rule == {"name": "first_round", "point_cycle_mm": 16.0, "tissue_tolerance": 0.08}
    assert (record.case, record.support, record.not_located) == ("case_1", "case_0", [])
    assert record.spacing_mm == SPACING_MM and record.classes == CLASSES and record.similarity > 0.9
    near_mm = 1.5 * 2 * np.array(SPACING_MM)  # cells and a half: an untrained network hardly tells neighbours apart
    assert np.all(np.abs(record.points.located_mm - record.points.support_mm) <= near_mm) and record.points.kept.all()
    assert set(record.points.evidence) == {"cycle_mm", "affine_mm", "margin", "tissue_misfit"}


@pytest.mark.parametrize(
    ("reversed_axes", "words"),
    [((), None), ((0, 1), "turned by 180 degrees about the feet-head axis"), ((2,), "mirrored feet to head")],
)
def test_a_wrong_orientation_in_the_header_is_noticed(finished, tmp_path, reversed_axes, words):
    """The twin's voxels, in a file that says they run the other way."""
    affine = LAS.copy()
    affine[:3, list(reversed_axes)] *= -1
    twin = phantom(0)
    twin[12, 12, 0] += 1
    write_nifti(tmp_path / "images" / "case_0.nii.gz", phantom(0), LAS)
    write_nifti(tmp_path / "images" / "case_1.nii.gz", twin, affine)
    propagation = PropagationFolder(tmp_path / "propagation")
    stage(make_cohort(tmp_path, write=False), propagation, finished[2]).run()
    assert PropagationRecord.read(propagation.record("case_1")).turned == words
    assert PropagationRecord.read(propagation.record("case_0")).turned is None


def test_the_support_s_own_points_are_at_home(finished):
    record = PropagationRecord.read(finished[1].record("case_0"))
    assert record.points.located_mm.tolist() == record.points.support_mm.tolist() and record.points.kept.all()
    assert record.round_trip_dice == dict.fromkeys(CLASSES, 1.0)


def test_kept_points_are_drawn_on_the_case_s_own_grid(finished):
    drawn = nib.load(finished[1].scribbles("case_0"))
    assert np.array_equal(drawn.affine, LAS)
    values, counts = np.unique(np.asarray(drawn.dataobj), return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {0: 24**3 - 14, 1: 3, 3: 1, BACKGROUND_VALUE: 10}


@pytest.mark.parametrize(("case", "least"), [("case_0", 0.999), ("case_1", 0.6)])
def test_class_probabilities_lie_over_the_organs(finished, case, least):
    probabilities = nib.load(finished[1].probabilities(case))
    shares = np.asarray(probabilities.dataobj) / 255
    assert shares.shape[3] == 1 + len(CLASSES) and shares.sum(axis=3) == pytest.approx(1, abs=0.01)
    label = organs()
    for channel, value in enumerate(CLASSES.values(), start=1):
        voxel = np.argwhere(label == value).mean(axis=0)
        centre_mm = LAS[:3, :3] @ voxel + LAS[:3, 3]
        heaviest = np.average(np.indices(shares.shape[:3]).reshape(3, -1), axis=1, weights=shares[..., channel].ravel())
        assert probabilities.affine[:3, :3] @ heaviest + probabilities.affine[:3, 3] == pytest.approx(centre_mm, abs=8)
    voxels = (label > 0).sum()
    assert least * voxels <= shares[..., 1:].sum() <= voxels / least


def test_only_what_changed_is_done_again(finished):
    cohort, propagation, embedding, mask = finished
    assert stage(*finished).run() == []
    propagation.probabilities("case_1").unlink()
    assert stage(*finished).run() == ["case_1"]
    other = FirstRoundSettings(matching=MatchingSettings(body_points=299), keeping=SETTINGS.keeping)
    assert stage(cohort, propagation, embedding, mask, other).run(["case_1"]) == ["case_1"]
    assert stage(*finished).run(["case_1"]) == ["case_1"], "as it was"


def test_a_corrected_window_on_the_network_s_card_makes_all_again(finished, tmp_path):
    cohort, propagation, _, mask = finished
    before = stage(*finished).inputs("case_1")
    write_embedding(tmp_path)
    assert stage(cohort, propagation, tmp_path, mask).inputs("case_1") == before
    card = read_json(tmp_path / "model.json")
    write_json(tmp_path / "model.json", card | {"window_size": [48, 48, 48]})
    assert stage(cohort, propagation, tmp_path, mask).inputs("case_1") != before


def test_without_a_support_mask_points_alone_are_written(finished, tmp_path):
    cohort, _, embedding, _ = finished
    propagation = PropagationFolder(tmp_path)
    stage(cohort, propagation, embedding).run(["case_1"])
    assert not propagation.probabilities("case_1").exists() and propagation.scribbles("case_1").exists()
    assert list(read_json(propagation.record("case_1"))["files"]) == ["case_1_scribbles.nii.gz"]


def test_bodies_that_hardly_match_stop_no_run(finished, tmp_path, caplog):
    cohort, _, embedding, mask = finished
    strict = FirstRoundSettings(matching=MatchingSettings(body_points=300, match_cycle_mm=-1.0))
    propagation = PropagationFolder(tmp_path)
    assert stage(cohort, propagation, embedding, mask, strict).run() == ["case_0", "case_1"]
    record = PropagationRecord.read(propagation.record("case_1"))
    assert (record.similarity, record.not_located) == (0.0, list(CLASSES))
    assert record.round_trip_dice == dict.fromkeys(CLASSES, 0.0)
    assert caplog.text.count("case_1: its body has nothing in common with the support's") == 1


def test_what_is_plainly_wrong_is_refused_at_once(finished, tmp_path):
    cohort, propagation, embedding, _ = finished
    with pytest.raises(BundleError, match="the support mask is missing"):
        stage(cohort, propagation, embedding, tmp_path / "none.nii.gz")
    with pytest.raises(BundleError, match="no embedding weights here"):
        stage(cohort, propagation, tmp_path)
    with pytest.raises(BundleError, match="trained with another spacing"):
        stage(cohort, propagation, write_embedding(tmp_path, spacing_mm=(3.0, 3.0, 3.0)))


def test_the_support_is_turned_once_for_all_processes_and_nothing_of_it_stays(finished, tmp_path, monkeypatch):
    cohort, _, embedding, mask = finished
    first, second = (stage(cohort, PropagationFolder(tmp_path / str(n)), embedding, mask) for n in range(2))
    assert first.surveyed() == list(ORIENTATIONS)
    for words in first.surveyed():
        first.survey(words)
    assert len(list((first.embedded.path / "orientations").glob("*.pt"))) == len(ORIENTATIONS)
    monkeypatch.setattr("scripts.label_propagation.first_round.landmarks_turned", None)
    assert second.run() == ["case_0", "case_1"]
    assert not first.embedded.path.exists()
    for words in first.surveyed():
        first.survey(words)
    assert not first.embedded.path.exists(), "it knows them"
