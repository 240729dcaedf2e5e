"""How far true Dice spreads around predicted Dice from case to case, which one case, the support, cannot tell."""

from __future__ import annotations

from scipy.stats import beta


def spread_of_cases(predicted_dice: float, concentration: float, coverage: float) -> tuple[float, float]:
    """Lowest and highest Dice, of a Beta distribution with predicted Dice as its mean.

    Near 1 it leaves more room below than above, and little of both; in the middle it is widest.

    Args:
        predicted_dice: 0 to 1; of 0, a class that was not found, and 1 nothing else is expected.
        concentration: the variance is `predicted * (1 - predicted) / (concentration + 1)`.
        coverage: share of the cases between the two; as many lie below as above.
    """
    if not 0 < predicted_dice < 1:
        return predicted_dice, predicted_dice
    shape = predicted_dice * concentration, (1 - predicted_dice) * concentration
    low, high = beta.ppf([(1 - coverage) / 2, (1 + coverage) / 2], *shape)
    return float(low), float(high)
