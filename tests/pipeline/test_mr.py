"""A run on MR as the command line starts it: one that needs no training."""

import json

import nibabel as nib
import numpy as np
import pytest

from bundle.command_line import main
from bundle.pipeline.pipeline import Pipeline
from scripts.common.errors import BundleError
from scripts.networks.anatomy_net import AnatomyNet
from scripts.networks.model_files import write_model
from tests.pipeline_fixtures import AFFINE, make_cohort, save, settings

SHAPE = (40, 36, 12)


@pytest.fixture
def folder(tmp_path):
    """A cohort of magnitudes: fat around muscle around two bright organs, which the strokes mark."""
    folder = make_cohort(tmp_path)
    x, y, z = np.meshgrid(*(np.arange(size) - (size - 1) / 2 for size in SHAPE), indexing="ij")
    radius = np.hypot(x / 16, y / 14)
    image = np.select([radius < 0.8, radius < 1], [150.0, 60.0], 0.0)
    scribbles = np.zeros(SHAPE, np.uint8)
    for value, side in ((1, -6), (6, 6)):
        near = np.hypot(x - side, y) + np.abs(z)
        image[near < 5] = 400
        scribbles[(near < 4) & (np.abs(y) < 1)] = value  # lines, two voxels thick
    scribbles[(np.abs(y) > 10) & (radius < 0.95) & (np.abs(z) < 1) & (np.abs(x) < 3)] = 14
    for number in range(3):
        noise = np.random.default_rng(number).normal(0, 4, (2, *SHAPE))
        magnitude = np.rint(np.hypot(image + noise[0], noise[1])).astype(np.int16)
        save(folder / "images" / f"case_{number}.nii.gz", magnitude)
    save(folder / "scribbles.nii.gz", scribbles)
    return folder


def options(folder):
    places = ("--images", folder / "images", "--support", folder / "images" / "case_0.nii.gz")
    strokes = ("--scribbles", folder / "scribbles.nii.gz", "--classes", "spleen:1,liver:6", "--background", "14")
    return [str(part) for part in (*places, *strokes, "--output", folder / "out")]


def test_a_support_mask_grows_in_mr_and_the_report_says_mr(folder, capsys):
    main(["support-mask", *options(folder), "--small"])
    assert "modality: MR" in capsys.readouterr().out
    mask = nib.load(folder / "out" / "support_mask" / "case_0.nii.gz")
    image = nib.load(folder / "images" / "case_0.nii.gz")
    assert np.array_equal(mask.affine, AFFINE) and mask.shape == image.shape
    bright, organs = image.get_fdata() > 300, mask.get_fdata() > 0
    assert 2 * (bright & organs).sum() / (bright.sum() + organs.sum()) > 0.9
    page = (folder / "out" / "report" / "index.html").read_text(encoding="utf-8")
    assert "MR: intensities scaled by percentiles inside the body, bias field divided out" in page
    assert " HU" not in page
    assert json.loads((folder / "out" / "cohort.json").read_text(encoding="utf-8"))["modality"] == "mr"
    assert json.loads((folder / "out" / "run.json").read_text(encoding="utf-8"))["modality"] == "auto"


def test_weights_of_ct_are_refused_for_mr_and_those_of_mr_say_whether_a_bias_field_is_divided_out(folder):
    weights = folder / "weights"
    card = {"widths": [2, 4, 4, 4, 4], "channels": 6, "window_size": [32, 32, 16], "spacing_mm": [8.0, 8.0, 8.0]}
    write_model(weights / "embedding", AnatomyNet([2, 4, 4, 4, 4], 6, 6), card)
    chosen = settings(folder, mode="default", weights=weights)
    with pytest.raises(BundleError, match="the embedding weights were trained on CT, and the volumes are MR"):
        Pipeline(chosen)
    write_model(
        weights / "embedding", AnatomyNet([2, 4, 4, 4, 4], 6, 6), card | {"modality": "mr", "bias_correction": False}
    )
    cohort = Pipeline(chosen).cohort
    assert cohort.modality == "mr" and cohort.bias_correction is False
