import logging

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.common.work_folder import LabelFolder
from scripts.segmentation.inference_verdicts import InferenceVerdicts
from scripts.segmentation.items import admit_volumes
from tests.segmentation_fixtures import LAS, phantom


@pytest.fixture
def volumes(tmp_path):
    """A good volume, one like MR, one without its intercept, a broken link."""
    hu, _ = phantom(0)
    arrays = {"good": hu, "mr": np.maximum(hu, 0), "raw": hu + 1024}
    for name, array in arrays.items():
        nib.save(nib.Nifti1Image(array, LAS), tmp_path / f"{name}.nii.gz")
    (tmp_path / "gone.nii.gz").symlink_to(tmp_path / "nowhere")
    return {name: tmp_path / f"{name}.nii.gz" for name in (*arrays, "gone")}


def test_what_cannot_be_read_or_used_is_left_out_and_told_again(volumes, tmp_path, caplog):
    labels, first = LabelFolder(tmp_path / "out"), InferenceVerdicts({}, {})
    readable = first.readable(volumes)
    assert list(readable) == ["good", "mr", "raw"] and list(first.left_out) == ["gone"]
    admitted = admit_volumes({case: volumes[case] for case in readable}, labels.path)
    assert [item["case"] for item in admitted.items] == ["good", "mr"]
    first.add(admitted)
    first.write(labels, volumes)
    assert read_json(labels.path / "verdicts")["rejected"]["raw"]["remedy"].endswith("or subtract 1024")
    write_json(labels.record("good"), {"case": "good", "warnings": ["the label map is empty"]})

    second = InferenceVerdicts({}, {})
    second.recall(labels, {"good", "mr"})
    assert second.warnings == first.warnings and list(second.warnings) == ["mr"]
    with caplog.at_level(logging.INFO):
        second.tell(labels, ["good", "mr"])
    assert "good: the label map is empty" in caplog.text and "mr: the values are no Hounsfield units" in caplog.text
    assert f"2 label maps in {labels.path}; 0 volumes left out" in caplog.text


def test_one_volume_is_told_as_one(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    verdicts = InferenceVerdicts({}, {"bad": BundleError("it is empty", expected="a volume")})
    verdicts.tell(LabelFolder(tmp_path), ["good"])
    assert f"1 label map in {tmp_path}; 1 volume left out" in caplog.text


def test_a_verdict_of_a_volume_that_is_read_again_is_not_taken_over(volumes, tmp_path):
    labels = LabelFolder(tmp_path)
    InferenceVerdicts({"mr": ("odd",), "good": ("late",)}, {}).write(labels, volumes)
    verdicts = InferenceVerdicts({}, {})
    verdicts.recall(labels, {"good"})
    assert verdicts.warnings == {"good": ("late",)}
    (tmp_path / "verdicts").write_text("{}")
    verdicts.recall(labels, {"mr"})
    assert verdicts.warnings == {"good": ("late",)}
