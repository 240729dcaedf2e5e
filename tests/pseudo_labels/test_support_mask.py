import re
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from bundle.pipeline.configs import read_component
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_nifti
from scripts.common.overlap import dice_of
from scripts.common.work_folder import WorkFolder
from scripts.data.records import PseudoLabelRecord, parts_of
from scripts.data.scribbles import ScribblePoints
from scripts.data.volume_io import Volume
from scripts.pseudo_labels.kinds.stroke_kind import Kind, KindSettings
from scripts.pseudo_labels.support_mask import (
    SupportMaskStage,
    grow_support_mask,
    grown_as,
    hardly_grown,
    in_air,
    in_parts,
    parts_with_strokes,
)
from tests.prnet_fixtures import CLASSES, make_cohort, phantom
from tests.pseudo_labels.three_blocks import FROM_POINTS

SETTINGS = replace(FROM_POINTS, body_only=True)


@pytest.fixture
def cohort(tmp_path):
    return make_cohort(tmp_path)


def scribbles_at(affine, **voxels):
    """One voxel a class."""
    places = np.array(list(voxels.values()))
    world_mm = places @ affine[:3, :3].T + affine[:3, 3]
    return ScribblePoints(np.array([CLASSES.get(name, 0) for name in voxels]), places, world_mm)


def test_every_class_grows_from_its_own_strokes():
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    image = np.full((10, 8, 6), 0.2, dtype=np.float32)
    image[1:4, 1:7, 1:5], image[6:9, 1:7, 1:5] = 0.8, 0.7
    scribbles = scribbles_at(affine, spleen=(2, 3, 3), left_kidney=(7, 4, 2), background=(0, 0, 0))
    mask = grow_support_mask(Volume(image, affine), scribbles, image.shape, affine, CLASSES, FROM_POINTS)
    np.testing.assert_array_equal(mask.channels, np.where(image == 0.2, 0, np.where(image > 0.75, 1, 2)))
    assert mask.not_located == ()


def test_every_part_that_holds_a_stroke_stays_and_no_other():
    """A stomach that fills two places between slices that were drawn on is drawn in both."""
    channels = np.zeros((9, 3, 3), dtype=np.uint8)
    channels[0], channels[3], channels[5:7], channels[8] = 1, 1, 1, 2
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    places = np.array([[0, 1, 1], [6, 0, 2], [8, 2, 2], [3, 1, 1]])
    labels = np.array([CLASSES["spleen"], CLASSES["spleen"], CLASSES["left_kidney"], 0])
    kept = parts_with_strokes(channels, ScribblePoints(labels, places, places @ affine[:3, :3]), CLASSES)
    assert kept[:, 0, 0].tolist() == [1, 0, 0, 0, 0, 1, 1, 0, 2]


def test_strokes_are_where_a_record_would_say():
    """3.0006 mm is 3.001 mm: half way between voxels 2 mm apart, and rounded the voxel beyond."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[0, 3] = 0.0008
    image = np.full((4, 3, 3), 0.2, dtype=np.float32)
    image[2] = 0.9
    place_mm = np.array([[3.0006, 2.0, 2.0]])
    scribbles = ScribblePoints(np.array([CLASSES["spleen"]]), np.array([[1, 1, 1]]), place_mm)
    mask = grow_support_mask(Volume(image, affine), scribbles, image.shape, affine, CLASSES, FROM_POINTS)
    assert np.flatnonzero(mask.channels[:, 1, 1]).tolist() == [2]


def test_whole_organs_grow_from_their_strokes(cohort):
    stage = SupportMaskStage(cohort, cohort.output_dir, SETTINGS)
    assert stage.run() == ["case_0"]
    folder = WorkFolder(cohort.output_dir).support_mask
    label, hu = np.asarray(nib.load(folder.label("case_0")).dataobj), phantom(0)
    for value, organ_hu in zip(CLASSES.values(), (120, 190), strict=True):
        assert dice_of(label == value, hu == organ_hu) > 0.9
    assert sorted(path.name for path in folder.path.iterdir()) == ["case_0.json", "case_0.nii.gz"]


def test_it_grows_again_only_if_something_changed(cohort):
    def grown(settings=SETTINGS):
        return SupportMaskStage(cohort, cohort.output_dir, settings).run()

    assert grown() == ["case_0"]
    assert grown() == []
    WorkFolder(cohort.output_dir).support_mask.label("case_0").write_bytes(b"")
    assert grown() == ["case_0"]
    assert grown(replace(SETTINGS, lam=0.9)) == ["case_0"]
    strokes = nib.load(cohort.scribbles)
    drawn = np.asarray(strokes.dataobj).copy()
    drawn[9, 9, 8] = 0
    nib.save(nib.Nifti1Image(drawn, strokes.affine), cohort.scribbles)
    assert grown(replace(SETTINGS, lam=0.9)) == ["case_0"]


def test_the_shipped_settings_say_how_sure_each_border_is(cohort):
    settings = read_component(["support_mask.json"], "settings")
    SupportMaskStage(cohort, cohort.output_dir, settings).run()
    record = PseudoLabelRecord.read(WorkFolder(cohort.output_dir).support_mask.record("case_0"))
    assert set(record.border_confidence) == set(record.opened_share) == set(CLASSES)
    assert all(0 <= value <= 1 for value in (*record.border_confidence.values(), *record.opened_share.values()))
    assert record.settings["growth"]["leak_share"] == 0.15


def test_organs_that_were_painted_whole_on_some_slices_are_the_shapes_between(cohort, caplog):
    """Nothing asks for more strokes then, though each organ has less than twice their volume."""
    strokes, hu = nib.load(cohort.scribbles), phantom(0)
    drawn = np.asarray(strokes.dataobj).copy()
    drawn[np.isin(drawn, list(CLASSES.values()))] = 0
    for value, organ_hu in zip(CLASSES.values(), (120, 190), strict=True):
        slices = np.flatnonzero((hu == organ_hu).any(axis=(0, 1)))
        for z in {*slices[::3].tolist(), int(slices[-1])}:
            drawn[:, :, z][hu[:, :, z] == organ_hu] = value
    nib.save(nib.Nifti1Image(drawn, strokes.affine), cohort.scribbles)
    with caplog.at_level("INFO"):
        SupportMaskStage(cohort, cohort.output_dir, SETTINGS, kinds=KindSettings()).run()
    folder = WorkFolder(cohort.output_dir).support_mask
    label = np.asarray(nib.load(folder.label("case_0")).dataobj)
    for value, organ_hu in zip(CLASSES.values(), (120, 190), strict=True):
        assert dice_of(label == value, hu == organ_hu) > 0.95
    record = PseudoLabelRecord.read(folder.record("case_0"))
    assert set(record.kinds.values()) == {Kind.PAINTED.value}
    assert "warnings" not in read_json(folder.record("case_0")) and "--set support_mask.painted=false" in caplog.text


def test_a_cohort_without_scribbles_is_refused(cohort, tmp_path):
    with pytest.raises(BundleError, match="this stage needs a support with scribbles"):
        SupportMaskStage(replace(cohort, scribbles=None), tmp_path, SETTINGS)


@pytest.mark.parametrize(("spleen_ml", "said"), [(0.0, "empty"), (0.09, "0.09 ml"), (0.096, None)])
def test_a_class_that_grew_into_little_more_than_its_strokes(spleen_ml, said):
    """Voxels of 2 x 3 x 4 mm are 0.024 ml; of three points two lie in one of them."""
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    places_mm = np.array([[2.0, 3.0, 4.0], [2.4, 3.0, 4.0], [4.0, 3.0, 4.0], [8.0, 9.0, 8.0]])
    labels = np.array([CLASSES["spleen"]] * 3 + [CLASSES["left_kidney"]])
    scribbles = ScribblePoints(labels, np.zeros((4, 3), int), places_mm)
    volume_ml = {"spleen": spleen_ml, "left_kidney": 100.0}
    sentences = hardly_grown(volume_ml, scribbles, Volume(np.zeros((9, 9, 9)), affine), CLASSES)
    assert len(sentences) == (said is not None)
    if said is not None:
        assert sentences[0].startswith(f"spleen grew from 0.05 ml of strokes to {said}; draw in more")


def test_strokes_of_hundreds_of_ml_are_whole_organs():
    """Of 500 voxels of 1 ml."""
    voxels = np.argwhere(np.ones((10, 10, 5)))
    scribbles = ScribblePoints(np.full(500, CLASSES["spleen"]), voxels, voxels * 10.0)
    image = Volume(np.zeros((10, 10, 5)), np.diag([10.0, 10.0, 10.0, 1.0]))
    (sentence,) = hardly_grown({"spleen": 600.0, "left_kidney": 1.0}, scribbles, image, CLASSES)
    assert sentence.startswith("spleen grew from 500 ml of strokes to 600 ml;")
    assert "give them as --support-mask" in sentence


def test_what_hardly_grew_is_said_in_console_and_record(cohort, caplog):
    """With next to no truncation nothing is nearer to a class than to background."""
    folder = WorkFolder(cohort.output_dir).support_mask
    SupportMaskStage(cohort, cohort.output_dir, SETTINGS).run()
    assert "warnings" not in read_json(folder.record("case_0")) and caplog.text == ""
    SupportMaskStage(cohort, cohort.output_dir, replace(SETTINGS, truncation=1e-6)).run()
    (spleen, kidney) = read_json(folder.record("case_0"))["warnings"]
    assert spleen.startswith("spleen grew from") and kidney.startswith("left_kidney grew from")
    assert caplog.text.count("support mask: spleen grew from") == 1
    assert PseudoLabelRecord.read(folder.record("case_0")).case == "case_0"


def test_the_record_says_the_kind_of_each_class(cohort, caplog):
    """The phantom's organs are blobs; with kinds on they stay as they are."""
    caplog.set_level("INFO")
    folder = WorkFolder(cohort.output_dir).support_mask
    SupportMaskStage(cohort, cohort.output_dir, SETTINGS).run()
    before = np.asarray(nib.load(folder.label("case_0")).dataobj)
    assert read_json(folder.record("case_0"))["kinds"] == {}
    assert SupportMaskStage(cohort, cohort.output_dir, SETTINGS, kinds=KindSettings()).run() == ["case_0"]
    assert read_json(folder.record("case_0"))["kinds"] == dict.fromkeys(CLASSES, "blob")
    np.testing.assert_array_equal(np.asarray(nib.load(folder.label("case_0")).dataobj), before)
    assert re.search(r"support mask: spleen: [\d.]+ ml, grown as a blob, border confidence [\d.]+\n", caplog.text)


def test_of_a_mask_that_was_given_the_kinds_alone_are_told(cohort, tmp_path):
    work = WorkFolder(cohort.output_dir)
    stage = SupportMaskStage(cohort, cohort.output_dir, SETTINGS, kinds=KindSettings(), kinds_dir=work.support_kinds)
    assert stage.run() == ["case_0"] and stage.run() == []
    record = PseudoLabelRecord.read(work.support_kinds / "case_0.json")
    assert record.given and record.kinds == dict.fromkeys(CLASSES, "blob") and record.border_confidence == {}
    assert [file.name for file in work.support_kinds.iterdir()] == ["case_0.json"]
    assert not work.support_mask.path.exists()


def test_in_how_many_parts_a_mask_is_that_was_given_is_told(cohort, tmp_path):
    support = cohort.cases["case_0"]
    mask = np.zeros(support.shape, dtype=np.uint8)
    mask[2:5], mask[7:9], mask[12] = CLASSES["spleen"], CLASSES["spleen"], CLASSES["left_kidney"]
    file, kinds = tmp_path / "mask.nii.gz", WorkFolder(cohort.output_dir).support_kinds
    places = {"kinds": KindSettings(), "kinds_dir": kinds, "given": file}
    for size, parts in ((2, {"spleen": 2}), (0, {})):
        mask[7:9] = CLASSES["spleen"] if size else 0
        write_nifti(file, mask, support.affine)
        assert SupportMaskStage(cohort, cohort.output_dir, SETTINGS, **places).run() == ["case_0"]
        assert PseudoLabelRecord.read(kinds / "case_0.json").parts == parts_of(kinds / "case_0.json") == parts


def test_what_is_said_of_kinds():
    assert in_parts({"lungs": 2}) == "organs in several parts, in other cases too: lungs in 2."
    told = "aorta: 231 ml, grown as a tube, border confidence 0.82; strokes on its first and last slice help it most"
    assert grown_as("aorta", Kind.TUBE, 230.8, 0.823) == told
    assert grown_as("liver", Kind.BLOB, 1500.0, None) == "liver: 1500 ml, grown as a blob"
    assert in_air("larynx").startswith("larynx: its strokes lie mostly in air")
