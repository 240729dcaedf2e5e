from scripts.common.names import some_of


def test_of_many_names_the_first_few_are_said_and_how_many_more_there_are():
    assert some_of(["b", "a"], 2) == "b, a"
    assert some_of(["b", "a", "c", "d"], 2) == "b, a and 2 more"
    assert some_of([], 2) == ""
