"""Which cases vote beside the support, about which classes, and how voices become one (mode `default`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class AtlasPrediction:
    """What one voter says of a case.

    Attributes:
        probabilities: (1 + K, X, Y, Z) class probabilities on the working grid, background first.
        similarity: of the voter's body to the case's.
        classes: the names it is heard about.
    """

    probabilities: np.ndarray
    similarity: float
    classes: tuple[str, ...]


def select_atlases(
    records: Mapping[str, Mapping[str, Any]], apart: Sequence[str], most: int, least_round_trip_dice: float
) -> dict[str, tuple[str, ...]]:
    """Case -> the classes it is heard about: those that came back to the support well, of the cases that help most.

    A case helps the more, the more of its classes came back well; of those with as many, the better its worst one did.

    Args:
        records: case -> first round's record with `round_trip_dice` per class.
        apart: never chosen, they vote anyway.
        most: how many cases.
        least_round_trip_dice: with which a class must have come back.
    """
    good = {
        case: {name: dice for name, dice in record["round_trip_dice"].items() if dice >= least_round_trip_dice}
        for case, record in records.items()
        if case not in apart
    }
    helping = [case for case, classes in good.items() if classes]
    helping.sort(key=lambda case: (-len(good[case]), -min(good[case].values()), case))
    return {case: tuple(good[case]) for case in helping[:most]}


def fuse_labels(
    predictions: Mapping[str, AtlasPrediction], classes: Sequence[str], temperature: float
) -> tuple[np.ndarray, dict[str, dict[str, float]]]:
    """(1 + K, X, Y, Z) probabilities of what all say together, and voter -> class -> its weight.

    A class's probability is the mean over those heard about it, weighed by the softmax of their bodies' similarity; a
    class that nobody is heard about has none. The background is what remains; where classes claim more than all, each
    gets its share.

    Args:
        predictions: voter -> what it says, at least one.
        classes: the K names in the order of the votes.
        temperature: of the softmax.
    """
    weights: dict[str, dict[str, float]] = {atlas: {} for atlas in predictions}
    fused = np.zeros_like(next(iter(predictions.values())).probabilities)
    for channel, name in enumerate(classes, start=1):
        heard = [atlas for atlas, prediction in predictions.items() if name in prediction.classes]
        similarities = torch.tensor([predictions[atlas].similarity for atlas in heard], dtype=torch.float64)
        for atlas, share in zip(heard, torch.softmax(similarities / temperature, dim=0).tolist(), strict=True):
            weights[atlas][name] = round(share, 4)
            fused[channel] += share * predictions[atlas].probabilities[channel]
    claimed = fused[1:].sum(axis=0)
    fused[1:] /= np.maximum(claimed, 1)
    fused[0] = np.maximum(1 - claimed, 0)
    return fused, weights
