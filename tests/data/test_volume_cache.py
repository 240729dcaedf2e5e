"""A source that changes while it is being cached."""

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.data import volume_cache
from scripts.data.cache_cohort import find_or_read
from scripts.data.volume_cache import VolumeCache, fingerprint

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def write(file, tissue_hu):
    array = np.random.default_rng(0).integers(-1010, -990, (24, 24, 20)).astype(np.int16)
    array[6:18, 6:18] += tissue_hu + 1000
    nib.save(nib.Nifti1Image(array, AFFINE), file)


@pytest.fixture
def source(tmp_path):
    write(tmp_path / "a.nii.gz", 40)
    return tmp_path / "a.nii.gz"


@pytest.fixture
def cache(tmp_path):
    return VolumeCache(tmp_path / "out", (4.0, 4.0, 4.0))


def stored(cache, source):
    present = find_or_read(cache, "a", source)
    return cache.stored(cache.described("a", source, present), present)


@pytest.mark.parametrize("moment", ["admit", "image_fingerprint"])
def test_one_that_changed_while_it_was_read_is_told(cache, source, monkeypatch, moment):
    module = volume_cache if moment == "image_fingerprint" else __import__("scripts.data.cache_cohort", fromlist=["x"])
    done = getattr(module, moment)

    def slowly(*arguments):
        result = done(*arguments)
        write(source, 140)
        return result

    monkeypatch.setattr(module, moment, slowly)
    with pytest.raises(BundleError, match="the volume changed while it was read") as caught:
        stored(cache, source)
    assert (caught.value.case, caught.value.file) == ("a", str(source))
    assert cache.find("a", source) is None


def test_one_that_changed_while_it_was_cached_is_cached_again(cache, source, monkeypatch):
    written = volume_cache.write_nifti

    def slowly(*arguments):
        written(*arguments)
        write(source, 140)

    monkeypatch.setattr(volume_cache, "write_nifti", slowly)
    before = stored(cache, source)
    monkeypatch.undo()
    assert cache.is_touched(before.case) and cache.find("a", source) is None
    after = stored(cache, source)
    assert after.case.sha256 == fingerprint(source) != before.case.sha256
    assert cache.find("a", source) == after
