"""Which cases are atlases beside the support, and of which classes (mode `default`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def select_atlases(
    round_trip_dice: Mapping[str, Mapping[str, float]],
    apart: Collection[str],
    most_atlases: int,
    least_round_trip_dice: float,
) -> dict[str, tuple[str, ...]]:
    """Selected atlas -> its classes: those with a good round-trip Dice.

    The more such classes a case has, the sooner it is selected; of those with as many, the one whose worst is better.

    Args:
        round_trip_dice: case -> class -> Dice of the support mask and of what it becomes, sent to the case and back.
        apart: never selected, they are atlases anyway.
        most_atlases: how many cases.
        least_round_trip_dice: from which on it is good.
    """
    good = {
        case: {name: value for name, value in dice.items() if value >= least_round_trip_dice}
        for case, dice in round_trip_dice.items()
        if case not in apart
    }
    candidates = [case for case, classes in good.items() if classes]
    candidates.sort(key=lambda case: (-len(good[case]), -min(good[case].values()), case))
    return {case: tuple(good[case]) for case in candidates[:most_atlases]}
