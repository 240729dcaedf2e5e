import pytest
import torch
from monai.utils import CommonKeys

from scripts.point_propagation.offset_error import OffsetErrorMm


def test_offset_error_by_hand():
    """Predicted offsets (0, 0, 0) and (-7, 0, 0) mm for r = 7 mm; the true ones are (0, 3, 0) and (0, 0, 0)."""
    position = torch.tensor([[1.0, 2, 3], [0, 0, 0], [1, 2, 3], [100, 0, 0]])
    output = {
        CommonKeys.PRED: {"position": position},
        CommonKeys.LABEL: {"offset_mm": torch.tensor([[0.0, 3, 0], [0, 0, 0]])},
    }
    assert OffsetErrorMm((7.0, 7.0, 7.0))(output) == pytest.approx((3 + 7) / 2)
