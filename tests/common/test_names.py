from scripts.common.names import alike, how_many, in_ml, some_of


def test_of_many_names_the_first_few_are_said_and_how_many_more_there_are():
    assert some_of(["b", "a"], 2) == "b, a"
    assert some_of(["b", "a", "c", "d"], 2) == "b, a and 2 more"
    assert some_of([], 2) == ""


def test_numbers_and_volumes_in_words():
    assert [how_many(number, "volume") for number in (0, 1, 2)] == ["0 volumes", "1 volume", "2 volumes"]
    assert [how_many(number, "class", "classes") for number in (1, 2)] == ["1 class", "2 classes"]
    assert [in_ml(volume_ml) for volume_ml in (0, 0.04, 5.16, 230.7)] == ["empty", "0.0 ml", "5.2 ml", "231 ml"]


def test_names_alike_come_the_likeliest_first_whatever_their_capitals():
    assert alike("max_epoch", ["imports", "fade_epochs", "max_epochs"]) == ["max_epochs", "fade_epochs"]
    assert alike("ABD_0O", ["abd_00", "liver"]) == ["abd_00"]
    assert alike("zzz", ["a", "b"]) == alike("", []) == []
