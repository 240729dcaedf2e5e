import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool3d

from scripts.common.errors import BundleError
from scripts.embedding.dense_embedding import DenseEmbedding, WindowSettings, embed_volume
from scripts.networks.anatomy_net import STRIDES

SPACING_MM = (1.0, 2.0, 4.0)
EXACT = WindowSettings(bfloat16=False)


class Angles(nn.Module):
    """A network without context: each cell's vector is the angle of its mean intensity."""

    def __init__(self):
        super().__init__()
        self.windows = []

    def forward(self, windows):
        self.windows.append(tuple(windows.shape))
        means = {level: avg_pool3d(windows, stride) for level, stride in STRIDES.items()}
        return {level: torch.cat([mean.cos(), mean.sin()], dim=1) for level, mean in means.items()}


@pytest.mark.parametrize("shape", [(80, 48, 37), (20, 32, 32)])
def test_windows_are_stitched_without_a_seam(shape):
    network, image = Angles(), torch.rand(1, *shape)
    embedding = embed_volume(network, image, SPACING_MM, (32, 32, 32), EXACT, batch_size=3)
    assert {window[2:] for window in network.windows} == {(32, 32, 32)}, "windows are those of the training"
    for level, stride in STRIDES.items():
        whole = [size // stride for size in shape]
        mean = avg_pool3d(image, stride)
        x, y, z = whole
        inside = embedding.levels[level][:, :x, :y, :z]
        torch.testing.assert_close(inside, torch.cat([mean.cos(), mean.sin()]), atol=1e-5, rtol=0)
        assert all(cells * stride >= size for cells, size in zip(embedding.levels[level].shape[1:], shape, strict=True))


def test_windows_without_a_body_are_left_out():
    network, image = Angles(), torch.zeros(1, 128, 32, 32)
    image[:, :24] = torch.rand(1, 24, 32, 32)
    embedding = embed_volume(network, image, SPACING_MM, (32, 32, 32), EXACT, batch_size=1)
    assert len(network.windows) == 2, "of seven: those that begin at 0 and at 16"
    fine = avg_pool3d(image, STRIDES["fine"])[:, :12]
    torch.testing.assert_close(embedding.levels["fine"][:, :12], torch.cat([fine.cos(), fine.sin()]), atol=1e-5, rtol=0)
    assert not embedding.levels["fine"][:, 24:].any()
    nothing = embed_volume(network, image * 0, SPACING_MM, (32, 32, 32), EXACT, batch_size=1)
    assert nothing.levels["fine"].shape == embedding.levels["fine"].shape


def test_a_look_up_at_a_cell_s_centre():
    fine = torch.nn.functional.normalize(torch.rand(3, 8, 8, 8), dim=0)
    coarse = torch.nn.functional.normalize(torch.rand(2, 2, 2, 2), dim=0)
    embedding = DenseEmbedding({"fine": fine, "coarse": coarse}, SPACING_MM)
    assert embedding.grid().centres()[1, 2, 3].tolist() == [2.5, 4.5, 6.5]
    assert embedding.grid("coarse").centres()[1, 0, 0].tolist() == [11.5, 3.5, 3.5]
    vectors = embedding.at(torch.tensor([[2.5, 4.5, 6.5], [11.5, 3.5, 3.5]]))
    torch.testing.assert_close(vectors[0, :3], fine[:, 1, 2, 3])
    torch.testing.assert_close(vectors[1, 3:], coarse[:, 1, 0, 0])
    torch.testing.assert_close(embedding.fine_vectors[1, 2, 3], vectors[0])


def test_windows_that_do_not_overlap_are_fewer():
    network = Angles()
    settings = WindowSettings(window_overlap=0.0, bfloat16=False)
    embed_volume(network, torch.ones(1, 64, 32, 32), SPACING_MM, (32, 32, 32), settings, batch_size=1)
    assert len(network.windows) == 2, "three, if they overlap by half"


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_an_overlap_is_a_share_of_a_window(overlap):
    with pytest.raises(BundleError, match="window_overlap is a share"):
        WindowSettings(window_overlap=overlap)
