from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.pseudo_labels.settings import GeodesicSettings
from scripts.pseudo_labels.support_mask import grow_support_mask
from tests.prnet_fixtures import CLASSES, make_cohort, phantom


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("support_mask"))


def test_whole_organs_grow_from_their_strokes(cohort):
    file = grow_support_mask(cohort, cohort.output_dir, GeodesicSettings())
    label, hu = np.asarray(nib.load(file).dataobj), phantom(0)
    for value, organ_hu in zip(CLASSES.values(), (120, 190), strict=True):
        found, organ = label == value, hu == organ_hu
        assert 2 * (found & organ).sum() / (found.sum() + organ.sum()) > 0.9
    before = file.stat().st_mtime_ns
    assert grow_support_mask(cohort, cohort.output_dir, GeodesicSettings()).stat().st_mtime_ns == before


def test_no_scribbles(cohort, tmp_path):
    with pytest.raises(BundleError, match="needs a support with scribbles"):
        grow_support_mask(replace(cohort, scribbles=None), tmp_path)
