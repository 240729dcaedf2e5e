"""Strokes that are sent to see what grows from them, and which of them count in a round of training."""

import nibabel as nib
import numpy as np
import pytest

from bundle.monai_label import drawn_on
from bundle.monai_label.drawn_on import hash_of_image, look_file
from bundle.monai_label.names import LOOKS, OUTSIDE
from bundle.monai_label.strokes import read_strokes, remember, within_roi
from bundle.monai_label.submissions import read_task
from scripts.common.errors import BundleError
from scripts.common.files import sha256_of_file
from tests.monai_label.test_submissions import AFFINE, studies, values

__all__ = ["studies"]


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


@pytest.mark.parametrize("name", ["Outside", "background"])
def test_every_name_of_the_background_makes_strokes(look, name):
    strokes = look([1, 2, 7, 0], label_info=[{"name": "spleen", "idx": 1}, {"name": name, "idx": 7}])
    assert (strokes.classes, strokes.background) == ({"spleen": 1}, 7)


def test_strokes_without_names_are_two_and_three(look):
    strokes = look([0, 3, 2, 0])
    assert (strokes.classes, strokes.background) == ({"organ": 3}, 2)


@pytest.mark.parametrize(
    ("array", "found"),
    [([0, 0, 3, 3], "background_scribbles"), ([4, 4, 0, 0], "foreground_scribbles"), ([0, 0, 0, 0], "none")],
)
def test_strokes_are_missing(look, array, found):
    with pytest.raises(BundleError, match="strokes are missing") as caught:
        look(array, study="b", **panel("spleen", "spleen", "liver"))
    assert caught.value.found == found and "strokes inside spleen" in caught.value.expected
    assert caught.value.case == "b" and caught.value.file is None, "not the server's own copy"


def test_whole_organs_in_the_segments_are_no_strokes(look):
    with pytest.raises(BundleError, match="strokes are missing"):
        look([1, 1, 3, 3], **panel("spleen", "spleen", "liver"))


def test_two_segments_of_strokes_with_one_name_are_refused(look):
    rows = [{"name": name, "idx": value} for name, value in (("liver", 1), ("liver", 2), (OUTSIDE, 3))]
    with pytest.raises(BundleError, match="two segments have the same name") as caught:
        look([1, 2, 3, 0], label_info=rows)
    assert caught.value.found == "segment 1: liver, segment 2: liver"


def test_a_panel_does_not_mind_what_other_segments_are_called(look):
    request = panel("spleen", "liver", "liver")
    assert look([3, 4, 4, 0], **request).selected == "spleen"


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
    studies.submit("b", [6, 5, 0, 0], spleen=6, pancreas=5)
    assert read_task(studies, tmp_path / "work").classes == {"spleen": 6, "pancreas": 5}, "a segment was renamed"
    studies.submit("a", [0, 1, 2, 3], spleen=1, pancreas=2, **{OUTSIDE: 3})
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
