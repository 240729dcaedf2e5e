from scripts.label_propagation.atlas_selection import select_atlases

CLASSES = ("spleen", "liver")
ROUND_TRIP_DICE = {
    "support": (1.0, 1.0),
    "a": (0.9, 0.6),
    "b": (0.7, 0.8),
    "c": (0.95, 0.4),
    "d": (0.7, 0.7),
    "e": (0.4, 0.3),
}


def selected(most_atlases, least_dice=0.5):
    dice = {case: dict(zip(CLASSES, values, strict=True)) for case, values in ROUND_TRIP_DICE.items()}
    return select_atlases(dice, ["support"], most_atlases, least_dice)


def test_atlases_are_of_the_classes_with_a_good_round_trip():
    assert selected(9) == {"b": CLASSES, "d": CLASSES, "a": CLASSES, "c": CLASSES[:1]}


def test_most_classes_come_first_then_the_best_worst_one_then_the_name():
    assert list(selected(9)) == ["b", "d", "a", "c"]
    assert list(selected(2)) == ["b", "d"] and selected(0) == {}


def test_without_a_good_round_trip_there_is_no_atlas():
    assert selected(9, least_dice=0.99) == {}
