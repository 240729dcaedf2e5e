"""What inference begins with: CT by HU, MR as the cohort's preparation brings it to standard units."""

import logging

import numpy as np
import torch
from monai.data import MetaTensor

from scripts.data.intensity import normalise_hu
from scripts.data.mr.body import WHOLE_FIELD
from scripts.data.mr.normalise_volume import NormaliseVolumed
from scripts.data.mr.standard_units import in_standard_units
from scripts.data.volume_io import Volume
from tests.data.mr.test_standard_units import AFFINE, noisy, torso


def test_ct_by_hu_and_mr_by_its_body():
    values = noisy(torso()[1])
    image = MetaTensor(torch.from_numpy(values)[None], affine=torch.from_numpy(AFFINE))
    as_ct = NormaliseVolumed("image", "ct")({"image": image})["image"]
    assert np.array_equal(as_ct.numpy()[0], normalise_hu(values))
    as_mr = NormaliseVolumed("image", "mr", bias_correction=False)({"image": image})["image"]
    standard = in_standard_units(Volume(values, AFFINE), False)
    assert np.array_equal(as_mr.numpy()[0], normalise_hu(standard.array))
    assert torch.equal(as_mr.affine, image.affine)


def test_the_user_is_told_where_the_whole_field_is_taken_for_body(caplog):
    values = np.random.default_rng(0).normal(200, 10, (1, *noisy(torso()[1]).shape)).astype(np.float32)
    image = MetaTensor(torch.from_numpy(values), affine=torch.from_numpy(AFFINE), meta={"filename_or_obj": "m1.nii.gz"})
    with caplog.at_level(logging.WARNING):
        NormaliseVolumed("image", "mr", bias_correction=False)({"image": image})
    assert f"m1.nii.gz: {WHOLE_FIELD}" in caplog.text
