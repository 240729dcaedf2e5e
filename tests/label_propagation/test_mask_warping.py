"""Bodies with oracle embeddings; what their images show is moved further than what the cells say."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from scripts.data.cached_volume import CachedVolume
from scripts.embedding.dense_embedding import DenseEmbedding
from scripts.label_propagation.atlas import Atlas
from scripts.label_propagation.label_transfer import TransferSettings
from scripts.label_propagation.mask_warping import warped_mask
from scripts.label_propagation.prediction import propagate_labels
from scripts.registration.body import body_of
from scripts.registration.deformable import RegistrationSettings
from scripts.registration.robust_affine import AffineMap
from tests.embedding_fixtures import CENTRES_MM, SHAPE, SHIFT_MM, SPACING_MM, dice, oracle, shares, shift_map

AFFINE = np.diag([*SPACING_MM, 1.0])
OFF_MM = np.array([3.0, -3.0, 2.0])  # what the cells do not know
BY_CELLS = {"registration_half_steps": 0, "registration_steps": 0, "registration_fine_steps": 0}


def volume(shift_mm):
    """A textured body, moved."""
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=SHAPE), 2.0)
    image = ndimage.shift(noise / noise.std(), -np.asarray(shift_mm) / SPACING_MM, order=1, mode="nearest")
    return CachedVolume(torch.from_numpy(image.astype(np.float32))[None], torch.ones(SHAPE, dtype=torch.bool), AFFINE)


SUPPORT = Atlas(volume(np.zeros(3)), oracle(lambda places: places), shares(CENTRES_MM))
QUERY = volume(SHIFT_MM + OFF_MM), oracle(lambda places: places + SHIFT_MM)
TRUTH = shares(CENTRES_MM - SHIFT_MM - OFF_MM)
FLAT = CachedVolume(torch.zeros(1, *SHAPE), torch.ones(SHAPE, dtype=torch.bool), AFFINE)


def transfer(registration=None, **changes):
    return TransferSettings(
        transfer_temperature=0.02, registration=RegistrationSettings(**registration or {}), **changes
    )


def warped(error_mm=(0.0, 0.0, 0.0), probabilities=TRUTH[1:], settings=None, to_support=None):
    to_support = to_support or shift_map(SHIFT_MM, error_mm)
    return warped_mask(SUPPORT, QUERY[0], QUERY[1].embedding, probabilities, to_support, settings or transfer())


@pytest.mark.parametrize("error_mm", [(0.0, 0.0, 0.0), (12.0, -12.0, 8.0)])
def test_a_mask_arrives_where_the_images_say(error_mm):
    by_images, by_cells = warped(error_mm), warped(error_mm, settings=transfer(BY_CELLS))
    assert by_images.sum(axis=0) == pytest.approx(1, abs=1e-5)
    for channel in (1, 2):
        assert dice(by_images[channel] > 0.5, TRUTH[channel] > 0.5) > 0.95
        assert 0.8 < dice(by_cells[channel] > 0.5, TRUTH[channel] > 0.5) < 0.95, "the cells alone are off by OFF_MM"


def test_background_outside_the_body():
    body = torch.ones(SHAPE, dtype=torch.bool)
    body[:, :, 20:] = False
    cut = CachedVolume(QUERY[0].image, body, AFFINE)
    mask = warped_mask(SUPPORT, cut, QUERY[1].embedding, TRUTH[1:], shift_map(SHIFT_MM), transfer())
    assert (mask[0, :, :, 20:] == 1).all() and not mask[1:, :, :, 20:].any()
    assert dice(mask[1, :, :, :20] > 0.5, TRUTH[1, :, :, :20] > 0.5) > 0.95


def test_a_map_that_turns_and_scales():
    """Displacements are in the support's axes and needed in the query's."""
    turn = np.array([[0.0, -1.1, 0.0], [0.9, 0.0, 0.0], [0.0, 0.0, 1.0]])
    middle_mm = CENTRES_MM.mean(axis=0)
    right = AffineMap(turn, middle_mm - turn @ middle_mm)
    astray = AffineMap(turn, right.shift_mm + np.array([10.0, 0.0, 0.0]))
    voxels = np.stack(np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij"), axis=-1) * SPACING_MM
    truth = np.linalg.norm(right(voxels) - middle_mm, axis=-1) <= 30.0
    atlas = Atlas(FLAT, SUPPORT.body, shares(np.stack([middle_mm, middle_mm + 1000.0])))
    near = np.stack([truth, np.zeros(SHAPE)]).astype(np.float32)
    mask = warped_mask(atlas, FLAT, oracle(right).embedding, near, astray, transfer(BY_CELLS))
    assert dice(mask[1] > 0.5, truth) > 0.9


def test_a_volume_of_one_cell():
    """All its matches share a coordinate: the map has no way along that axis."""
    flat = AffineMap(np.diag([1.0, 1.0, 0.0]), np.zeros(3))
    body = torch.ones((*SHAPE[:2], 2), dtype=torch.bool)
    image = CachedVolume(SUPPORT.volume.image[..., :2], body, AFFINE)
    levels = {name: cells[..., :1] for name, cells in SUPPORT.body.embedding.levels.items()}
    thin = body_of(DenseEmbedding(levels, SUPPORT.body.embedding.spacing_mm), body)
    atlas = Atlas(image, thin, shares(CENTRES_MM)[..., 8:10])
    mask = warped_mask(atlas, image, thin.embedding, atlas.shares[1:], flat, transfer())
    assert mask.shape == atlas.shares.shape and np.isfinite(mask).all()


def test_background_where_no_class_is_likely():
    nothing = warped(probabilities=np.zeros_like(TRUTH[1:]))
    assert (nothing[0] == 1).all() and not nothing[1:].any()
    one = warped(probabilities=np.stack([TRUTH[1], np.zeros(SHAPE)]))
    assert dice(one[1] > 0.5, TRUTH[1] > 0.5) > 0.95


def test_a_mask_is_warped_around_likely_voxels_only_as_far_as_the_margin():
    """One voxel is likely; with margins of 8 mm the mask has 5 voxels of 4 mm along each axis."""
    near = np.zeros_like(TRUTH[1:])
    near[0, 13, 20, 21] = 0.3
    mask = warped(probabilities=near, settings=transfer(BY_CELLS, warp_margin_mm=8.0))
    assert mask[1, 11:16, 18:23, 19:24].min() > 0.9 and mask[1:].sum() == pytest.approx(125, abs=2)
    unlikely = warped(probabilities=near, settings=transfer(BY_CELLS, warp_probability=0.3))
    assert not unlikely[1:].any(), "above the limit, not at it"


def test_an_organ_that_the_scan_cuts_off_is_warped_up_to_the_cut():
    """The support's scan begins inside the organ; the query lies half a voxel further down."""
    organ = np.zeros((2, *SHAPE), dtype=np.float32)
    organ[1, :, :, :6] = 1.0
    organ[0] = 1 - organ[1]
    half = np.array([0.0, 0.0, -0.5 * SPACING_MM[2]])
    query = oracle(lambda places: places + half).embedding
    mask = warped_mask(Atlas(FLAT, SUPPORT.body, organ), FLAT, query, organ[1:], shift_map(half), transfer(BY_CELLS))
    assert (mask[1, 20:-20, 20:-20, 0] > 0.99).all()


def test_a_prediction_is_the_mean_of_cells_and_warped_mask():
    def predicted(share):
        settings = TransferSettings(transfer_temperature=0.2, warped_share=share)
        return propagate_labels(SUPPORT, *QUERY, shift_map(SHIFT_MM), settings)

    cells, mask, both = predicted(0.0), predicted(1.0), predicted(0.5)
    assert both.probabilities == pytest.approx((cells.probabilities + mask.probabilities) / 2, abs=1e-5)
    assert torch.equal(cells.cells, mask.cells), "what is sent back to the support"
    mask_error, cells_error = (np.abs(one.probabilities - TRUTH).mean() for one in (mask, cells))
    assert mask_error < 0.5 * cells_error, "it keeps the shape"
