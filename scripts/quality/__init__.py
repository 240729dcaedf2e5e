"""How good a label map is, with labels and without."""
