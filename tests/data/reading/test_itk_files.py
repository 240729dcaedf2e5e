import numpy as np
import pytest
import SimpleITK as sitk

from scripts.common.errors import BundleError
from scripts.data.volume_io import read_volume

SHAPE = (12, 10, 8)


def write_nrrd(path, space):
    """An NRRD of 4 x 3 x 5 mm whose header names a space, None for none."""
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    image = sitk.GetImageFromArray(array.transpose())
    image.SetSpacing((4.0, 3.0, 5.0))
    image.SetOrigin((7.0, 20.0, 11.0))
    sitk.WriteImage(image, str(path))
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    named = b"space: left-posterior-superior"
    head = head.replace(named, b"space dimension: 3" if space is None else b"space: " + space.encode())
    path.write_bytes(head + b"\n\n" + voxels)
    return path


@pytest.mark.parametrize(
    ("space", "corner_mm"),
    [
        ("left-posterior-superior", (-7, -20, 11)),
        ("right-anterior-superior", (7, 20, 11)),
        ("left-anterior-superior", (-7, 20, 11)),
    ],
)
def test_a_header_s_space_says_where_left_and_front_are(tmp_path, space, corner_mm):
    volume = read_volume(write_nrrd(tmp_path / "a.nrrd", space))
    np.testing.assert_allclose(volume.affine[:3, 3], corner_mm)


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "3D-left-handed", None])
def test_a_space_without_left_and_right_is_refused(tmp_path, space):
    with pytest.raises(BundleError, match="does not say where left and right are") as caught:
        read_volume(write_nrrd(tmp_path / "a.nrrd", space))
    assert caught.value.found == (space or "no space")
