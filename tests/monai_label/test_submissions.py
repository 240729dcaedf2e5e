"""What is submitted in MONAI Label, and what a round of training makes of it."""

from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bundle.monai_label import drawn_on
from bundle.monai_label.drawn_on import hash_of_image, look_file
from bundle.monai_label.launch import launch
from bundle.monai_label.names import DRAWN_ON, LOOKS, OUTSIDE
from bundle.monai_label.strokes import check_grid, read_strokes, remember, within_roi
from bundle.monai_label.submissions import classes_option, read_task
from scripts.common.errors import BundleError
from scripts.common.files import sha256_of_file
from scripts.data.stroke_classes import parse_classes
from scripts.data.volume_io import read_labels
from tests.paths import ROOT

AFFINE = np.diag([-3.0, 3.0, 4.0, 1.0])


class Studies:
    """MONAI Label's datastore as far as it is used, over a folder."""

    def __init__(self, folder, *cases):
        self.folder, self.cases, self.names, self.drawn_on = folder, list(cases), {}, {}
        for case in cases:
            self.replace(case, case)

    def replace(self, case, image):
        Path(self.get_image_uri(case)).write_text(image, encoding="utf-8")

    def submit(self, case, array, **names):
        """`array`: a value for every second plane along X."""
        planes = np.repeat(np.asarray(array, np.uint8), 2).reshape(-1, 1, 1)
        nib.save(nib.Nifti1Image(np.tile(planes, (1, 8, 8)), AFFINE), self.folder / f"{case}.nii.gz")
        self.names[case] = [{"name": name, "idx": value} for name, value in names.items()]
        self.drawn_on[case] = sha256_of_file(self.get_image_uri(case))

    def list_images(self):
        return self.cases

    def get_image_uri(self, image_id):
        return str(self.folder / f"image_{image_id}.nii.gz")

    def get_labels_by_image_id(self, image_id):
        return {"final": image_id} if image_id in self.names else {}

    def get_label_uri(self, label_id, label_tag):
        return str(self.folder / f"{label_id}.nii.gz")

    def get_label_info(self, label_id, label_tag):
        return {"label_info": self.names[label_id], "ts": 1, DRAWN_ON: self.drawn_on[label_id]}


@pytest.fixture
def studies(tmp_path):
    (tmp_path / "labels").mkdir()
    studies = Studies(tmp_path / "labels", "a", "b", "c")
    studies.submit("a", [0, 1, 2, 3], spleen=1, liver=2, **{OUTSIDE: 3})
    return studies


def values(file):
    return np.asarray(nib.load(file).dataobj)[::2, 0, 0].tolist()


def test_strokes_make_the_support(studies, tmp_path):
    task = read_task(studies, tmp_path / "work")
    assert (task.support, task.classes, task.background) == ("a", {"spleen": 1, "liver": 2}, 3)
    assert values(task.scribbles) == [0, 1, 2, 3]
    assert np.array_equal(nib.load(task.scribbles).affine, AFFINE)
    assert task.support_mask is None and task.accepted is None


def test_corrected_labels_get_the_values_of_the_strokes(studies, tmp_path):
    studies.submit("c", [0, 5, 6, 7], liver=5, spleen=6, gallbladder=7)
    task = read_task(studies, tmp_path / "work")
    assert values(task.accepted / "c.nii.gz") == [0, 2, 1, 0]
    studies.names.pop("c")
    assert read_task(studies, tmp_path / "work").accepted is None, "taken back"
    assert not (tmp_path / "work" / "accepted" / "c.nii.gz").exists()


def test_whole_organs_of_the_support_are_its_mask_and_its_strokes_stay(studies, tmp_path):
    read_task(studies, tmp_path / "work")
    studies.submit("a", [1, 1, 2, 0], spleen=1, liver=2)
    task = read_task(studies, tmp_path / "work")
    assert values(task.support_mask) == [1, 1, 2, 0] and values(task.scribbles) == [0, 1, 2, 3]
    studies.submit("a", [3, 0, 2, 1], spleen=1, liver=2, **{OUTSIDE: 3})
    task = read_task(studies, tmp_path / "work")
    assert task.support_mask is None and values(task.scribbles) == [3, 0, 2, 1], "new strokes"


def test_slicer_counts_segments_that_it_leaves_out(studies, tmp_path):
    studies.submit("a", [0, 1, 2, 3], spleen=2, liver=3, **{OUTSIDE: 5})
    task = read_task(studies, tmp_path / "work")
    assert task.classes == {"spleen": 1, "liver": 2} and task.background == 3


def test_segments_that_are_empty_are_no_classes(studies, tmp_path):
    studies.submit("a", [0, 3, 4, 5], spleen=1, kidney=2, liver=3, stomach=4, **{OUTSIDE: 7})
    task = read_task(studies, tmp_path / "work")
    assert task.classes == {"liver": 3, "stomach": 4} and task.background == 5


def test_strokes_on_an_image_that_was_replaced_are_refused_until_they_are_drawn_again(studies, tmp_path, capsys):
    read_task(studies, tmp_path / "work")
    studies.replace("a", "another image")
    with pytest.raises(BundleError, match="the strokes were drawn on another image of this study") as caught:
        read_task(studies, tmp_path / "work")
    assert caught.value.case == "a"
    assert capsys.readouterr().out.count("a: the submitted label that was drawn on another image is left out") == 1
    studies.names.pop("a")
    with pytest.raises(BundleError, match="the strokes were drawn on another image"):
        read_task(studies, tmp_path / "work")  # a renewed study loses its label, not the copy of its strokes
    studies.submit("a", [0, 1, 2, 3], spleen=1, liver=2, **{OUTSIDE: 3})
    task = read_task(studies, tmp_path / "work")
    assert task.support == "a" and values(task.scribbles) == [0, 1, 2, 3], "the same strokes, submitted on this image"


def test_strokes_of_no_known_image_count_for_the_first_that_they_are_used_with(studies, tmp_path):
    studies.drawn_on["a"] = None
    read_task(studies, tmp_path / "work")
    studies.replace("a", "another image")
    with pytest.raises(BundleError, match="the strokes were drawn on another image"):
        read_task(studies, tmp_path / "work")
    studies.cases.remove("a")
    with pytest.raises(BundleError, match="the study that the strokes were drawn on is not there"):
        read_task(studies, tmp_path / "work")


def test_whole_organs_of_an_image_that_was_replaced_are_left_out(studies, tmp_path, capsys):
    studies.submit("c", [0, 2, 1, 0], liver=2, spleen=1)
    assert read_task(studies, tmp_path / "work").accepted is not None
    studies.replace("c", "another image")
    assert read_task(studies, tmp_path / "work").accepted is None
    assert not list((tmp_path / "work" / "accepted").iterdir())
    assert "c: the submitted label that was drawn on another image is left out" in capsys.readouterr().out


@pytest.fixture
def look(studies, tmp_path):
    """Send strokes of a study, as 3D Slicer's scribbles panel does."""

    def send(array, case="b", **request):
        planes = np.repeat(np.asarray(array, np.uint8), 2).reshape(-1, 1, 1)
        nib.save(nib.Nifti1Image(np.tile(planes, (1, 8, 8)), AFFINE), tmp_path / "sent.nii.gz")
        folder = tmp_path / "work" / LOOKS / case
        strokes = read_strokes({"label": str(tmp_path / "sent.nii.gz"), **request}, folder)
        remember(strokes, look_file(folder, studies.get_image_uri(case)))
        return strokes

    return send


def panel(organ, *organs):
    """Segments as 3D Slicer numbers them, and the organ whose strokes the panel holds."""
    names = [*organs, "background_scribbles", "foreground_scribbles"]
    rows = [{"name": name, "id": number + 1} for number, name in enumerate(names)]
    return {"label_info": rows, "selected_label_name": organ, "roi": []}


def test_the_panels_strokes_belong_to_the_organ_selected(look):
    strokes = look([1, 2, 4, 3], **panel("liver", "spleen", "liver"))
    assert (strokes.classes, strokes.background, strokes.selected) == ({"liver": 4}, 3, "liver")
    assert values(strokes.file) == [0, 0, 4, 3], "whole organs in the other segments are no strokes"


def test_segments_hold_strokes_where_the_panel_holds_none(look):
    rows = [{"name": name, "idx": value} for name, value in {"spleen": 1, "liver": 2, OUTSIDE: 7}.items()]
    strokes = look([1, 2, 7, 0], label_info=rows)
    assert (strokes.classes, strokes.background, strokes.selected) == ({"spleen": 1, "liver": 2}, 7, None)
    rows += [{"name": "background_scribbles", "idx": 8}, {"name": "foreground_scribbles", "idx": 9}]
    strokes = look([1, 2, 7, 8], label_info=rows, selected_label_name="liver")
    assert (strokes.classes, strokes.selected) == ({"spleen": 1, "liver": 2}, "liver")
    assert values(strokes.file) == [1, 2, 7, 7], "both kinds of background"


def test_strokes_without_names_are_two_and_three(look):
    strokes = look([0, 3, 2, 0])
    assert (strokes.classes, strokes.background) == ({"organ": 3}, 2)


@pytest.mark.parametrize(
    ("array", "found"),
    [([0, 0, 3, 3], "background_scribbles"), ([4, 4, 0, 0], "foreground_scribbles"), ([0, 0, 0, 0], "none")],
)
def test_strokes_are_missing(look, array, found):
    with pytest.raises(BundleError, match="strokes are missing") as caught:
        look(array, **panel("spleen", "spleen", "liver"))
    assert caught.value.found == found and "strokes inside spleen" in caught.value.expected


def test_whole_organs_in_the_segments_are_no_strokes(look):
    with pytest.raises(BundleError, match="strokes are missing"):
        look([1, 1, 3, 3], **panel("spleen", "spleen", "liver"))


def test_what_grows_ends_at_the_box_that_was_drawn():
    label = np.arange(1, 9).reshape(2, 2, 2)
    assert within_roi(label, [0, 2, 2, 1, -1, 1]).ravel().tolist() == [0, 0, 3, 0, 0, 0, 7, 0]
    assert within_roi(label, []) is label


def test_no_file_of_strokes_came(tmp_path):
    with pytest.raises(BundleError, match="no strokes came with the request"):
        read_strokes({}, tmp_path)


def test_strokes_drawn_for_a_look_count_where_whole_organs_were_submitted(studies, look, tmp_path):
    studies.names.clear()
    look([4, 3, 0, 3], **panel("spleen", "spleen", "liver"))
    look([3, 4, 4, 0], **panel("Segment_1", "spleen", "Segment_1"))
    studies.submit("b", [6, 5, 0, 0], spleen=6, liver=5, stomach=4)
    task = read_task(studies, tmp_path / "work")
    assert (task.support, task.classes, task.background) == ("b", {"spleen": 6, "liver": 5}, 255)
    assert values(task.scribbles) == [6, 5, 0, 255], "strokes belong to the organ that they lie in"
    assert values(task.support_mask) == [6, 5, 0, 0]
    look([0, 0, 4, 3], **panel("liver", "spleen", "liver"))
    assert values(read_task(studies, tmp_path / "work").scribbles) == [6, 5, 0, 255], "a look alone changes nothing"
    studies.submit("a", [0, 1, 2, 3], spleen=1, liver=2, **{OUTSIDE: 3})
    assert read_task(studies, tmp_path / "work").support == "a", "submitted strokes count more"


def test_a_look_at_an_image_that_was_replaced_is_left_out(studies, look, tmp_path, capsys):
    studies.names.clear()
    look([4, 3, 0, 3], **panel("spleen", "spleen", "liver"))
    studies.replace("b", "another image")
    studies.submit("b", [1, 0, 0, 0], spleen=1)
    with pytest.raises(BundleError, match="no study has strokes"):
        read_task(studies, tmp_path / "work")
    assert "b: the look that was drawn on another image is left out" in capsys.readouterr().out
    look([4, 0, 3, 0], **panel("spleen", "spleen", "liver"))
    assert values(read_task(studies, tmp_path / "work").scribbles) == [1, 0, 255, 0], "strokes on this image alone"


def test_a_look_tells_nothing_of_the_image_before_while_it_is_drawn(studies, look, capsys):
    look([4, 3, 0, 3], **panel("spleen", "spleen", "liver"))
    studies.replace("b", "another image")
    look([4, 0, 3, 0], **panel("spleen", "spleen", "liver"))
    assert capsys.readouterr().out == ""


def test_a_look_of_an_earlier_version_counts_for_the_first_image_that_asks(studies, look, tmp_path, capsys):
    studies.names.clear()
    look([4, 3, 0, 3], **panel("spleen", "spleen", "liver"))
    looks = tmp_path / "work" / LOOKS / "b"
    (drawn,) = looks.glob("drawn_*")
    drawn.replace(looks / "drawn.nii.gz")
    studies.submit("b", [1, 0, 0, 0], spleen=1)
    assert values(read_task(studies, tmp_path / "work").scribbles) == [1, 255, 0, 255]
    assert [file.name for file in looks.glob("drawn*")] == [drawn.name]
    studies.replace("b", "another image")
    studies.submit("b", [1, 0, 0, 1], spleen=1)
    with pytest.raises(BundleError, match="the strokes were drawn on another image"):
        read_task(studies, tmp_path / "work")
    assert "b: the look that was drawn on another image is left out" in capsys.readouterr().out


def test_an_image_is_read_once_for_its_hash(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(drawn_on, "sha256_of_file", lambda file: read.append(file) or sha256_of_file(file))
    image = tmp_path / "image.nii.gz"
    image.write_bytes(b"one")
    first = hash_of_image(image)
    assert hash_of_image(image) == first == sha256_of_file(image) and read == [image]
    image.write_bytes(b"two")
    assert hash_of_image(image) == sha256_of_file(image) != first and len(read) == 2


def test_organs_without_strokes_are_named(studies, look, tmp_path):
    studies.names.clear()
    look([4, 3, 0, 3], **panel("spleen", "spleen", "liver"))
    studies.submit("b", [1, 0, 2, 2], spleen=1, liver=2)
    with pytest.raises(BundleError, match="whole organs were submitted, but strokes are missing") as caught:
        read_task(studies, tmp_path / "work")
    assert caught.value.found == "none in liver"
    studies.submit("b", [1, 1, 0, 1], spleen=1)
    with pytest.raises(BundleError, match="strokes are missing") as caught:
        read_task(studies, tmp_path / "work")
    assert caught.value.found == "none in outside"


def test_what_is_not_enough(studies, tmp_path):
    studies.submit("b", [0, 1, 1, 3], spleen=1, **{OUTSIDE: 3})
    with pytest.raises(BundleError, match="strokes on more than one study") as caught:
        read_task(studies, tmp_path / "work")
    assert caught.value.found == "a, b"
    studies.names.clear()
    with pytest.raises(BundleError, match="no study has strokes"):
        read_task(studies, tmp_path / "work")
    studies.submit("b", [0, 1, 1, 3])
    with pytest.raises(BundleError, match="does not say what its values mean") as caught:
        read_task(studies, tmp_path / "work")
    assert caught.value.case == "b"


def test_a_server_needs_studies(tmp_path):
    for studies, problem in {
        str(tmp_path / "nowhere"): "the folder of studies is missing",
        "": "the folder of studies is not named",
        " ": "the folder of studies is not named",
        str(ROOT): "the bundle's own folder holds no studies",
        "http://": "this is no address of a DICOMweb server",
        "http://user@127.0.0.1/dicom-web": "this is no address of a DICOMweb server",
        "http://127.0.0.1:1/dicom-web": "the DICOMweb server does not answer",
    }.items():
        with pytest.raises(BundleError, match=problem):
            launch(studies, tmp_path / "app", 8000, {})
    assert not (tmp_path / "app").exists()


@pytest.mark.skipif(find_spec("monailabel") is not None, reason="where MONAI Label is installed, the server starts")
def test_a_server_needs_its_own_environment(tmp_path):
    with pytest.raises(BundleError, match="MONAI Label is not installed here") as caught:
        launch(str(tmp_path), tmp_path / "app", 8000, {})
    assert "make monai-label STUDIES=DIR" in caught.value.expected
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize("name", ["kidney, left", "a:2,b", 'say "x"', "Rückenmark", "{}"])
def test_names_of_segments_reach_the_command_line_whatever_they_hold(name):
    assert parse_classes(classes_option({name: 3, "liver": 6})) == {name: 3, "liver": 6}


def test_grids_are_compared_by_headers_alone(tmp_path):
    def file(name, shape, affine=AFFINE):
        nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), affine), tmp_path / name)
        return tmp_path / name

    image = file("image.nii.gz", (8, 9, 10))
    check_grid(read_labels(file("same.nii.gz", (8, 9, 10))), image, "strokes")
    flipped = AFFINE.copy()
    flipped[0] = [3, 0, 0, -21]
    check_grid(read_labels(file("flipped.nii.gz", (8, 9, 10), flipped)), image, "strokes")
    with pytest.raises(BundleError, match="the strokes do not lie on the study's grid") as caught:
        check_grid(read_labels(file("fewer.nii.gz", (8, 9, 9))), image, "strokes", "a")
    assert caught.value.found == "8 x 9 x 9 voxels" and "8 x 9 x 10 voxels" in caught.value.expected
    with pytest.raises(BundleError, match="the label does not lie on the study's grid") as caught:
        check_grid(read_labels(file("moved.nii.gz", (8, 9, 10), AFFINE + np.eye(4, k=3))), image, "label")
    assert caught.value.found == "the same shape at another place or spacing"
