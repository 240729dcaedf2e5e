"""What is labelled in a phantom, and with which values."""

from __future__ import annotations

LABELS = {"spleen": 1, "right_kidney": 2, "left_kidney": 3, "liver": 4, "stomach": 5, "aorta": 6}
BACKGROUND_SCRIBBLE = 7
PAPER_CLASSES = ("spleen", "left_kidney", "right_kidney", "liver")
