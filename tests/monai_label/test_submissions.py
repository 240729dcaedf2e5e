"""What is submitted in MONAI Label, and what a round of training makes of it."""

import socket
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bundle.arguments import command_parser
from bundle.monai_label.launch import check_free, launch, run
from bundle.monai_label.names import DRAWN_ON, OUTSIDE
from bundle.monai_label.strokes import check_grid
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


def test_corrected_segments_count_by_their_plain_names_and_others_are_told(studies, tmp_path, capsys):
    studies.submit("b", [1, 2, 3, 0], **{"Liver": 1, "SPLEEN ": 2, "Segment 1": 3})
    assert values(read_task(studies, tmp_path / "work").accepted / "b.nii.gz") == [2, 1, 0, 0]
    said = "b: Segments that are called like no class are not taken: Segment 1.\n"
    assert capsys.readouterr().out == said


def test_a_corrected_label_without_a_known_segment_is_refused(studies, tmp_path):
    studies.submit("b", [1, 2, 0, 0], **{"Segment 1": 1, "Segment 2": 2})
    with pytest.raises(BundleError, match="no segment is called like a class") as caught:
        read_task(studies, tmp_path / "work")
    assert (caught.value.stage, caught.value.case, caught.value.found) == ("MONAI Label", "b", "Segment 1, Segment 2")
    assert caught.value.expected.startswith("segments of these names: spleen, liver; rename them")
    assert not (tmp_path / "work" / "accepted" / "b.nii.gz").exists()
    studies.submit("b", [1, 2, 0, 0], foreground_scribbles=1, background_scribbles=2)
    with pytest.raises(BundleError, match="does not say what its values mean") as caught:
        read_task(studies, tmp_path / "work")
    assert caught.value.found == "foreground_scribbles, background_scribbles"


def test_an_organ_that_a_corrected_label_names_may_be_absent(studies, tmp_path):
    studies.submit("b", [0, 0, 0, 0], spleen=1, liver=2, background=0)
    assert values(read_task(studies, tmp_path / "work").accepted / "b.nii.gz") == [0, 0, 0, 0]


@pytest.mark.parametrize("name", ["Outside", "background"])
def test_every_name_of_the_background_makes_strokes(studies, tmp_path, name):
    studies.submit("a", [0, 1, 2, 3], spleen=1, liver=2, **{name: 3})
    task = read_task(studies, tmp_path / "work")
    assert (task.support, task.classes, task.background) == ("a", {"spleen": 1, "liver": 2}, 3)
    assert task.support_mask is None


def test_background_strokes_in_two_segments_are_of_one_value(studies, tmp_path):
    studies.submit("a", [1, 2, 3, 4], spleen=1, liver=2, outside=3, background=4)
    task = read_task(studies, tmp_path / "work")
    assert task.classes == {"spleen": 1, "liver": 2} and task.background == 3
    assert values(task.scribbles) == [1, 2, 3, 3]


def test_whole_organs_of_the_support_are_its_mask_and_its_strokes_stay(studies, tmp_path):
    read_task(studies, tmp_path / "work")
    studies.submit("a", [1, 1, 2, 0], spleen=1, liver=2)
    task = read_task(studies, tmp_path / "work")
    assert values(task.support_mask) == [1, 1, 2, 0] and values(task.scribbles) == [0, 1, 2, 3]
    studies.submit("a", [3, 0, 2, 1], spleen=1, liver=2, **{OUTSIDE: 3})
    task = read_task(studies, tmp_path / "work")
    assert task.support_mask is None and values(task.scribbles) == [3, 0, 2, 1], "new strokes"


def test_strokes_whose_segments_were_renamed_are_of_the_new_classes(studies, tmp_path):
    read_task(studies, tmp_path / "work")
    studies.submit("a", [0, 1, 2, 3], spleen=1, pancreas=2, **{OUTSIDE: 3})
    assert read_task(studies, tmp_path / "work").classes == {"spleen": 1, "pancreas": 2}


def test_slicer_counts_segments_that_it_leaves_out(studies, tmp_path):
    studies.submit("a", [0, 1, 2, 3], spleen=2, liver=3, **{OUTSIDE: 5})
    task = read_task(studies, tmp_path / "work")
    assert task.classes == {"spleen": 1, "liver": 2} and task.background == 3


def test_two_segments_of_one_name_are_refused(studies, tmp_path):
    studies.submit("a", [0, 1, 2, 3], spleen=1, liver=2, **{OUTSIDE: 3})
    studies.names["a"][1]["name"] = "spleen"
    with pytest.raises(BundleError, match="two segments have the same name") as caught:
        read_task(studies, tmp_path / "work")
    assert (caught.value.case, caught.value.found) == ("a", "segment 1: spleen, segment 2: spleen")


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


def test_what_is_not_enough(studies, tmp_path):
    studies.submit("b", [0, 1, 1, 3], spleen=1, **{OUTSIDE: 3})
    with pytest.raises(BundleError, match="strokes on more than one study") as caught:
        read_task(studies, tmp_path / "work")
    assert caught.value.found == "a, b"
    studies.names.clear()
    with pytest.raises(BundleError, match="no study has strokes") as caught:
        read_task(studies, tmp_path / "work")
    assert caught.value.found == "no submitted label"
    studies.submit("b", [0, 1, 1, 2], spleen=1, outsides=2)
    with pytest.raises(BundleError, match="no study has strokes") as caught:
        read_task(studies, tmp_path / "work")
    assert caught.value.found == "b (spleen, outsides)", "the segments show which name was meant"
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
        "http://user@127.0.0.1/dicom-web": "a login has no place in the address",
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


@pytest.mark.parametrize(
    ("given", "problem"),
    {
        ("--set", "nonsense.key=1"): "mode default has no such stage",
        ("--set", "segmentation.nonsense=1"): "unknown config key",
        ("--set", "segmentation.max_epochs=$1; 2"): "cannot read --set",
        ("--weights", "nowhere"): "no weights for mode default of that name",
        ("--port", "0"): "there is no such port",
        ("--port", "65536"): "there is no such port",
        ("--upload-limit-gib", "nan"): "this is no limit for uploads",
        ("--upload-limit-gib", "-1"): "this is no limit for uploads",
    }.items(),
)
def test_a_server_that_could_not_train_or_answer_does_not_start(tmp_path, given, problem):
    with pytest.raises(BundleError, match=problem):
        run(command_parser().parse_args(["monai-label", "--studies", str(tmp_path), "--app", str(tmp_path), *given]))
    assert not any(tmp_path.iterdir())


def test_a_port_that_is_taken_is_told_before_the_server_says_that_it_is_ready(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("os.execve", lambda *_: pytest.fail("it starts"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BundleError, match="the port cannot be had") as caught:
            launch(str(tmp_path), tmp_path / "app", port, {})
    assert "already in use" in caught.value.found and not (tmp_path / "app").exists()
    check_free(port)


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
