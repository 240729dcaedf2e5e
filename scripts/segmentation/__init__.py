"""The segmentation network's data, loss and label correction (section 2.4)."""
