"""Synthetic torso CT with labels, by seed: the embedded cohort of `make demo`. It proves software, not medicine."""
