"""What an uploaded file may be, without a server."""

import io

import pytest
import SimpleITK as sitk

from bundle.monai_label.gate.uploads import check_upload
from scripts.common.errors import BundleError
from scripts.data.volume_io import read_labels

FIELDS = (
    *("NRRD0004", "type: unsigned char", "dimension: 3", "space: left-posterior-superior", "sizes: 8 9 10"),
    *("space directions: (3,0,0) (0,3,0) (0,0,4)", "space origin: (0,0,0)", "encoding: raw"),
)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_header_that_names_a_file_of_the_server_is_refused_whatever_ends_its_lines(tmp_path, end):
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(range(240)) * 3)
    header = tmp_path / "x.nrrd"
    header.write_bytes(end.join([*FIELDS, f"data file: {secret}", ""]).encode() + b"\n\n")
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(header))).ravel().tolist() == list(range(240)) * 3
    with pytest.raises(BundleError, match="voxels lie in another file"):
        check_upload("x.nrrd", io.BytesIO(header.read_bytes()), read_labels)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_header_with_its_voxels_is_taken(end):
    content = end.join([*FIELDS, "", ""]).encode() + bytes(range(240)) * 3
    assert check_upload("Müller.NRRD", io.BytesIO(content), read_labels) == "upload.nrrd"
