from scripts.common.names import how_many, in_ml, likely_names, some_of


def test_of_many_names_the_first_few_are_said_and_how_many_more_there_are():
    assert some_of(["b", "a"], 2) == "b, a"
    assert some_of(["b", "a", "c", "d"], 2) == "b, a and 2 more"
    assert some_of([], 2) == ""


def test_numbers_and_volumes_in_words():
    assert [how_many(number, "volume") for number in (0, 1, 2)] == ["0 volumes", "1 volume", "2 volumes"]
    assert [how_many(number, "class", "classes") for number in (1, 2)] == ["1 class", "2 classes"]
    assert [in_ml(volume_ml) for volume_ml in (0, 0.04, 5.16, 230.7)] == ["empty", "0.04 ml", "5.2 ml", "231 ml"]


def test_likely_names_are_those_alike_the_likeliest_first_whatever_their_capitals():
    names = ["imports", "fade_epochs", "max_epochs"]
    assert likely_names("max_epoch", names, 3) == "max_epochs, fade_epochs"
    assert likely_names("max_epoch", names, 1) == "max_epochs and 1 more"
    assert likely_names("ABD_0O", ["abd_00", "liver"], 3) == "abd_00"


def test_where_no_name_is_alike_all_are_likely():
    assert likely_names("zzz", ["a", "b", "c"], 2) == "a, b and 1 more"
    assert likely_names("", [], 2) == ""
