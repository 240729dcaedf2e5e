"""Components of the one-shot weakly-supervised CT segmentation bundle, instantiated by `configs/`.

Arrays are channel-first (C, X, Y, Z) in RAS-oriented voxel axes; positions that leave a stage are world millimetres
(RAS+, as in a NIfTI affine).
"""
