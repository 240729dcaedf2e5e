"""Dice and cross-entropy on logits, where some classes could not be located and some voxels are undecided."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from monai.networks.utils import one_hot

ABSENT_LOGIT = -1e4  # softmax gives exactly 0 in float32
LEAST_WEIGHT = 1e-3  # of all decided voxels together, which may be none


def merge_unlocated(logits: torch.Tensor, located: torch.Tensor) -> torch.Tensor:
    """Add the probability of classes that were not located to the background (marginal probability), in logits.

    Args:
        logits: (B, K + 1, ...) with the background first.
        located: (B, K) bool or 0/1; 0 where the class gives no supervision in that sample.

    Returns:
        (B, K + 1, ...) float32 logits whose softmax has p0' = p0 + sum of the unlocated p_k, and p_k' = 0 for those.
    """
    logits = logits.float()
    unlocated = ~located.bool()
    if not unlocated.any():
        return logits
    unlocated = unlocated.reshape(*unlocated.shape, *[1] * (logits.ndim - 2)).to(logits.device)
    foreground = logits[:, 1:]
    hidden = foreground.masked_fill(~unlocated, ABSENT_LOGIT)
    background = torch.logsumexp(torch.cat([logits[:, :1], hidden], dim=1), dim=1, keepdim=True)
    return torch.cat([background, foreground.masked_fill(unlocated, ABSENT_LOGIT)], dim=1)


class LocatedDiceCELoss(torch.nn.Module):
    """Dice loss plus cross-entropy, equally weighted (section 2.4 of arXiv 2111.10773), softmax applied once.

    Both terms see the marginal probabilities of `merge_unlocated`, and no voxel that is undecided (label K + 1). Dice
    is taken over the whole batch and averaged over the background and the classes located in one of its samples.

    Args:
        dice_weight: factor of the Dice term.
        ce_weight: factor of the cross-entropy.
        smooth: added to Dice's numerator and denominator, in voxels.
        class_balance: a voxel's cross-entropy is weighted by its class's share of the batch to the power of minus
            this. 0, as in the paper, weights all voxels alike; small organs then may never rise out of the background.
        least_share: share added to a class's share of the batch, which may be tiny.
    """

    def __init__(
        self,
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        smooth: float = 1.0,
        class_balance: float = 0.0,
        least_share: float = 1e-3,
    ) -> None:
        super().__init__()
        self.dice_weight, self.ce_weight, self.class_balance = dice_weight, ce_weight, class_balance
        self.least_share = least_share
        self.dice = DiceLoss(batch=True, reduction="none", smooth_nr=smooth, smooth_dr=smooth)

    def forward(self, logits: torch.Tensor, target: dict[str, torch.Tensor]) -> torch.Tensor:
        """Scalar loss.

        Args:
            logits: (B, K + 1, X, Y, Z).
            target: "label" (B, 1, X, Y, Z) class indices 0..K, K + 1 where undecided, and "located" (B, K), 0 where
                not located.
        """
        located = target["located"].to(logits.device).bool()
        supervised = torch.nn.functional.pad(located, (1, 0), value=True)
        label = target["label"].long()
        decided = label < logits.shape[1]
        label = label * decided
        label = label * supervised.gather(1, label.flatten(1)).reshape(label.shape)
        logits = merge_unlocated(logits, located)
        probability = torch.softmax(logits, dim=1) * decided
        truth = one_hot(label, num_classes=logits.shape[1]) * decided
        dice = self.dice(probability, truth).flatten()
        counted = supervised.any(dim=0)
        dice_term = (dice * counted).sum() / counted.sum()
        cross_entropy = torch.nn.functional.cross_entropy(logits, label[:, 0], reduction="none")
        weight = (decided * self._class_weights(truth)[label])[:, 0]
        ce_term = (cross_entropy * weight).sum() / weight.sum().clamp(min=LEAST_WEIGHT)
        return self.dice_weight * dice_term + self.ce_weight * ce_term

    def _class_weights(self, truth: torch.Tensor) -> torch.Tensor:
        """(B, K + 1, ...) one-hot -> (K + 1,) weights of a voxel of each class."""
        count = truth.transpose(0, 1).flatten(1).sum(dim=1)
        share = count / count.sum().clamp(min=1)
        return (share + self.least_share) ** -self.class_balance
