"""The slices that show a proposed volume."""

import numpy as np

from bundle.report.volumes import RasVolume
from bundle.suggest.page import middle_of_body


def volume(shape, spacing_mm):
    """An empty one whose first voxel centre is at 100, 200, 300 mm."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = 100, 200, 300
    return RasVolume(np.zeros(shape, np.int16), affine)


def test_slices_go_through_the_middle_of_a_body_that_lies_off_centre():
    image = volume((40, 60, 20), (2.0, 1.0, 4.0))
    body = np.zeros((20, 15, 20), bool)  # of 4 mm, turned against the image
    body[4:9, 1:4, 10:15] = True  # middle 6, 2, 12
    affine = np.array([[-4.0, 0, 0, 176], [0, 4, 0, 200], [0, 0, 4, 300], [0, 0, 0, 1]])
    # At 152, 208, 348 mm.
    np.testing.assert_allclose(middle_of_body(body, affine, image), (26, 8, 12))


def test_without_a_body_slices_go_through_the_middle_of_the_image():
    image = volume((9, 7, 5), (1.0, 1.0, 1.0))
    assert middle_of_body(np.zeros((3, 3, 3), bool), np.eye(4), image).tolist() == [4, 3, 2]
