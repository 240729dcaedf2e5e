"""One verdict a volume, and how verdicts are told."""

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.data.gate.admission import admit, left_out_lines, verdict_lines
from tests.data.gate.bodies import chest

AFFINE = np.diag([3.0, 3.0, 5.0, 1.0])


def save(path, array):
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def test_verdicts_on_files(tmp_path):
    assert admit(save(tmp_path / "good.nii.gz", chest().astype(np.int16))).remarks == ()
    (remark,) = admit(save(tmp_path / "cut.nii.gz", np.maximum(chest(), 0).astype(np.int16))).remarks
    assert "like those of MR" in remark and "look at its label map" in remark
    with pytest.raises(BundleError, match="water lies near 1024") as caught:
        admit(save(tmp_path / "raw.nii.gz", (chest() + 1024).astype(np.int16)))
    assert "subtract 1024" in caught.value.expected and caught.value.found.startswith("values from 0 to")


@pytest.mark.parametrize("name", ["abd_1_seg", "abd_1-label", "abd_1_Scribbles"])
def test_the_name_of_a_label_map_helps(tmp_path, name):
    with pytest.raises(BundleError, match="this is a label map or scribbles") as caught:
        admit(save(tmp_path / f"{name}.nii.gz", (chest() > 0).astype(np.uint8)))
    assert caught.value.found == "values from 0 to 1, by its name of abd_1"


def test_cases_with_the_same_verdict_share_a_line():
    assert verdict_lines({"a": ["odd", "late"], "b": ["odd"]}) == ["a, b: odd", "a: late"]
    (line,) = verdict_lines({str(n): ["odd"] for n in range(12)})
    assert line == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more: odd"
    labels = [BundleError("a label map", expected="move it", found=n, case=name) for n, name in enumerate("ab")]
    assert left_out_lines(dict(zip("ab", labels, strict=True))) == ["left out: a, b: a label map; expected: move it"]
    assert left_out_lines({"a": labels[0]}) == [f"left out: {labels[0]}"]
