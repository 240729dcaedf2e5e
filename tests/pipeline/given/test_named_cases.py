"""The support and accepted label maps by the names of their cases."""

from pathlib import Path

import pytest

from bundle.pipeline.given.named_cases import keep_accepted, label_maps_of, named_volume, parse_accepted
from bundle.results.final_labels import note_final_labels
from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.common.made_of import write_record
from scripts.common.work_folder import WorkFolder
from tests.dicom.conftest import noisy_hu
from tests.fixtures.ct_series import write_ct
from tests.pipeline_fixtures import make_cohort

IMAGES = {case: f"image of {case}" for case in ("a", "b", "c")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_cohort(tmp_path, 2)


@pytest.fixture
def work(tmp_path):
    """Cases a and b have predictions, c a pseudo label alone."""
    work = WorkFolder(tmp_path / "out")
    for case in ("a", "b"):
        made(work, case, b"predicted " + case.encode())
    work.pseudo_labels.path.mkdir()
    work.pseudo_labels.label("c").write_bytes(b"pseudo c")
    return work


def made(work, case, content):
    """The label map of a case in `predictions/`, with its record."""
    work.predictions.path.mkdir(parents=True, exist_ok=True)
    work.predictions.label(case).write_bytes(content)
    write_record(work.predictions.record(case), {}, "", [work.predictions.label(case)])


@pytest.mark.parametrize("name", ["case_1", "case_1.nii.gz"])
def test_a_support_may_be_called_by_its_name(folder, name):
    images = folder / "images"
    assert named_volume(images, type(images)(name)) == images / "case_1.nii.gz"


def test_what_is_there_is_taken_as_it_is(folder):
    images, mine = folder / "images", folder / "case_1.nii.gz"
    mine.touch()
    assert named_volume(images, type(images)("case_1.nii.gz")) == type(images)("case_1.nii.gz")


def test_a_folder_that_holds_no_series_is_no_support(folder):
    """Such as the run's own, called like the support."""
    (folder / "case_1" / "predictions").mkdir(parents=True)
    images = folder / "images"
    assert named_volume(images, type(images)("case_1")) == images / "case_1.nii.gz"
    write_ct(folder / "series", noisy_hu(0), "axial")
    (images / "series").mkdir()
    assert named_volume(images, type(images)("series")) == type(images)("series")


@pytest.mark.parametrize("name", ["nobody", "elsewhere/case_1.nii.gz", "/elsewhere/case_1.nii.gz"])
def test_a_path_that_leads_nowhere_is_no_name(folder, name):
    images = folder / "images"
    assert named_volume(images, type(images)(name)) == type(images)(name)
    assert named_volume(folder / "nowhere", type(images)("case_1")) == type(images)("case_1")


def test_a_series_in_a_folder_of_its_own_is_called_by_that(folder):
    images = folder / "images"
    (images / "series").mkdir()
    assert named_volume(images, type(images)("series")) == images / "series"


def test_accepted_is_a_folder_or_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps").mkdir()
    (tmp_path / "list.txt").write_text("\ufeffb.nii.gz\r\n\n a,1 \n", encoding="utf-8")
    assert parse_accepted("maps") == type(tmp_path)("maps")
    assert parse_accepted("nowhere/maps") == type(tmp_path)("nowhere/maps")
    assert parse_accepted("b, a.nii.gz,b") == ("a", "b")
    assert parse_accepted("list.txt") == ("a,1", "b")


def test_a_list_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "list").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(BundleError, match="cannot read the accepted cases"):
        parse_accepted(str(tmp_path / "list"))


def test_accepted_cases_keep_their_label_maps_as_they_were(work):
    names = ("a", "c")
    places = {case: work.accepted.label(case) for case in names}
    assert label_maps_of(names, work) == {"a": work.predictions.label("a"), "c": work.pseudo_labels.label("c")}
    keep_accepted(names, work, IMAGES)
    made(work, "a", b"another")
    keep_accepted(names, work, IMAGES)
    assert [place.read_bytes() for place in places.values()] == [b"predicted a", b"pseudo c"]
    assert label_maps_of(names, work) == places


def test_a_correction_in_place_counts_for_more_than_what_was_accepted_before(work):
    keep_accepted(("a",), work, IMAGES)
    work.predictions.label("a").write_bytes(b"corrected")
    keep_accepted(("a",), work, IMAGES)
    assert work.accepted.label("a").read_bytes() == b"corrected"


def test_only_those_that_are_named_are_accepted(work):
    keep_accepted(("a", "b"), work, IMAGES)
    assert list(label_maps_of(("b",), work)) == ["b"]


@pytest.mark.parametrize("others", [(), ("b",), None, Path("elsewhere")])
def test_a_case_that_was_withdrawn_is_accepted_again_as_it_was_labelled_since(work, others):
    keep_accepted(("a",), work, IMAGES)
    keep_accepted(others, work, IMAGES)
    assert (work.accepted.path / "set_aside" / "a.nii.gz").read_bytes() == b"predicted a"
    made(work, "a", b"another")
    keep_accepted(("a",), work, IMAGES)
    assert work.accepted.label("a").read_bytes() == b"another"


def test_a_folder_of_accepted_label_maps_stays_as_it_is_even_among_ours(work):
    keep_accepted(("a", "b"), work, IMAGES)
    keep_accepted(work.accepted.path, work, IMAGES)
    assert work.accepted.label("a").is_file() and work.accepted.label("b").is_file()
    keep_accepted(("b",), work, IMAGES)
    keep_accepted(work.accepted.path / "set_aside", work, IMAGES)
    assert [file.name for file in (work.accepted.path / "set_aside").iterdir()] == ["a.nii.gz"]
    assert (work.accepted.path / "set_aside_2" / "b.nii.gz").is_file()


def test_a_label_map_is_not_accepted_for_another_image(work):
    keep_accepted(("a",), work, IMAGES)
    replaced = {**IMAGES, "a": "another"}
    with pytest.raises(BundleError, match="the image was replaced since its label map was accepted") as caught:
        label_maps_of(("a",), work, replaced)
    assert (caught.value.case, caught.value.file) == ("a", str(work.accepted.label("a")))
    keep_accepted((), work, replaced)
    made(work, "a", b"of the new image")
    keep_accepted(("a",), work, replaced)
    assert work.accepted.label("a").read_bytes() == b"of the new image"


@pytest.mark.parametrize("case", ["a", "c"])
@pytest.mark.parametrize("content", [b"as it was made", b"corrected"])
def test_nor_is_one_that_was_made_of_an_image_that_was_replaced_since(work, case, content):
    folder = work.predictions if case == "a" else work.pseudo_labels
    folder.label(case).write_bytes(b"as it was made")
    write_record(folder.record(case), {"image_sha256": IMAGES[case]}, "", [folder.label(case)])
    folder.label(case).write_bytes(content)
    assert label_maps_of((case,), work, IMAGES) == {case: folder.label(case)}
    with pytest.raises(BundleError, match="the image was replaced since its label map was made") as caught:
        keep_accepted((case,), work, {**IMAGES, case: "another"})
    assert (caught.value.case, caught.value.file) == (case, str(folder.label(case)))
    assert not work.accepted.path.exists()


def test_what_an_earlier_version_accepted_stays_accepted(work):
    work.accepted.path.mkdir()
    work.accepted.label("a").write_bytes(b"accepted before")
    keep_accepted(("a",), work, IMAGES)
    assert work.accepted.label("a").read_bytes() == b"accepted before"
    assert read_json(work.accepted.record("a")) == {"image_sha256": "image of a"}


def test_final_labels_of_other_pseudo_labels_are_not_accepted(work):
    write_record(work.pseudo_labels.record("a"), {}, "first", [])
    work.pseudo_labels.label("a").write_bytes(b"pseudo a")
    note_final_labels(work)
    assert label_maps_of(("a",), work) == {"a": work.predictions.label("a")}
    write_record(work.pseudo_labels.record("a"), {}, "second", [])
    assert label_maps_of(("a",), work) == {"a": work.pseudo_labels.label("a")}


@pytest.mark.parametrize("name", ["nobody", ".."])
def test_a_case_without_a_label_map_is_refused(work, name):
    with pytest.raises(BundleError, match="a case of this name has no label map yet") as caught:
        label_maps_of((name,), work)
    assert caught.value.file == name


def test_of_a_mistyped_case_those_like_it_that_have_a_label_map_are_named(work):
    made(work, "abd_05", b"predicted")
    for name, cases in {"abd_5": "abd_05", "zzz": "a, abd_05, b, c"}.items():
        with pytest.raises(BundleError) as caught:
            label_maps_of((name,), work)
        assert caught.value.expected.endswith(f"a label map in the output folder: {cases}")
