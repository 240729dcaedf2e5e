"""DataAug, a compact version of ours: one label map is bent and recoloured into the likeness of unlabelled volumes.

After Zhao et al., "Data augmentation using learned transformations for one-shot medical image segmentation", CVPR 2019.
"""
