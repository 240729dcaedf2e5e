import json
import logging

import nibabel as nib
import numpy as np
import pytest

from scripts.common.affines import to_world
from scripts.common.errors import BundleError
from scripts.common.files import write_nifti
from scripts.data.prepare_cohort import prepare_cohort
from scripts.point_propagation import point_propagation as scribble_propagation
from scripts.point_propagation.point_propagation import ScribblePropagation
from scripts.point_propagation.propagator import PropagationSettings
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
POINT_KEYS = [
    *("class", "label", "support_voxel", "support_mm", "located_mm", "working_voxel"),
    *("similarity", "score", "tissue_misfit", "kept", "reason"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A cohort propagated once: (cohort, prnet folder). Tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    cohort, prnet = make_cohort(folder), write_prnets(folder / "prnet")
    stage(cohort, prnet).run()
    return cohort, prnet


def stage(cohort, prnet, tau=None, settings=SETTINGS, **limits):
    return ScribblePropagation(cohort, cohort.output_dir, prnet, denoising_rule("dual", tau), settings, **limits)


def record_of(cohort, case):
    return json.loads((cohort.output_dir / "propagation" / f"{case}.json").read_text(encoding="utf-8"))


def scribbles_of(cohort, case):
    return nib.load(cohort.output_dir / "propagation" / f"{case}_scribbles.nii.gz")


@pytest.fixture
def fresh(tmp_path):
    """A cohort of its own for a test that changes it."""
    return make_cohort(tmp_path, count=3), write_prnets(tmp_path / "prnet")


@pytest.mark.parametrize("case", ["case_0", "case_1"])
def test_record_is_the_contract_s(finished, case):
    record = record_of(finished[0], case)
    assert record["case"] == case and record["support"] == "case_0"
    assert (record["rule"], record["levels"], record["tau"]) == ("dual", ["m2", "m4"], 0.5)
    assert record["spacing_mm"] == list(SPACING_MM) and record["classes"] == CLASSES and record["seconds"] >= 0
    assert [point["class"] for point in record["points"]] == 3 * ["spleen"] + ["left_kidney"] + 10 * ["background"]
    assert [point["label"] for point in record["points"]] == 3 * [1] + [3] + 10 * [0]
    for point in record["points"]:
        assert list(point) == POINT_KEYS
        assert list(point["similarity"]) == ["m1", "m2", "m3", "m4"]
        assert point["reason"] in ("", "similarity", "collision") and point["kept"] == (point["reason"] == "")
        product = point["similarity"]["m2"] * point["similarity"]["m4"]
        assert point["score"] == pytest.approx(product, abs=2e-4)
        assert point["reason"] == "similarity" or point["score"] >= 0.5
        expected_mm = to_world(np.array([point["support_voxel"]]), LAS)[0]
        assert point["support_mm"] == pytest.approx(expected_mm.tolist(), abs=1e-3)
    kept = {point["class"] for point in record["points"] if point["kept"]}
    assert record["not_located"] == [name for name in CLASSES if name not in kept]


def test_the_support_s_own_points_are_at_home(finished):
    cohort, _ = finished
    record = record_of(cohort, "case_0")
    assert all(point["located_mm"] == point["support_mm"] for point in record["points"])
    assert all(point["kept"] and point["score"] == 1 for point in record["points"]) and record["not_located"] == []
    assert all(set(point["similarity"].values()) == {1.0} for point in record["points"])
    assert np.array_equal(np.asarray(scribbles_of(cohort, "case_0").dataobj), strokes())


@pytest.mark.parametrize("case", ["case_0", "case_1"])
def test_scribbles_lie_on_the_case_s_own_grid(finished, case):
    cohort, _ = finished
    image, drawn = nib.load(cohort.cases[case].image), scribbles_of(cohort, case)
    assert drawn.affine.tobytes() == image.affine.tobytes() and drawn.shape == image.shape
    assert drawn.get_data_dtype() == np.uint8
    array = np.asarray(drawn.dataobj)
    kept = [point for point in record_of(cohort, case)["points"] if point["kept"]]
    values = {point["label"] or BACKGROUND_VALUE for point in kept}
    assert set(np.unique(array)) - {0} == values
    world_mm = np.array([point["located_mm"] for point in kept])
    voxels = np.rint((world_mm - LAS[:3, 3]) @ np.linalg.inv(LAS[:3, :3]).T).astype(int)
    assert all(array[tuple(voxel)] > 0 for voxel in np.clip(voxels, 0, 23))


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
    ours, expected = (record_of(c, "case_1")["points"] for c in (cohort, finished[0]))
    np.testing.assert_allclose([p["located_mm"] for p in ours], [p["located_mm"] for p in expected], atol=0.01)
    drawn, before = scribbles_of(cohort, "case_1"), scribbles_of(finished[0], "case_1")
    assert nib.aff2axcodes(drawn.affine) == ("L", "P", "S")
    assert np.array_equal(np.asarray(drawn.dataobj)[:, ::-1], np.asarray(before.dataobj))


def test_class_limits(fresh):
    cohort, prnet = fresh
    stage(cohort, prnet, class_limit=2, background_limit=4).run(["case_1"])
    labels = [point["label"] for point in record_of(cohort, "case_1")["points"]]
    assert labels == [1, 1, 3, 0, 0, 0, 0]


def test_only_what_changed_is_done_again(fresh, monkeypatch, caplog):
    cohort, prnet = fresh
    monkeypatch.setattr(logging.getLogger("scripts.common.files"), "disabled", False)
    folder = cohort.output_dir / "propagation"
    assert stage(cohort, prnet).run() == ["case_0", "case_1", "case_2"]
    assert stage(cohort, prnet).run() == []
    for damage in ("{half", "[]", "{}"):
        (folder / "case_1.json").write_text(damage)
        assert stage(cohort, prnet).run() == ["case_1"]
    assert any("case_1.json is damaged" in message for message in caplog.messages)
    assert record_of(cohort, "case_1")["case"] == "case_1"
    (folder / "case_2_scribbles.nii.gz").unlink()
    assert stage(cohort, prnet).run() == ["case_2"]
    assert stage(cohort, prnet, tau=0.3).run(["case_1"]) == ["case_1"]
    assert record_of(cohort, "case_1")["tau"] == 0.3
    assert stage(cohort, prnet, settings=PropagationSettings(start_points=4)).run(["case_2"]) == ["case_2"]
    write_prnets(prnet, seed=5)
    assert stage(cohort, prnet).run() == ["case_0", "case_1", "case_2"], "other weights"


def test_tau_0_keeps_what_does_not_collide(fresh):
    cohort, prnet = fresh
    stage(cohort, prnet, tau=0).run(["case_1"])
    reasons = {point["reason"] for point in record_of(cohort, "case_1")["points"]}
    assert reasons <= {"", "collision"}


def test_a_threshold_nothing_passes_locates_nothing(fresh):
    cohort, prnet = fresh
    stage(cohort, prnet, tau=1.1).run(["case_1"])
    record = record_of(cohort, "case_1")
    assert record["not_located"] == list(CLASSES)
    assert {point["reason"] for point in record["points"]} == {"similarity"}
    assert np.asarray(scribbles_of(cohort, "case_1").dataobj).sum() == 0


def test_processes_share_the_cohort(fresh, monkeypatch):
    cohort, prnet = fresh
    for rank, expected in ((0, ["case_0", "case_2"]), (1, ["case_1"]), (2, []), (3, [])):
        monkeypatch.setattr(scribble_propagation, "rank_and_world", lambda rank=rank: (rank, 2 if rank < 2 else 4))
        assert stage(cohort, prnet).run() == expected
    assert len(list((cohort.output_dir / "propagation").glob("*.json"))) == 3


def test_unknown_case(finished):
    message = r"\[stage propagation\] unknown case\n  expected: case_0, case_1\n  found: x"
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
    with pytest.raises(BundleError, match="propagation needs a support with scribbles"):
        stage(prepare_cohort(images, tmp_path / "work", SPACING_MM), finished[1])
