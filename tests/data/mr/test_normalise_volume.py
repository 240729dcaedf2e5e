"""What inference begins with: CT by HU, MR as the cohort's preparation brings it to standard units."""

import numpy as np
import torch
from monai.data import MetaTensor

from scripts.data.intensity import normalise_hu
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
