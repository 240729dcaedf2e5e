import numpy as np
import pytest

from scripts.common.files import in_c_order, in_file_order

VOLUME = np.arange(70 * 3 * 40, dtype=np.int16).reshape(70, 3, 40)
AS_STORED = {
    "file order": np.asfortranarray(VOLUME),
    "own order": VOLUME,
    "reversed": np.asfortranarray(VOLUME[::-1, :, ::-1])[::-1, :, ::-1],
    "a part of a larger one": np.asfortranarray(np.pad(VOLUME, 1))[1:-1, 1:-1, 1:-1],
}


@pytest.mark.parametrize("stored", AS_STORED.values(), ids=AS_STORED.keys())
def test_the_order_in_memory_changes_and_no_voxel(stored):
    ordered = in_c_order(stored)
    assert ordered.flags.c_contiguous and np.array_equal(ordered, VOLUME)
    assert in_c_order(stored, np.float32).dtype == np.float32
    assert in_file_order(stored).flags.f_contiguous and np.array_equal(in_file_order(stored), VOLUME)


def test_what_is_in_order_is_not_copied():
    assert in_c_order(VOLUME) is VOLUME and in_file_order(AS_STORED["file order"]) is AS_STORED["file order"]


def test_other_dimensions():
    probabilities = np.asfortranarray(np.arange(120.0).reshape(2, 3, 4, 5))
    assert in_c_order(probabilities).flags.c_contiguous and np.array_equal(in_c_order(probabilities), probabilities)
