"""Bodies with oracle embeddings; what their images show is moved further than what the cells say."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from scripts.common.errors import BundleError
from scripts.common.files import write_nifti
from scripts.data.cached_volume import CachedVolume
from scripts.embedding.dense_embedding import DenseEmbedding
from scripts.label_propagation.atlas import Atlas, ask, read_atlas
from scripts.label_propagation.label_transfer import TransferSettings
from scripts.label_propagation.mask_warping import warped_mask
from scripts.registration.deformable import RegistrationSettings
from scripts.registration.robust_affine import AffineMap
from tests.label_propagation.test_label_transfer import CENTRES_MM, SHIFT_MM, balls, one_hot, shift_map
from tests.registration.test_embedding_matching import SHAPE, SPACING_MM, oracle

AFFINE = np.diag([*SPACING_MM, 1.0])
OFF_MM = np.array([3.0, -3.0, 2.0])  # what the cells do not know


def volume(shift_mm):
    """A textured body, moved."""
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=SHAPE), 2.0)
    image = ndimage.shift(noise / noise.std(), -np.asarray(shift_mm) / SPACING_MM, order=1, mode="nearest")
    return CachedVolume(torch.from_numpy(image.astype(np.float32))[None], torch.ones(SHAPE, dtype=torch.bool), AFFINE)


def shares(centres_mm):
    found = one_hot(balls(centres_mm)).astype(np.float32)
    return np.concatenate([1 - found.sum(axis=0, keepdims=True), found])


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


SUPPORT = volume(np.zeros(3)), oracle(lambda places: places)
QUERY = volume(SHIFT_MM + OFF_MM), oracle(lambda places: places + SHIFT_MM)
TRUTH = shares(CENTRES_MM - SHIFT_MM - OFF_MM)


def warped(error_mm=(0.0, 0.0, 0.0), known=None, heard=None, **registration):
    settings = TransferSettings(temperature=0.02, registration=RegistrationSettings(**registration))
    sides = ((SUPPORT[0], SUPPORT[1].embedding), (QUERY[0], QUERY[1].embedding))
    known = shares(CENTRES_MM) if known is None else known
    heard = TRUTH[1:] if heard is None else heard
    return warped_mask(sides[0], known, sides[1], heard, shift_map(SHIFT_MM, error_mm), SPACING_MM, settings)


@pytest.mark.parametrize("error_mm", [(0.0, 0.0, 0.0), (12.0, -12.0, 8.0)])
def test_a_region_arrives_where_the_images_say(error_mm):
    found, by_cells = warped(error_mm), warped(error_mm, half_steps=0, steps=0)
    assert found.sum(axis=0) == pytest.approx(1, abs=1e-5)
    for channel in (1, 2):
        assert dice(found[channel] > 0.5, TRUTH[channel] > 0.5) > 0.95
        assert 0.8 < dice(by_cells[channel] > 0.5, TRUTH[channel] > 0.5) < 0.95, "the cells alone are off by OFF_MM"


def test_background_outside_the_body():
    body = torch.ones(SHAPE, dtype=torch.bool)
    body[:, :, 20:] = False
    query = CachedVolume(QUERY[0].image, body, AFFINE), QUERY[1].embedding
    settings = TransferSettings(temperature=0.02)
    known = SUPPORT[0], SUPPORT[1].embedding
    found = warped_mask(known, shares(CENTRES_MM), query, TRUTH[1:], shift_map(SHIFT_MM), SPACING_MM, settings)
    assert (found[0, :, :, 20:] == 1).all() and not found[1:, :, :, 20:].any()
    assert dice(found[1, :, :, :20] > 0.5, TRUTH[1, :, :, :20] > 0.5) > 0.95


def test_a_map_that_turns_and_scales():
    """What the cells say is said in the support's axes and needed in the query's."""
    turn = np.array([[0.0, -1.1, 0.0], [0.9, 0.0, 0.0], [0.0, 0.0, 1.0]])
    middle_mm = CENTRES_MM.mean(axis=0)

    def to_support(places_mm):
        return (places_mm - middle_mm) @ turn.T + middle_mm

    error_mm = np.array([10.0, 0.0, 0.0])
    places = np.zeros((1, 3))
    astray = AffineMap(turn, middle_mm - turn @ middle_mm + error_mm, places, places, np.zeros(1), None)
    one_mm = np.stack([middle_mm, middle_mm + 1000.0])
    one = shares(one_mm)
    voxels = np.stack(np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij"), axis=-1) * SPACING_MM
    truth = np.linalg.norm(to_support(voxels) - middle_mm, axis=-1) <= 30.0
    flat = CachedVolume(torch.zeros(1, *SHAPE), torch.ones(SHAPE, dtype=torch.bool), AFFINE)
    query = oracle(to_support).embedding
    settings = TransferSettings(temperature=0.02, registration=RegistrationSettings(half_steps=0, steps=0))
    heard = np.stack([truth, np.zeros(SHAPE)]).astype(np.float32)
    found = warped_mask((flat, SUPPORT[1].embedding), one, (flat, query), heard, astray, SPACING_MM, settings)
    assert dice(found[1] > 0.5, truth) > 0.9


def test_a_volume_of_one_cell():
    """All its matches share a coordinate: the map has no way along that axis."""
    flat = AffineMap(np.diag([1.0, 1.0, 0.0]), np.zeros(3), np.zeros((1, 3)), np.zeros((1, 3)), np.zeros(1), None)
    thin = (*SHAPE[:2], 2)
    image = CachedVolume(SUPPORT[0].image[..., :2], torch.ones(thin, dtype=torch.bool), AFFINE)
    levels = {name: cells[..., :1] for name, cells in SUPPORT[1].embedding.levels.items()}
    side = image, DenseEmbedding(levels, thin)
    known = shares(CENTRES_MM)[..., 8:10]
    found = warped_mask(side, known, side, known[1:], flat, SPACING_MM, TransferSettings(temperature=0.02))
    assert found.shape == known.shape and np.isfinite(found).all()


def test_background_where_nothing_is_heard():
    nothing = warped(heard=np.zeros_like(TRUTH[1:]))
    assert (nothing[0] == 1).all() and not nothing[1:].any()
    one = warped(heard=np.stack([TRUTH[1], np.zeros(SHAPE)]))
    assert dice(one[1] > 0.5, TRUTH[1] > 0.5) > 0.95


def test_an_organ_that_the_scan_cuts_off_is_carried_up_to_the_cut():
    """The support's scan begins inside the organ; the query lies half a voxel further down."""
    known = np.zeros((2, *SHAPE), dtype=np.float32)
    known[1, :, :, :6] = 1.0
    known[0] = 1 - known[1]
    half = np.array([0.0, 0.0, -0.5 * SPACING_MM[2]])
    flat = CachedVolume(torch.zeros(1, *SHAPE), torch.ones(SHAPE, dtype=torch.bool), AFFINE)
    sides = ((flat, SUPPORT[1].embedding), (flat, oracle(lambda places: places + half).embedding))
    settings = TransferSettings(temperature=0.02, registration=RegistrationSettings(half_steps=0, steps=0))
    found = warped_mask(sides[0], known, sides[1], known[1:], shift_map(half), SPACING_MM, settings)
    assert (found[1, 20:-20, 20:-20, 0] > 0.99).all()


def test_an_answer_is_the_mean_of_cells_and_carried_region():
    atlas = Atlas(*SUPPORT, shares(CENTRES_MM))

    def said(share):
        settings = TransferSettings(temperature=0.2, warped_share=share)
        return ask(atlas, *QUERY, shift_map(SHIFT_MM), SPACING_MM, settings)

    cells, warped, both = said(0.0), said(1.0), said(0.5)
    assert both.probabilities == pytest.approx((cells.probabilities + warped.probabilities) / 2, abs=1e-5)
    assert torch.equal(cells.cells, warped.cells), "what is sent back to the support"
    assert np.abs(warped.probabilities - TRUTH).mean() < 0.5 * np.abs(cells.probabilities - TRUTH).mean(), (
        "it keeps the shape"
    )


def test_a_voter_is_read_from_a_label_map_on_another_grid(tmp_path):
    fine = np.zeros([2 * size for size in SHAPE], dtype=np.uint8)
    fine[:8, :8, :8], fine[8:16, :8, :8] = 5, 9
    affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = -0.25 * SPACING_MM
    write_nifti(tmp_path / "label.nii.gz", fine, affine)
    atlas = read_atlas(tmp_path / "label.nii.gz", *SUPPORT, [3, 5])
    assert atlas.one_hot.shape == (3, *SHAPE) and (atlas.one_hot.sum(axis=0) == 1).all()
    assert atlas.one_hot[2].sum() == 4**3 and not atlas.one_hot[1].any(), "9 is no class: background"
    assert atlas.fractions[2].sum() == 2**3


@pytest.mark.parametrize("slice_share", [0.3, 1.5])
def test_a_label_map_goes_up_to_the_cut(tmp_path, slice_share):
    """Slices thinner or thicker than the working ones; both grids have one middle, the outermost centres differ."""
    count = round(SHAPE[2] / slice_share)
    affine = AFFINE @ np.diag([1.0, 1.0, slice_share, 1.0])
    affine[2, 3] = ((SHAPE[2] - 1) - (count - 1) * slice_share) / 2 * SPACING_MM[2]
    write_nifti(tmp_path / "label.nii.gz", np.full((*SHAPE[:2], count), 3, dtype=np.uint8), affine)
    known = read_atlas(tmp_path / "label.nii.gz", *SUPPORT, [3, 5]).one_hot[1]
    assert known[:, :, 1:-1].all() and known[:, :, [0, -1]].all()


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_between_0_and_1(share):
    with pytest.raises(BundleError, match="carried_share is a share"):
        TransferSettings(warped_share=share)
