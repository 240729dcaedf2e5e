"""Label fusion with an untrained network on equal volumes: every atlas must find the organs where they are."""

import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.common.case_stage import CASES as CASE_UNIT
from scripts.common.case_stage import listening
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json, write_nifti
from scripts.common.overlap import likely_classes
from scripts.common.work_folder import WorkFolder
from scripts.data.probability_maps import FULL_PROBABILITY, read_probabilities
from scripts.data.records import PropagationRecord
from scripts.label_propagation.first_round import FirstRoundStage
from scripts.label_propagation.fuse_case import FusionSettings
from scripts.label_propagation.label_fusion import LabelFusionStage
from scripts.label_propagation.propagate_case import FirstRoundSettings
from scripts.registration.body_embedder import BodyEmbedder
from scripts.registration.embedding_matching import MatchingSettings
from tests.embedding_fixtures import organs, write_embedding
from tests.prnet_fixtures import CLASSES, LAS, make_cohort, phantom

MATCHING = MatchingSettings(body_points=300)
ALL = dict.fromkeys(CLASSES, 1.0)
CASES = ["case_0", "case_1", "case_2"]


@pytest.fixture(scope="module")
def first_round(tmp_path_factory):
    """Three equal volumes, the first round done; its label maps know no kidney: (cohort, embedding folder, work)."""
    folder = tmp_path_factory.mktemp("label_fusion")
    for number, case in enumerate(CASES):
        hu = phantom(0)
        hu[12, 12, 0] += number  # equal but for this, or a volume would count as present twice
        write_nifti(folder / "images" / f"{case}.nii.gz", hu, LAS)
    cohort, embedding = make_cohort(folder, write=False), write_embedding(folder / "embedding")
    write_nifti(folder / "mask.nii.gz", organs(), LAS)
    work, settings = WorkFolder(folder / "first"), FirstRoundSettings(matching=MATCHING)
    FirstRoundStage(cohort, work.first_round.path, embedding, folder / "mask.nii.gz", settings).run()
    spleen = np.where(organs() == CLASSES["spleen"], organs(), 0).astype(np.uint8)
    for case in CASES:
        write_nifti(work.first_round_labels.label(case), spleen, LAS)
    return cohort, embedding, work


@pytest.fixture
def place(first_round, tmp_path):
    """The same with a work folder of its own."""
    cohort, embedding, work = first_round
    shutil.copytree(work.path, tmp_path / "work")
    return cohort, embedding, WorkFolder(tmp_path / "work")


def stage(place, accepted=None, **settings):
    cohort, embedding, work = place
    return LabelFusionStage(cohort, work.path, embedding, FusionSettings(matching=MATCHING, **settings), accepted)


def record_of(work, case):
    return PropagationRecord.read(work.propagation.record(case))


def test_selected_atlases_predict_beside_the_support(place):
    cohort, _, work = place
    fusion = stage(place, most_atlases=1, least_round_trip_dice=0.0)
    assert fusion.run() == CASES
    (atlas,) = fusion.selected
    (other,) = {"case_1", "case_2"} - {atlas}
    record = record_of(work, other)
    assert record.rule == {
        "name": "probabilities",
        "least_point_probability": 0.9,
        "point_reach_mm": 24.0,
        "tissue_tolerance": 0.08,
    }
    assert list(record.atlases) == ["case_0", atlas] and "moved_mm" in record.points.evidence
    assert all(sum(weights[name] for weights in record.atlases.values()) == pytest.approx(1) for name in CLASSES)
    assert record_of(work, atlas).atlases == {"case_0": ALL}, "no atlas predicts itself"
    fused, affine = read_probabilities(work.propagation.probabilities(other))
    alone, _ = read_probabilities(work.first_round.probabilities(other))
    assert fused.sum(axis=0) == pytest.approx(1, abs=0.01)
    assert fused[2].sum() < 0.7 * alone[2].sum(), "the selected atlas knows no kidney"
    cached = nib.load(cohort.cached_image(other))
    assert alone.shape[1:] == cached.shape and np.allclose(affine, cached.affine)
    labels = np.asarray(nib.load(work.propagation.atlases(other)).dataobj)
    likely = np.array([0, *CLASSES.values()])[likely_classes(alone)]
    assert np.mean(labels[..., 0] == likely) > 0.999, "files round the probabilities"
    assert not (labels[..., 1] == CLASSES["left_kidney"]).any()


def test_the_support_by_the_selected_atlases_alone(place):
    work = place[2]
    fusion = stage(place, most_atlases=1, least_round_trip_dice=0.0)
    fusion.run(["case_0"])
    record = PropagationRecord.read(work.on_support.record("case_0"))
    assert record.atlases == {fusion.selected[0]: ALL}
    assert len(record.points) == 0, "the support's own strokes must not help"
    assert list(record_of(work, "case_0").atlases) == ["case_0"] and record_of(work, "case_0").points.kept.all()


def test_the_support_by_others_is_made_with_the_support_and_counts_as_no_case(place):
    told, work = [], place[2]
    with listening(lambda *step: told.append(step)):
        stage(place, most_atlases=1, least_round_trip_dice=0.0).run()
    assert told == [(CASE_UNIT, done, 3) for done in (0, 1, 2, 3)]
    assert work.on_support.record("case_0").stat().st_mtime_ns < work.propagation.record("case_0").stat().st_mtime_ns


def test_only_what_changed_is_done_again(place):
    work = place[2]
    assert stage(place, most_atlases=1, least_round_trip_dice=0.0).run() == CASES
    tested = work.on_support.record("case_0").read_text(encoding="utf-8")
    assert stage(place, most_atlases=1, least_round_trip_dice=0.0).run() == []
    assert work.on_support.record("case_0").read_text(encoding="utf-8") == tested
    work.propagation.atlases("case_1").unlink()
    assert stage(place, most_atlases=1, least_round_trip_dice=0.0).run() == ["case_1"]
    work.on_support.probabilities("case_0").unlink()
    assert stage(place, most_atlases=1, least_round_trip_dice=0.0).run() == []
    assert work.on_support.probabilities("case_0").exists()
    assert stage(place, most_atlases=2, least_round_trip_dice=0.0).run() == CASES
    (atlas, _) = stage(place, most_atlases=2, least_round_trip_dice=0.0).selected
    write_nifti(work.first_round_labels.label(atlas), organs(), LAS)
    assert stage(place, most_atlases=2, least_round_trip_dice=0.0).run() == CASES, "an atlas has other labels"


def test_without_a_good_case_the_support_decides(place):
    work = place[2]
    stage(place, least_round_trip_dice=0.0).run(["case_0"])
    assert work.on_support.path.exists()
    fusion = stage(place, least_round_trip_dice=1.1)
    fusion.run()
    assert fusion.selected == [] and not work.on_support.path.exists()
    for case in CASES:
        fused, alone = (
            read_probabilities(folder.probabilities(case))[0] for folder in (work.propagation, work.first_round)
        )
        np.testing.assert_allclose(fused, alone, atol=1.01 / FULL_PROBABILITY)


def test_a_turned_body_is_no_atlas_however_good_its_round_trip(place):
    work = place[2]
    file = work.first_round.record("case_1")
    dice = dict.fromkeys(CLASSES, 1.0)
    write_json(file, read_json(file) | {"round_trip_dice": dice, "turned": "mirrored left to right"})
    fusion = stage(place, least_round_trip_dice=0.0)
    fusion.run()
    assert fusion.selected == ["case_2"]
    assert record_of(work, "case_1").turned == "mirrored left to right" and record_of(work, "case_2").turned is None
    assert set(record_of(work, "case_1").atlases) == {"case_0", "case_2"}, "it gets its label map nevertheless"


def test_an_atlas_is_one_of_the_classes_with_a_good_round_trip(place):
    """The kidney has none: about it the support decides alone, and nobody makes one on the support."""
    work = place[2]
    for case in ("case_1", "case_2"):
        file = work.first_round.record(case)
        write_json(file, read_json(file) | {"round_trip_dice": {"spleen": 0.9, "left_kidney": 0.4}})
    fusion = stage(place, most_atlases=1)
    fusion.run()
    (atlas,) = fusion.selected
    (other,) = {"case_1", "case_2"} - {atlas}
    record = record_of(work, other)
    assert set(record.atlases[atlas]) == {"spleen"} and record.atlases["case_0"]["left_kidney"] == 1
    assert record.mean_round_trip_dice == pytest.approx({"spleen": 0.9, "left_kidney": 0.4}), "of case and atlas"
    fused, _ = read_probabilities(work.propagation.probabilities(other))
    alone, _ = read_probabilities(work.first_round.probabilities(other))
    np.testing.assert_allclose(fused[2], alone[2] / np.maximum(fused[1:].sum(axis=0), 1), atol=0.01)
    assert not read_probabilities(work.on_support.probabilities("case_0"))[0][2].any()


def test_accepted_label_maps_are_always_atlases(place, tmp_path):
    work, file = place[2], tmp_path / "accepted.nii.gz"
    write_nifti(file, organs(), LAS)
    accepted = {"case_2": file}
    fusion = stage(place, accepted, most_atlases=0, least_round_trip_dice=1.1)
    fusion.run()
    assert fusion.selected == ["case_2"]
    assert set(record_of(work, "case_1").atlases) == {"case_0", "case_2"}
    record = record_of(work, "case_2")
    assert record.atlases == {"case_2": ALL} and record.mean_round_trip_dice == ALL
    own = np.asarray(nib.load(work.propagation.atlases("case_2")).dataobj)[..., 0]
    assert set(np.unique(own)) == {0, *CLASSES.values()}, "no other atlas predicts it"
    assert stage(place, accepted, most_atlases=0, least_round_trip_dice=1.1).run() == []
    write_nifti(file, np.roll(organs(), 1, axis=0), LAS)
    assert stage(place, accepted, most_atlases=0, least_round_trip_dice=1.1).run() == CASES
    assert stage(place, accepted, most_atlases=2, least_round_trip_dice=0.0).selected == ["case_2", "case_1"]


def test_the_replaced_image_of_an_accepted_case_makes_the_others_again(place, tmp_path):
    cohort, embedding, work = place
    case = replace(cohort.cases["case_2"], sha256="of another image")
    replaced = replace(cohort, cases={**cohort.cases, "case_2": case}), embedding, work
    file = tmp_path / "accepted.nii.gz"
    write_nifti(file, organs(), LAS)
    settings = {"most_atlases": 0, "least_round_trip_dice": 1.1}
    for accepted, is_atlas in (({"case_2": file}, True), ({}, False)):
        before, after = (stage(of, accepted, **settings).inputs("case_1") for of in (place, replaced))
        assert (before != after) == is_atlas, "its image is registered to all others"


def test_a_turned_body_with_an_accepted_label_map_helps_no_other(place, tmp_path):
    work, file = place[2], tmp_path / "accepted.nii.gz"
    write_nifti(file, organs(), LAS)
    record = work.first_round.record("case_2")
    write_json(record, read_json(record) | {"turned": "mirrored left to right"})
    accepted = {"case_2": file}
    fusion = stage(place, accepted, least_round_trip_dice=1.1)
    fusion.run()
    assert fusion.selected == [] and set(record_of(work, "case_1").atlases) == {"case_0"}
    assert record_of(work, "case_2").atlases == {"case_2": ALL}
    assert stage(place, accepted, least_round_trip_dice=1.1).run() == []
    write_nifti(file, np.roll(organs(), 1, axis=0), LAS)
    assert stage(place, accepted, least_round_trip_dice=1.1).run() == ["case_2"]


def test_an_atlas_whose_body_hardly_matches_says_nothing(place):
    cohort, embedding, work = place
    strict = FusionSettings(matching=MatchingSettings(body_points=300, match_cycle_mm=-1.0), least_round_trip_dice=0.0)
    fusion = LabelFusionStage(cohort, work.path, embedding, strict)
    assert fusion.run() == CASES
    record = record_of(work, "case_1")
    assert record.atlases == {"case_0": ALL, "case_2": {}}, "an atlas of no class"
    fused, _ = read_probabilities(work.propagation.probabilities("case_1"))
    alone, _ = read_probabilities(work.first_round.probabilities("case_1"))
    assert np.abs(fused - alone).max() < 1.01 / FULL_PROBABILITY, "as by the support alone"
    assert not PropagationRecord.read(work.on_support.record("case_0")).mean_round_trip_dice["spleen"]


@pytest.mark.parametrize("missing", ["case_1.json", "case_1_probabilities.nii.gz"])
def test_a_case_without_a_first_round(place, missing):
    (place[2].first_round.path / missing).unlink()
    with pytest.raises(BundleError, match="the first round lacks a case") as caught:
        stage(place)
    assert caught.value.case == "case_1" and Path(caught.value.file).name == missing


def test_an_atlas_without_a_label_map(place):
    for case in CASES:
        place[2].first_round_labels.label(case).unlink()
    with pytest.raises(BundleError, match="an atlas lacks its label map"):
        stage(place, least_round_trip_dice=0.0)


def test_atlases_are_embedded_once_for_all_processes_and_nothing_of_them_stays(place, monkeypatch):
    work = place[2]
    fusion = stage(place, least_round_trip_dice=0.0)
    assert fusion.surveyed() == fusion.selected != []
    embedded = []
    embed = BodyEmbedder.__call__
    monkeypatch.setattr(
        BodyEmbedder, "__call__", lambda self, volume: embedded.append(volume.image.sum()) or embed(self, volume)
    )
    for case in fusion.surveyed():
        fusion.survey(case)
    assert len(embedded) == len(fusion.selected)
    assert stage(place, least_round_trip_dice=0.0).run() == CASES
    assert len(embedded) == len(CASES), "an atlas is a query as well"
    assert not work.embedded.path.exists()
