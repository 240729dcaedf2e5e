import pytest
import torch
from monai.losses import LocalNormalizedCrossCorrelationLoss

from scripts.registration.local_correlation import LocalCorrelation, windowed_sums


def test_sums_over_a_window_see_zeros_beyond_the_volume():
    values = torch.arange(1.0, 6.0).view(1, 5, 1, 1)
    assert windowed_sums(values, 1).flatten().tolist() == [3, 6, 9, 12, 9]
    assert windowed_sums(values, 2).flatten().tolist() == [6, 10, 15, 14, 12]
    assert windowed_sums(values, 9).flatten().tolist() == [15, 15, 15, 15, 15]
    assert windowed_sums(values, 1, axes=[2, 3]).flatten().tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("window", [3, 5])
def test_value_and_gradient_are_those_of_monai(window):
    torch.manual_seed(0)
    image, other = torch.rand(9, 8, 7, dtype=torch.float64), torch.rand(9, 8, 7, dtype=torch.float64)
    other[:4] = 0.3  # flat: a variance below the least one
    expected, found = other.clone().requires_grad_(), other.clone().requires_grad_()
    loss = LocalNormalizedCrossCorrelationLoss(kernel_size=window)(expected[None, None], image[None, None])
    correlation = LocalCorrelation(image, window).mean(found)
    (2 * loss).backward()
    (2 * correlation).backward()
    assert correlation.item() == pytest.approx(-loss.item(), abs=1e-9)
    assert (found.grad + expected.grad).abs().max() < 1e-9 < expected.grad.abs().max()
