"""How far true Dice spreads around predicted Dice from case to case, which one case, the support, cannot tell."""

from __future__ import annotations

from scipy.stats import beta


def spread_of_cases(
    predicted_dice: float, concentration: float, loss_power: float, coverage: float
) -> tuple[float, float]:
    """Lowest and highest Dice, of a zero-inflated Beta distribution with predicted Dice as its mean.

    With a probability of `(1 - predicted) ** loss_power` a result is lost altogether, its Dice 0. The Dice of what is
    not lost has a Beta distribution: near 1 it leaves more room below than above, and little of both.

    Args:
        predicted_dice: 0 to 1; of 0, a class that was not found, and 1 nothing else is expected.
        concentration: the variance of what is not lost, m its mean, is `m * (1 - m) / (concentration + 1)`.
        loss_power: above 1; the higher, the fewer are lost.
        coverage: share of the cases between the two; as many lie below as above, or fewer, where the lowest is 0.
    """
    if not 0 < predicted_dice < 1:
        return predicted_dice, predicted_dice
    lost = (1 - predicted_dice) ** loss_power
    mean = predicted_dice / (1 - lost)
    quantiles = [max(0.0, (tail - lost) / (1 - lost)) for tail in ((1 - coverage) / 2, (1 + coverage) / 2)]
    low, high = beta.ppf(quantiles, mean * concentration, (1 - mean) * concentration)
    return float(low), float(high)
