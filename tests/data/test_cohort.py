"""The cohort: checks before long work, a cache that is redone only where needed, classes and assumptions."""

import json
import logging
import os
import pathlib
import shutil
from collections import namedtuple
from itertools import product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import scripts.data.gate.output_space
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file
from scripts.data.cohort import Cohort, load_cohort
from scripts.data.intensity import normalise_hu
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.stroke_classes import dataset_labels, parse_classes
from scripts.data.volume_cache import VolumeCache
from tests.damage import KINDS, damage

SHAPE = (12, 10, 8)
AFFINE = np.array([[-4.0, 0, 0, 40], [0, 4, 0, -30], [0, 0, 5, 7], [0, 0, 0, 1]])  # LAS
SPACING_MM = (4.0, 4.0, 5.0)


def scan(seed):
    hu = np.full(SHAPE, -1000, np.int16)
    hu[2:10, 2:8] = np.random.default_rng(seed).integers(-50, 150, (8, 6, 8))
    return hu


def save(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def strokes(values=(1, 3, 6, 14)):
    array = np.zeros(SHAPE, np.uint8)
    for row, value in enumerate(values):
        array[3, 2 + row, 1:4] = value
    return array


@pytest.fixture
def folder(tmp_path):
    """`images/` with a, b, c, d, and `scribbles.nii.gz` for a."""
    (tmp_path / "images").mkdir()
    for seed, name in enumerate("abcd"):
        save(tmp_path / "images" / f"{name}.nii.gz", scan(seed))
    save(tmp_path / "scribbles.nii.gz", strokes())
    return tmp_path


def prepare(folder, **changes) -> Cohort:
    arguments = {
        "images": folder / "images",
        "output_dir": folder / "out",
        "spacing_mm": SPACING_MM,
        "support": folder / "images" / "a.nii.gz",
        "scribbles": folder / "scribbles.nii.gz",
        "classes": {"spleen": 1, "left_kidney": 3, "liver": 6},
        "background": 14,
    }
    return prepare_cohort(**(arguments | changes))


def failure(folder, **changes):
    """The error's text; nothing but the support may have been cached by then."""
    with pytest.raises(BundleError) as caught:
        prepare(folder, **changes)
    assert not [p for p in (folder / "out" / "cache").glob("*") if p.name not in ("a", "support")]
    assert not (folder / "out" / "cohort.json").exists()
    return str(caught.value)


def modification_times(cohort):
    cache = cohort.output_dir / "cache"
    return {str(p.relative_to(cache)): p.stat().st_mtime_ns for p in cache.rglob("*") if p.is_file()}


def test_cases_cache_and_json(folder):
    cohort = prepare(folder)
    assert list(cohort.cases) == ["a", "b", "c", "d"]
    assert cohort.support == "a" and cohort.background == 14 and cohort.rejected == {} and cohort.assumptions == ()
    case = cohort.cases["b"]
    assert (case.image, case.source) == (folder / "images" / "b.nii.gz",) * 2
    assert (case.shape, case.spacing_mm, case.orientation) == (SHAPE, SPACING_MM, "LAS")
    np.testing.assert_array_equal(case.affine, AFFINE)

    image = nib.load(cohort.cached_image("b"))
    np.testing.assert_allclose(image.get_fdata(), normalise_hu(scan(1))[::-1], atol=1e-6)
    np.testing.assert_array_equal(image.affine, [[4, 0, 0, -4], [0, 4, 0, -30], [0, 0, 5, 7], [0, 0, 0, 1]])
    assert image.get_data_dtype() == np.float32
    body = nib.load(cohort.cached_body("b"))
    assert body.get_data_dtype() == np.uint8 and set(np.unique(body.dataobj)) == {0, 1}
    np.testing.assert_array_equal(body.affine, image.affine)

    fields = json.loads((folder / "out" / "cohort.json").read_text(encoding="utf-8"))
    assert set(fields) == set(Cohort.__dataclass_fields__)
    assert load_cohort(folder / "out") == cohort
    files = {"image": str(cohort.cached_image("c")), "body": str(cohort.cached_body("c"))}
    assert cohort.items(["c"]) == [{"case": "c", **files, "image_sha256": cohort.cases["c"].sha256}]
    assert [item["case"] for item in cohort.items()] == ["a", "b", "c", "d"]


def test_split_is_even_and_spares_the_support(folder):
    cohort = prepare(folder)
    assert cohort.split(0) == (["a", "b", "c", "d"], [])
    assert cohort.split(1) == (["a", "b", "d"], ["c"])
    assert cohort.split(3) == (["a"], ["b", "c", "d"])
    with pytest.raises(BundleError, match=r"number of validation cases[\s\S]*0 to 3[\s\S]*4"):
        cohort.split(4)


def test_second_run_writes_nothing_and_reads_no_source(folder, monkeypatch):
    before = modification_times(prepare(folder))
    written = (folder / "out" / "cohort.json").stat().st_mtime_ns
    monkeypatch.setattr(scripts.data.cache_cohort, "admit", pytest.fail)
    monkeypatch.setattr("scripts.data.volume_cache.fingerprint", pytest.fail)
    cohort = prepare(folder)
    assert modification_times(cohort) == before
    assert (folder / "out" / "cohort.json").stat().st_mtime_ns == written


def test_a_source_of_the_same_size_and_time_is_cached_again_if_its_voxels_are_others(folder):
    file, other = folder / "images" / "e.nii", folder / "other.nii"
    save(file, scan(4))
    save(other, scan(5))
    before, stat = prepare(folder).cases["e"].sha256, file.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    pathlib.Path(other).replace(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert prepare(folder).cases["e"].sha256 == sha256_of_file(file) != before


def test_a_changed_source_alone_is_cached_again(folder, caplog):
    before = modification_times(prepare(folder))
    save(folder / "images" / "c.nii.gz", scan(99))
    with caplog.at_level(logging.INFO):
        cohort = prepare(folder)
    changed = {name for name, time in modification_times(cohort).items() if time != before[name]}
    assert changed == {"c/image.nii", "c/body.nii", "c/record.json"}
    assert "c: the source changed" in caplog.text
    np.testing.assert_allclose(nib.load(cohort.cached_image("c")).get_fdata(), normalise_hu(scan(99))[::-1], atol=1e-6)


def test_a_touched_or_moved_source_keeps_its_cache(folder):
    before = modification_times(prepare(folder))
    (folder / "images").rename(folder / "moved")
    (folder / "moved" / "d.nii.gz").touch()
    cohort = prepare(folder, images=folder / "moved", support=folder / "moved" / "a.nii.gz")
    changed = {name for name, time in modification_times(cohort).items() if time != before[name]}
    assert changed == {f"{name}/record.json" for name in "abcd"}
    assert cohort.cases["d"].image == folder / "moved" / "d.nii.gz"


@pytest.mark.parametrize("name", ["b", "a"])
def test_a_cached_source_that_can_be_read_no_more_is_left_out(folder, name):
    prepare(folder)
    file = folder / "images" / f"{name}.nii.gz"
    file.unlink()
    file.symlink_to(folder / "nowhere")
    if name == "a":
        with pytest.raises(BundleError, match="the support is missing"):
            prepare(folder)
    else:
        cohort = prepare(folder)
        assert list(cohort.cases) == ["a", "c", "d"]
        assert cohort.rejected["b"]["reason"].startswith("the volume is missing")


def test_another_spacing_redoes_the_cache(folder, caplog):
    prepare(folder)
    with caplog.at_level(logging.INFO):
        cohort = prepare(folder, spacing_mm=(8, 8, 10))
    assert nib.load(cohort.cached_image("b")).shape == (6, 5, 4)
    assert "b: the resolution, the modality or the version changed" in caplog.text


@pytest.mark.parametrize("name", ["b/image.nii", "b/body.nii", "b/record.json"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_cut_or_changed_cache_file_is_made_again(folder, name, kind):
    file = prepare(folder).output_dir / "cache" / name
    content = file.read_bytes()
    damage(file, kind)
    prepare(folder)
    assert file.read_bytes() == content


def test_a_record_of_another_kind_is_made_again(folder):
    record = prepare(folder).output_dir / "cache" / "b" / "record.json"
    record.write_text('{"case": {}}', encoding="utf-8")
    prepare(folder)
    assert read_json(record)["case"]["id"] == "b"


def test_the_support_with_its_scribbles(folder):
    cohort = prepare(folder)
    support = cohort.scribbled_support("first_round")
    assert (support.case.id, support.scribbles, support.background) == ("a", cohort.scribbles, cohort.background)
    with pytest.raises(BundleError, match="this stage needs a support with scribbles") as caught:
        prepare_cohort(folder / "images", folder / "other", SPACING_MM).scribbled_support("first_round")
    assert caught.value.stage == "first_round" and caught.value.file.endswith("cohort.json")


def test_bad_volumes_are_rejected_and_the_others_go_on(folder):
    images = folder / "images"
    (images / "empty.nii.gz").write_bytes(b"")
    (images / "noise.nrrd").write_bytes(b"no volume at all")
    save(images / "flat.nii.gz", scan(0)[:, :, 0])
    save(images / "series.nii.gz", np.stack([scan(0)] * 2, axis=-1))
    save(images / "constant.nii.gz", np.zeros(SHAPE, np.int16))
    save(images / "absurd.nii.gz", scan(0), np.diag([4.0, 4, 50, 1]))
    with_nan = scan(0).astype(np.float32)
    with_nan[0, 0, 0] = np.nan
    save(images / "nan.nii.gz", with_nan)
    cohort = prepare(folder)
    assert list(cohort.cases) == ["a", "b", "c", "d"]
    reasons = {name: entry["reason"] for name, entry in cohort.rejected.items()}
    assert reasons.pop("noise").startswith("the volume cannot be read")
    assert reasons == {
        "absurd": "the voxel spacing is absurd (4 x 4 x 50 mm)",
        "constant": "the volume is constant (the value 0 everywhere)",
        "empty": "the file is empty (0 bytes)",
        "flat": "the volume is 2-D (12 x 10)",
        "nan": "the volume has values that are not finite (1 NaN or infinite voxels)",
        "series": "the volume is 4-D (12 x 10 x 8 x 2)",
    }
    assert cohort.rejected["nan"]["file"] == str(images / "nan.nii.gz")
    assert load_cohort(folder / "out") == cohort


def test_a_bad_support_is_an_error(folder):
    save(folder / "images" / "a.nii.gz", np.zeros(SHAPE, np.int16))
    assert "the volume is constant" in failure(folder)


def test_too_few_volumes(folder):
    for name in "bcd":
        (folder / "images" / f"{name}.nii.gz").unlink()
    assert "too few good volumes" in failure(folder)
    (folder / "images" / "bad.nii.gz").write_bytes(b"")
    assert "found: 1, rejected: bad" in failure(folder)
    assert list(prepare(folder, minimum_cases=1).cases) == ["a"]


def test_missing_folder_support_and_scribbles(folder):
    assert "images folder is missing" in failure(folder, images=folder / "nowhere")
    said = failure(folder, support=folder / "nowhere.nii.gz")
    assert "the support is missing" in said and "images folder: a, b, c, d\n" in said and "nowhere.nii.gz" in said


def test_a_mistyped_name_of_the_support_is_told_with_the_names_like_it_and_no_path(folder):
    for name in ("abd_00", "abd_08"):
        shutil.copy(folder / "images" / "b.nii.gz", folder / "images" / f"{name}.nii.gz")
    said = failure(folder, support="abd_0O")
    assert "there is neither such a file nor a case of that name" in said
    assert "images folder: abd_08, abd_00\n" in said and said.endswith("found: abd_0O")
    assert "the volume is missing" in failure(folder, scribbles=folder / "nowhere.nii.gz")
    assert "scribbles were given without their support" in failure(folder, support=None)


@pytest.mark.parametrize("spacing_mm", [(4, 4), (0, 4, 4), (4, 4, 100), (4, 4, float("nan"))])
def test_absurd_working_spacing(folder, spacing_mm):
    assert "the working spacing is absurd" in failure(folder, spacing_mm=spacing_mm)


def test_output_that_cannot_be_written(folder, monkeypatch):
    (folder / "file").write_text("not a folder")
    with pytest.raises(BundleError, match="output folder cannot be written"):
        prepare(folder, output_dir=folder / "file")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(scripts.data.gate.output_space.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 19199))
    assert "too little free space" in failure(folder)  # 4 cases of 960 voxels, 5 bytes each: 19200 bytes
    monkeypatch.setattr(scripts.data.gate.output_space.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 19200))
    assert len(prepare(folder).cases) == 4


def test_space_is_estimated_with_conversions_and_without_bad_files(tmp_path):
    image = sitk.GetImageFromArray(scan(0).transpose())
    image.SetSpacing(SPACING_MM)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    (tmp_path / "b.nii.gz").write_bytes(b"bad")
    save(tmp_path / "c.nii.gz", scan(0), np.diag([1e6, 1e6, 1e6, 1]))
    cache = VolumeCache(tmp_path / "out", (2.0, 2.0, 2.0))
    sources = {"a": tmp_path / "a.nrrd", "b": tmp_path / "b.nii.gz", "c": tmp_path / "c.nii.gz"}
    assert cache.missing_bytes(sources) == 5 * (24 * 20 * 20) + 2 * 960


@pytest.mark.parametrize(
    ("array", "affine", "message"),
    [
        (strokes()[:, :, :-1].repeat(2, axis=2), AFFINE, "not on the support's grid\n"),
        (strokes(), AFFINE + np.array([[0, 0, 0, 0.05]] + [[0] * 4] * 3), "0.05 mm apart"),
        (strokes(), AFFINE * [-1, 1, 1, 1], "affine is not the support's"),
        (strokes(()), AFFINE, "the scribbles are empty"),
        (strokes((1, 3, 14)), AFFINE, "the class liver is named but not drawn"),
        (strokes((1, 3, 6)), AFFINE, "there is no background stroke"),
        (strokes((1, 3, 6, 5)), AFFINE, "there is no background stroke"),
        (strokes().astype(np.float32) / 2, AFFINE, "no whole numbers"),
        (strokes().astype(np.int16) - 1, AFFINE, "a scribble value is out of range"),
    ],
)
def test_bad_scribbles(folder, array, affine, message):
    save(folder / "scribbles.nii.gz", array, affine)
    assert message in failure(folder).replace("[stage cohort, case a] ", "") + "\n"


def test_scribbles_a_hair_off_are_accepted(folder):
    affine = AFFINE.copy()
    affine[0, 3] += 0.03
    save(folder / "scribbles.nii.gz", strokes(), affine)
    assert prepare(folder).scribbles == folder / "scribbles.nii.gz"


def test_scribbles_in_another_order_of_axes_are_turned_back(folder):
    turned = nib.Nifti1Image(strokes(), AFFINE).as_reoriented([[2, -1], [0, 1], [1, -1]])
    nib.save(turned, folder / "scribbles.nii.gz")
    scribbles = nib.load(prepare(folder).scribbles)
    np.testing.assert_array_equal(scribbles.dataobj, strokes())
    np.testing.assert_array_equal(scribbles.affine, AFFINE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": {"spleen": 14}}, "the class spleen has the background's value"),
        ({"classes": {"spleen": 0}}, "the value of the class spleen is out of range"),
        ({"classes": {"spleen": 1, "liver": 1}}, "two classes have the same value"),
        ({"classes": {"background": 1}}, "the class background is the background"),
        ({"classes": {"Background": 1}}, "the class Background is the background"),
        ({"classes": "OUTSIDE:1,spleen:3"}, "the class OUTSIDE is the background"),
        ({"classes": {"spleen": 1, "liver": 7}}, "the class liver is named but not drawn"),
        ({"classes": {"a": 1, "b": 3, "c": 6, "d": 14}, "background": None}, "there is no background stroke"),
        ({"classes": "spleen"}, "cannot read the classes"),
        ({"background": 13}, "there is no background stroke"),
    ],
)
def test_bad_classes(folder, changes, message):
    assert message in failure(folder, **changes)


def test_class_names_are_checked_against_dataset_json(folder):
    labels = {"1": "spleen", "3": "left_kidney", "6": "liver"}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    message = failure(folder, classes="splen:1")
    assert "unknown class splen" in message and "spleen:1, left_kidney:3, liver:6" in message
    assert "unknown class liver" in failure(folder, classes="liver:3")


def test_strokes_of_classes_not_named_count_as_background(folder):
    cohort = prepare(folder, classes="spleen:1, left_kidney:3")
    assert cohort.classes == {"spleen": 1, "left_kidney": 3}
    assert cohort.assumptions == ("Strokes of classes that were not named count as background: 6.",)
    (folder / "dataset.json").write_text('{"labels": {"1": "spleen", "3": "left_kidney", "6": "liver"}}')
    assert "count as background: 6 (liver)." in prepare(folder, classes="spleen:1,left_kidney:3").assumptions[0]


def test_classes_from_the_values_alone(folder):
    cohort = prepare(folder, classes=None, background=None)
    assert cohort.classes == {"class_1": 1, "class_3": 3, "class_6": 6} and cohort.background == 14
    assert cohort.assumptions == (
        "The background strokes are those of the largest value, 14.",
        "No classes were named: each stroke value but the background's is a class, class_<value>.",
    )
    save(folder / "scribbles.nii.gz", strokes((1,)))
    with pytest.raises(BundleError, match="there is no background stroke"):
        prepare(folder, classes=None, background=None)
    with pytest.raises(BundleError, match="no class has a stroke"):
        prepare(folder, classes=None, background=1)


@pytest.mark.parametrize(
    "labels", [{"0": "background", "1": "spleen", "3": "kidney", "9": "lung"}, {"spleen": 1, "kidney": 3, "lung": 9}]
)
def test_classes_from_dataset_json(folder, labels):
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "background_scribble": 6}))
    cohort = prepare(folder, classes=None, background=None)
    assert cohort.classes == {"spleen": 1, "kidney": 3} and cohort.background == 6
    assert cohort.assumptions == (
        "The background strokes are those of value 6, as dataset.json says.",
        "No classes were named: those of dataset.json that have strokes are used.",
        "Strokes of classes that were not named count as background: 14.",
    )


def test_dataset_json_without_or_with_bad_labels(folder):
    assert dataset_labels(folder / "images") is None
    (folder / "dataset.json").write_text("{}")
    assert dataset_labels(folder / "images") is None
    (folder / "dataset.json").write_text('{"labels": {"spleen": "liver"}}')
    with pytest.raises(BundleError, match="cannot read the labels"):
        dataset_labels(folder / "images")


def test_a_support_elsewhere_is_added(folder):
    shutil.move(folder / "images" / "a.nii.gz", folder / "support.nii.gz")
    cohort = prepare(folder, support=folder / "support.nii.gz")
    assert cohort.support == "support" and list(cohort.cases) == ["b", "c", "d", "support"]
    assert cohort.assumptions == ("The support support was not in the images folder and was added to the cohort.",)


def test_the_support_of_the_same_name_elsewhere(folder):
    (folder / "other").mkdir()
    shutil.copy(folder / "images" / "a.nii.gz", folder / "other" / "a.nii.gz")
    assert prepare(folder, support=folder / "other" / "a.nii.gz").assumptions == ()
    save(folder / "other" / "a.nii.gz", scan(50))
    with pytest.raises(BundleError, match="holds another volume of the support's name"):
        prepare(folder, support=folder / "other" / "a.nii.gz")


def test_copies_of_the_support_are_dropped(folder):
    images = folder / "images"
    shutil.copy(images / "a.nii.gz", images / "copy.nii.gz")
    save(images / "flipped.nii", scan(0)[::-1], AFFINE @ [[-1, 0, 0, 11], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    image = sitk.ReadImage(str(images / "a.nii.gz"))
    sitk.WriteImage(image, str(images / "converted.nrrd"))
    cohort = prepare(folder)
    assert list(cohort.cases) == ["a", "b", "c", "d"]
    assert cohort.assumptions == tuple(
        f"{name} is a copy of the support a and was dropped." for name in ("converted", "copy", "flipped")
    )


def test_converted_strokes_follow_a_header_that_was_mended(folder):
    images, drawn = folder / "images", folder / "scribbles.nrrd"
    moved = AFFINE + np.array([[0, 0, 0, 60], [0, 0, 0, 0], [0, 0, 0, -200], [0, 0, 0, 0]])
    for affine in (AFFINE, moved):
        save(images / "a.nii.gz", scan(0), affine)
        save(folder / "scribbles.nii.gz", strokes(), affine)
        sitk.WriteImage(sitk.ReadImage(str(folder / "scribbles.nii.gz")), str(drawn))
        cohort = prepare(folder, scribbles=drawn)
        np.testing.assert_allclose(nib.load(cohort.scribbles).affine, affine)


def test_other_formats_are_converted_once(folder):
    images = folder / "images"
    sitk.WriteImage(sitk.ReadImage(str(images / "a.nii.gz")), str(images / "a.mha"))
    (images / "a.nii.gz").unlink()
    sitk.WriteImage(sitk.ReadImage(str(folder / "scribbles.nii.gz")), str(folder / "scribbles.nrrd"))
    cohort = prepare(folder, support=images / "a.mha", scribbles=folder / "scribbles.nrrd")
    case = cohort.cases["a"]
    assert case.image == folder / "out" / "images" / "a.nii.gz" and case.source == images / "a.mha"
    stored = nib.load(case.image)
    assert stored.get_data_dtype() == np.int16
    np.testing.assert_array_equal(stored.dataobj, scan(0))
    np.testing.assert_array_equal(stored.affine, case.affine)
    assert cohort.scribbles == folder / "out" / "scribbles" / "a.nii.gz"
    np.testing.assert_array_equal(nib.load(cohort.scribbles).dataobj, strokes())
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in (case.image, cohort.scribbles)}
    prepare(folder, support=images / "a.mha", scribbles=folder / "scribbles.nrrd")
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in before} == before
    for file, kind in product(before, KINDS):
        damage(file, kind)
        prepare(folder, support=images / "a.mha", scribbles=folder / "scribbles.nrrd")
        np.testing.assert_array_equal(nib.load(file).dataobj, scan(0) if file == case.image else strokes())


def test_fractions_of_hu_survive_conversion_and_a_fourth_axis_goes(folder):
    halves = scan(7).astype(np.float32)[..., None] + 0.5
    save(folder / "images" / "e.nii.gz", halves)
    case = prepare(folder).cases["e"]
    stored = nib.load(case.image)
    assert case.image == folder / "out" / "images" / "e.nii.gz" and stored.shape == SHAPE
    np.testing.assert_array_equal(stored.get_fdata(), halves[..., 0])


def test_a_cohort_without_a_support(folder):
    cohort = prepare_cohort(folder / "images", folder / "out", SPACING_MM)
    assert cohort.support is None and cohort.scribbles is None and cohort.classes == {} and cohort.background is None
    assert load_cohort(folder / "out") == cohort


def test_images_alone_keep_the_support_of_the_work_directory(folder):
    shutil.move(folder / "images" / "a.nii.gz", folder / "support.nii.gz")
    first = prepare(folder, support=folder / "support.nii.gz", classes="spleen:1")
    assert prepare_cohort(folder / "images", folder / "out", SPACING_MM) == first
    assert load_cohort(folder / "out") == first
    (folder / "others").mkdir()
    for name in "bc":
        shutil.copy(folder / "images" / f"{name}.nii.gz", folder / "others")
    assert prepare_cohort(folder / "others", folder / "out", SPACING_MM).support is None


def test_damaged_cohort_file(folder):
    with pytest.raises(BundleError, match="cannot read the JSON file"):
        load_cohort(folder)
    (folder / "cohort.json").write_text('{"cases": {')
    with pytest.raises(BundleError, match="the cohort file is damaged; delete it"):
        load_cohort(folder)
    (folder / "cohort.json").write_text('{"cases": {}}')
    with pytest.raises(BundleError, match="the cohort file is damaged"):
        load_cohort(folder)


def test_parse_classes():
    assert parse_classes("spleen:1, left_kidney:3") == {"spleen": 1, "left_kidney": 3}


@pytest.mark.parametrize("text", ["", "spleen", "spleen:", ":1", "spleen:one", "spleen:-1", "a:1;b:2", "a:1,,b:2"])
def test_classes_in_bad_syntax(text):
    with pytest.raises(BundleError, match="cannot read the classes"):
        parse_classes(text)


@pytest.mark.parametrize("text", ["a:1,a:2", "a:1,b:1"])
def test_classes_given_twice(text):
    with pytest.raises(BundleError, match="given twice"):
        parse_classes(text)


def test_a_kill_while_caching_leaves_nothing_that_looks_complete(folder, monkeypatch):
    first = prepare(folder)
    expected = first.cached_image("c").read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(VolumeCache, "_write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(folder, spacing_mm=(8, 8, 10))
    assert not VolumeCache(first.output_dir, SPACING_MM).files.record("a").exists()
    assert prepare(folder).cached_image("c").read_bytes() == expected


def test_a_vanished_support_is_forgotten(folder):
    shutil.move(folder / "images" / "a.nii.gz", folder / "support.nii.gz")
    prepare(folder, support=folder / "support.nii.gz")
    (folder / "support.nii.gz").unlink()
    assert prepare_cohort(folder / "images", folder / "out", SPACING_MM).support is None


def test_verdicts_are_told_kept_and_survive_a_second_run(folder, monkeypatch, caplog):
    images = folder / "images"
    save(images / "mr.nii.gz", np.maximum(scan(5), 0))
    save(images / "raw.nii.gz", scan(6) + 1024)
    save(images / "b_seg.nii.gz", (scan(1) > -500).astype(np.uint8))
    save(images / "c_seg.nii.gz", 3 * (scan(2) > -500).astype(np.uint8))
    with caplog.at_level(logging.INFO):
        cohort = prepare(folder, modality="ct")
    assert list(cohort.cases) == ["a", "b", "c", "d", "mr"]
    (sentence,) = cohort.warnings.pop("mr")
    assert cohort.warnings == {} and "like those of MR" in sentence
    assert cohort.rejected["b_seg"] == {
        "file": str(images / "b_seg.nii.gz"),
        "reason": "this is a label map or scribbles, no image (values from 0 to 1, by its name of b)",
        "remedy": "move it out of the images folder",
    }
    assert "water lies near 1024" in cohort.rejected["raw"]["reason"]
    assert "left out: b_seg, c_seg: this is a label map" in caplog.text and f"mr: {sentence}" in caplog.text
    before = load_cohort(folder / "out")
    monkeypatch.setattr(scripts.data.volume_cache, "find_body", pytest.fail)
    assert prepare(folder, modality="ct") == before and before.warnings["mr"] == (sentence,)


def test_a_support_that_is_no_ct_is_an_error(folder):
    save(folder / "images" / "a.nii.gz", scan(0) + 1024)
    assert "water lies near 1024" in failure(folder)


def test_strokes_and_organs_in_the_images_folder_are_no_cases(folder):
    images = folder / "images"
    shutil.move(folder / "scribbles.nii.gz", images / "a_strokes.nii.gz")
    shutil.copy(images / "a_strokes.nii.gz", images / "organs.nii.gz")
    files = {"scribbles": images / "a_strokes.nii.gz", "support_mask": images / "organs.nii.gz"}
    cohort = prepare(folder, **files)
    assert list(cohort.cases) == ["a", "b", "c", "d"] and cohort.rejected == {}
    assert cohort.unused == dict.fromkeys(map(str, files.values()), "given as strokes or organs of the support")
    assert prepare_cohort(images, folder / "out", SPACING_MM) == cohort  # as the training of a network calls it


def test_a_header_that_claims_too_much_stops_no_other_case(folder):
    header = nib.load(folder / "images" / "d.nii.gz").header
    header["dim"][1:4] = 30000
    (folder / "images" / "huge.nii").write_bytes(header.binaryblock + bytes(4))
    cohort = prepare(folder)
    assert list(cohort.cases) == ["a", "b", "c", "d"]
    assert cohort.rejected["huge"]["reason"] == "the volume is too large (30000 x 30000 x 30000)"


def test_a_cohort_of_an_older_version_has_no_verdicts(folder):
    file = prepare(folder).output_dir / "cohort.json"
    content = read_json(file)
    del content["warnings"], content["unused"]
    file.write_text(json.dumps(content), encoding="utf-8")
    assert load_cohort(file.parent).warnings == {} and load_cohort(file.parent).unused == {}
