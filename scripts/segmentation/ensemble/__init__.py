"""The trained network beside the atlases: what it is worth, and class probabilities of both together."""
