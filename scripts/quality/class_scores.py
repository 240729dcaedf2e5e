"""Dice, 95 % Hausdorff distance, surface Dice and volumes of one class of one case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

from scripts.common.affines import spacing_of, voxel_ml
from scripts.common.boxes import box_of

SURFACE_TOLERANCE_MM = 2.0
CROP_MARGIN_VOXELS = 2


class ClassScores(TypedDict):
    """One class of one case.

    Keys:
        dice, hd95_mm, surface_dice_2mm: None where they are not defined.
        status: "absent" where the label lacks the class, "not predicted" where the prediction alone does.
        absent: the label lacks the class.
        label_ml, predicted_ml: volumes.
    """

    dice: float | None
    hd95_mm: float | None
    surface_dice_2mm: float | None
    status: Literal["ok", "absent", "not predicted"]
    absent: bool
    label_ml: float
    predicted_ml: float


def score_masks(predicted: np.ndarray, label: np.ndarray, affine: np.ndarray) -> ClassScores:
    """Scores of one class from two (X, Y, Z) bool masks on the grid of `affine`, (4, 4); distances in mm.

    Volumes are cropped to the box around both masks first, which changes nothing but the time.
    """
    of_voxel_ml, in_label, in_prediction = voxel_ml(affine), int(label.sum()), int(predicted.sum())
    scores: ClassScores = {
        "dice": None,
        "hd95_mm": None,
        "surface_dice_2mm": None,
        "status": "absent",
        "absent": not in_label,
        "label_ml": in_label * of_voxel_ml,
        "predicted_ml": in_prediction * of_voxel_ml,
    }
    box = box_of(predicted | label, CROP_MARGIN_VOXELS)
    if not in_label or box is None:
        return scores
    if not in_prediction:
        return {**scores, "dice": 0.0, "surface_dice_2mm": 0.0, "status": "not predicted"}
    dice, hd95_mm, surface_dice = _distances(predicted[box], label[box], spacing_of(affine))
    return {**scores, "dice": dice, "hd95_mm": hd95_mm, "surface_dice_2mm": surface_dice, "status": "ok"}


def _distances(predicted: np.ndarray, label: np.ndarray, spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Dice, 95 % Hausdorff distance in mm and surface Dice of two masks with something in them."""
    y_pred, y = (torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (predicted, label))
    spacing = [float(step) for step in spacing_mm]
    hd95 = compute_hausdorff_distance(y_pred, y, include_background=True, percentile=95, spacing=spacing)
    surface = compute_surface_dice(y_pred, y, [SURFACE_TOLERANCE_MM], include_background=True, spacing=spacing)
    dice = compute_dice(y_pred.float(), y.float(), include_background=True)
    return dice.item(), hd95.item(), surface.item()
