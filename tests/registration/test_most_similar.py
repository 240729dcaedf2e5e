import torch

from scripts.registration.most_similar import most_similar


def test_the_first_of_the_highest_in_each_row():
    assert most_similar(torch.tensor([[1.0, 3.0, 2.0], [5.0, 0.0, 5.0]])).tolist() == [1, 0]


def test_the_same_as_by_torch_with_ties_and_places_left_out():
    scores = torch.randint(-3, 4, (50, 40), generator=torch.Generator().manual_seed(1)).float()
    scores[scores == 3] = -torch.inf
    assert torch.equal(most_similar(scores), scores.argmax(dim=1))
    assert torch.equal(most_similar(scores.T.contiguous()), scores.argmax(dim=0))
