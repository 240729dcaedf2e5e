"""From points or class probabilities to a label map on the case's own grid (section 2.3)."""
