from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from scripts.common.affines import to_world
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json, write_nifti
from scripts.common.work_folder import WorkFolder
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.records import PropagationRecord
from scripts.point_propagation.feature_search import FeatureSearchSettings
from scripts.point_propagation.propagator import PropagationSettings
from scripts.point_propagation.stage import PointPropagationStage
from scripts.points.denoising import denoising_rule
from tests.prnet_fixtures import (
    BACKGROUND_VALUE,
    CLASSES,
    LAS,
    SPACING_MM,
    make_cohort,
    phantom,
    strokes,
    write_images,
    write_prnets,
)

SETTINGS = PropagationSettings(start_points=3, batch_size=16, bfloat16=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A cohort propagated once: (cohort, prnet folder). Tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    cohort, prnet = make_cohort(folder), write_prnets(folder / "prnet")
    stage(cohort, prnet).run()
    return cohort, prnet


def stage(cohort, prnet, tau=None, settings=SETTINGS, **limits):
    return PointPropagationStage(cohort, cohort.output_dir, prnet, denoising_rule("dual", tau), settings, **limits)


def record_of(cohort, case):
    return PropagationRecord.read(WorkFolder(cohort.output_dir).propagation.record(case))


def scribbles_of(cohort, case):
    return nib.load(WorkFolder(cohort.output_dir).propagation.scribbles(case))


@pytest.fixture
def fresh(tmp_path):
    """A cohort of its own for a test that changes it."""
    return make_cohort(tmp_path, count=3), write_prnets(tmp_path / "prnet")


@pytest.mark.parametrize("case", ["case_0", "case_1"])
def test_record_is_the_contract_s(finished, case):
    record = record_of(finished[0], case)
    assert (record.case, record.support) == (case, "case_0")
    rule = {"name": "dual", "levels": ["m2", "m4"], "tau": 0.5, "tissue_tolerance": None, "point_cycle_mm": None}
    assert record.rule == rule
    assert record.spacing_mm == SPACING_MM and record.classes == CLASSES and record.atlases == {}
    points = record.points
    assert points.labels.tolist() == 3 * [1] + [3] + 10 * [0]
    assert list(points.similarities) == ["m1", "m2", "m3", "m4"] and list(points.evidence) == ["tissue_misfit"]
    assert set(points.reasons) <= {"", "similarity", "collision"}
    assert points.scores == pytest.approx(points.similarities["m2"] * points.similarities["m4"], abs=2e-4)
    assert ((points.reasons == "similarity") | (points.scores >= 0.5)).all()
    assert points.support_mm == pytest.approx(to_world(points.support_voxels, LAS), abs=1e-3)


def test_a_record_says_what_made_it_and_which_files(finished):
    content = read_json(WorkFolder(finished[0].output_dir).propagation.record("case_1"))
    assert list(content["files"]) == ["case_1_scribbles.nii.gz"]
    assert content["seconds"] >= 0 and len(content["inputs"]) == 64


def test_the_support_s_own_points_are_at_home(finished):
    cohort, _ = finished
    record = record_of(cohort, "case_0")
    assert np.array_equal(record.points.located_mm, record.points.support_mm)
    assert record.points.kept.all() and set(record.points.scores) == {1.0} and record.not_located == []
    assert all(set(values) == {1.0} for values in record.points.similarities.values())
    assert np.array_equal(np.asarray(scribbles_of(cohort, "case_0").dataobj), strokes())


@pytest.mark.parametrize("case", ["case_0", "case_1"])
def test_scribbles_lie_on_the_case_s_own_grid(finished, case):
    cohort, _ = finished
    image, drawn = nib.load(cohort.cases[case].image), scribbles_of(cohort, case)
    assert drawn.affine.tobytes() == image.affine.tobytes() and drawn.shape == image.shape
    assert drawn.get_data_dtype() == np.uint8
    array = np.asarray(drawn.dataobj)
    points = record_of(cohort, case).points
    kept = points.chosen(points.kept)
    assert set(np.unique(array)) - {0} == {label or BACKGROUND_VALUE for label in kept.labels.tolist()}
    voxels = np.rint((kept.located_mm - LAS[:3, 3]) @ np.linalg.inv(LAS[:3, :3]).T).astype(int)
    assert all(array[tuple(voxel)] > 0 for voxel in np.clip(voxels, 0, 23))


def test_a_search_finds_the_support_s_points_in_a_copy_of_it_whatever_the_networks_say(tmp_path):
    images = write_images(tmp_path / "images")
    copy = phantom(0)
    copy[0, 0, 0] = -999  # in the air; a cohort takes no file twice
    write_nifti(images / "case_1.nii.gz", copy, LAS)
    cohort, prnet = make_cohort(tmp_path, write=False), write_prnets(tmp_path / "prnet")
    search = FeatureSearchSettings(("m1", "m2", "m3"), 80.0, kernel_mm=8.0, search_prior_mm=1e4)
    stage(cohort, prnet, settings=replace(SETTINGS, search=search)).run()
    points = record_of(cohort, "case_1").points
    errors_mm = np.linalg.norm(points.located_mm - points.support_mm, axis=1)
    assert np.median(errors_mm) < 8 and errors_mm.max() < 20, "to a cell of the finest level, 8 x 8 x 10 mm"
    assert np.median(points.evidence["cycle_mm"]) < 8
    assert record_of(cohort, "case_0").points.evidence["cycle_mm"].max() == 0


def test_an_oblique_support_gets_its_own_scribbles_back(tmp_path, make_affine):
    cohort = make_cohort(tmp_path, affine=make_affine("LPS", SPACING_MM, oblique_deg=15))
    prnet = write_prnets(tmp_path / "prnet")
    stage(cohort, prnet).run()
    for case in cohort.cases:
        assert scribbles_of(cohort, case).affine.tobytes() == nib.load(cohort.cases[case].image).affine.tobytes()
    assert np.array_equal(np.asarray(scribbles_of(cohort, "case_0").dataobj), strokes())


def test_places_do_not_depend_on_how_a_volume_is_stored(tmp_path, finished):
    """The same body stored with its second axis reversed (LAS -> LPS) gets the same points in world millimetres."""
    images = write_images(tmp_path / "images")
    reversed_affine = LAS @ np.array([[1, 0, 0, 0], [0, -1, 0, 23], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    write_nifti(images / "case_1.nii.gz", phantom(1)[:, ::-1], reversed_affine)
    cohort = make_cohort(tmp_path, write=False)
    stage(cohort, finished[1]).run(["case_1"])
    ours, expected = (record_of(c, "case_1").points for c in (cohort, finished[0]))
    np.testing.assert_allclose(ours.located_mm, expected.located_mm, atol=0.01)
    drawn, before = scribbles_of(cohort, "case_1"), scribbles_of(finished[0], "case_1")
    assert nib.aff2axcodes(drawn.affine) == ("L", "P", "S")
    assert np.array_equal(np.asarray(drawn.dataobj)[:, ::-1], np.asarray(before.dataobj))


def test_class_limits(fresh):
    cohort, prnet = fresh
    stage(cohort, prnet, class_limit=2, background_limit=4).run(["case_1"])
    assert record_of(cohort, "case_1").points.labels.tolist() == [1, 1, 3, 0, 0, 0, 0]


def test_only_what_changed_is_done_again(fresh):
    cohort, prnet = fresh
    folder = cohort.output_dir / "propagation"
    assert stage(cohort, prnet).run() == ["case_0", "case_1", "case_2"]
    assert stage(cohort, prnet).run() == []
    (folder / "case_1.json").write_text("{half", encoding="utf-8")
    (folder / "case_2_scribbles.nii.gz").unlink()
    assert stage(cohort, prnet).run() == ["case_1", "case_2"]
    assert record_of(cohort, "case_1").case == "case_1"
    assert stage(cohort, prnet, tau=0.3).run(["case_1"]) == ["case_1"]
    assert record_of(cohort, "case_1").rule["tau"] == 0.3
    assert stage(cohort, prnet, settings=PropagationSettings(start_points=4)).run(["case_2"]) == ["case_2"]
    write_prnets(prnet, seed=5)
    assert stage(cohort, prnet).run() == ["case_0", "case_1", "case_2"], "other weights"


@pytest.mark.parametrize("change", [{"max_offset_mm": [90.0, 90.0, 90.0]}, {"body_only": True}])
def test_what_a_card_says_beside_the_weights_decides_too(fresh, change):
    cohort, prnet = fresh
    assert stage(cohort, prnet).run() == ["case_0", "case_1", "case_2"]
    before = record_of(cohort, "case_1").points.located_mm
    card = prnet / "coarse" / "model.json"
    write_json(card, read_json(card) | {"name": "renamed"})
    assert stage(cohort, prnet).run() == []
    write_json(card, read_json(card) | change)
    assert stage(cohort, prnet).run() == ["case_0", "case_1", "case_2"]
    assert not np.array_equal(record_of(cohort, "case_1").points.located_mm, before)


def test_nothing_is_loaded_where_nothing_is_to_do(fresh, monkeypatch):
    cohort, prnet = fresh
    stage(cohort, prnet).run(["case_1"])
    monkeypatch.setattr("scripts.point_propagation.stage.load_prnet", pytest.fail)
    assert stage(cohort, prnet).run(["case_1"]) == []


def test_tau_0_keeps_what_does_not_collide(fresh):
    cohort, prnet = fresh
    stage(cohort, prnet, tau=0).run(["case_1"])
    assert set(record_of(cohort, "case_1").points.reasons) <= {"", "collision"}


def test_a_threshold_nothing_passes_locates_nothing(fresh):
    cohort, prnet = fresh
    stage(cohort, prnet, tau=1.1).run(["case_1"])
    record = record_of(cohort, "case_1")
    assert record.not_located == list(CLASSES) and set(record.points.reasons) == {"similarity"}
    assert np.asarray(scribbles_of(cohort, "case_1").dataobj).sum() == 0


def test_unknown_case(finished):
    message = r"\[stage point_propagation\] unknown case\n  expected: case_0, case_1\n  found: x"
    with pytest.raises(BundleError, match=message):
        stage(*finished).run(["case_1", "x"])


def test_weights_of_another_spacing(finished, tmp_path):
    cohort, _ = finished
    with pytest.raises(BundleError, match="the PRNet weights were trained with another spacing_mm") as caught:
        stage(cohort, write_prnets(tmp_path / "prnet", spacing_mm=(3.0, 3.0, 3.0)))
    assert caught.value.expected == list(SPACING_MM) and caught.value.found == [3.0, 3.0, 3.0]


def test_no_weights(finished, tmp_path):
    with pytest.raises(BundleError, match="no PRNet weights here"):
        stage(finished[0], tmp_path)


def test_cohort_without_scribbles(finished, tmp_path):
    images = finished[0].cases["case_0"].image.parent
    with pytest.raises(BundleError, match="this stage needs a support with scribbles"):
        stage(prepare_cohort(images, tmp_path / "work", SPACING_MM), finished[1])


def by_atlases(cohort, prnet, first, **changes):
    arguments = {"most_atlases": 1, "atlas_share": 1.0, "first_dir": first, **changes}
    return stage(cohort, prnet, **arguments)


def test_a_second_round_reads_the_first_one_and_follows_its_changes(fresh):
    cohort, prnet = fresh
    first, names = WorkFolder(cohort.output_dir).first_round, ["case_0", "case_1", "case_2"]
    with pytest.raises(BundleError, match=r"case_1\.json"):
        by_atlases(cohort, prnet, first.path).run()
    assert stage(cohort, prnet, propagation_dir=first.path).run() == names
    assert by_atlases(cohort, prnet, first.path).run() == names
    assert by_atlases(cohort, prnet, first.path).run() == [], "up to date"
    assert (record_of(cohort, "case_0").points.reasons == "").all(), "the support's points are known"
    content = read_json(first.record("case_2"))
    content["points"]["scores"] = [score / 2 for score in content["points"]["scores"]]
    write_json(first.record("case_2"), content)
    assert by_atlases(cohort, prnet, first.path).run() == ["case_1"], "case_2 is case_1's only atlas"
    assert by_atlases(cohort, prnet, first.path, most_atlases=0).run() == names[1:]
    with pytest.raises(BundleError, match="located other strokes"):
        by_atlases(cohort, prnet, first.path, background_limit=3).run()
