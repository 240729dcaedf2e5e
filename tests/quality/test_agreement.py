import numpy as np
import pytest

from scripts.quality.agreement import agreements, qualities, quality_interval


def product(values):
    """Dice between raters that err independently."""
    table = np.outer(values, values)
    np.fill_diagonal(table, 1)
    return table


def test_agreement_by_hand():
    masks = [np.array(mask, dtype=bool) for mask in ([1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0])]
    table = agreements(masks)
    assert table[0, 1] == table[1, 0] == pytest.approx(2 * 2 / 6)
    assert table[0, 2] == 0 and table[2, 3] == 0, "two empty masks are no evidence"


@pytest.mark.parametrize("values", [(0.9, 0.6, 0.8), (0.95, 0.5, 0.5, 0.0), (0.0, 0.8, 0.7, 0.9)])
def test_the_quality_of_independent_raters_is_found(values):
    assert qualities(product(values)) == pytest.approx(values, abs=2e-3)


def test_three_raters_by_hand():
    """a01 * a02 / a12 is the square of the first one's quality: what the others lack cancels out."""
    table = np.array([[1, 0.72, 0.45], [0.72, 1, 0.40], [0.45, 0.40, 1]])
    assert qualities(table)[0] == pytest.approx(np.sqrt(0.72 * 0.45 / 0.40), abs=1e-3)


def test_two_raters_share_what_they_agree_on():
    table = product((0.8, 0.45))
    assert qualities(table) == pytest.approx([0.6, 0.6])
    low, high = quality_interval(table, 0)
    assert (low, high) == (pytest.approx(0.36), 1.0)


def test_without_agreement_there_is_no_quality():
    assert qualities(np.eye(1)).tolist() == [0.0]
    assert qualities(np.eye(3)).tolist() == [0.0, 0.0, 0.0]


def test_the_interval_spans_what_one_rater_changes():
    assert quality_interval(product((0.9, 0.7, 0.8, 0.6)), 0) == pytest.approx((0.9, 0.9), abs=5e-3)
    table = product((0.9, 0.7, 0.8, 0.6))
    table[0, 3] = table[3, 0] = 0.1
    low, high = quality_interval(table, 0)
    assert low < 0.85 and high == pytest.approx(0.9, abs=5e-3)
