import torch

from scripts.point_propagation.patches import extract_patches, pad_for_patches

PATCH = (4, 6, 2)


def test_index_half_the_size_is_the_centre():
    volume = torch.arange(5 * 7 * 3).float().reshape(1, 5, 7, 3)
    centres = torch.tensor([[2, 3, 1], [0, 0, 0], [4, 6, 2]])
    patches = extract_patches(pad_for_patches(volume, PATCH), centres, PATCH)
    assert patches.shape == (3, 1, *PATCH)
    assert patches[:, 0, 2, 3, 1].tolist() == [float(volume[(0, *centre)]) for centre in centres.tolist()]
    assert torch.equal(patches[0, 0], volume[0, 0:4, 0:6, 0:2]), "[c - size / 2, c + size / 2)"


def test_zero_padding_at_the_border():
    volume = torch.ones(1, 5, 7, 3)
    padded = pad_for_patches(volume, PATCH)
    assert padded.shape == (1, 9, 13, 5) and padded.sum() == volume.sum()
    first, last = extract_patches(padded, torch.tensor([[0, 0, 0], [4, 6, 2]]), PATCH)[:, 0]
    assert first.sum() == 2 * 3 * 1 and first[2:, 3:, 1:].min() == 1, "only the half from the centre on is inside"
    assert last.sum() == 3 * 4 * 2 and last[:3, :4, :2].min() == 1


def test_no_centres_and_several_channels():
    padded = pad_for_patches(torch.ones(2, 5, 7, 3), PATCH)
    assert extract_patches(padded, torch.zeros(0, 3, dtype=torch.long), PATCH).shape == (0, 2, *PATCH)
    assert extract_patches(padded, torch.tensor([[1, 1, 1]]), PATCH).shape == (1, 2, *PATCH)
