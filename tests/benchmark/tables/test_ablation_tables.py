from bundle.benchmark.results import EVERYTHING, result_line
from bundle.benchmark.tables.ablation import ablation_section, ablation_table
from tests.benchmark.fixtures import CLASSES, results, scores


def line(variant, support="s", **cases):
    return result_line("masks", f"{variant}, {support}", variant=variant, support=support, scores=scores(**cases))


def test_a_section_says_the_change():
    lines = line(EVERYTHING, a=(0.8, 0.6), b=(0.8, 0.8)), line("no EM posterior", a=(0.6, 0.6), b=(0.7, 0.7))
    text = ablation_section(results(*lines, epoch_share=3))
    assert "| no EM posterior | 0.65 | 0.65 | 0.65 | -0.100 (-0.100 to -0.100) |" in text
    assert "Networks trained" not in text


def test_networks_say_their_share_of_the_epochs():
    lines = [line(EVERYTHING, a=(0.8, 0.6)) | {"what": "network"}]
    assert "for a third of the epochs" in ablation_section(results(*lines, epoch_share=3))


def test_a_row_of_fewer_supports_is_compared_with_the_same_ones():
    """From s the change costs 0.2, from t it was not measured."""
    whole = line(EVERYTHING, a=(0.8, 0.8), b=(0.8, 0.8)), line(EVERYTHING, "t", a=(0.1, 0.1), b=(0.1, 0.1))
    text = ablation_table([*whole, line("no EM posterior", a=(0.6, 0.6), b=(0.6, 0.6))], list(CLASSES))
    assert "| no EM posterior (s only) | 0.60 | 0.60 | 0.60 | -0.200 (-0.200 to -0.200) |" in text


def test_what_there_is_nothing_to_compare_with_has_no_change():
    text = ablation_table([line("no EM posterior", a=(0.6, 0.6))], list(CLASSES))
    assert "| no EM posterior (s only) | 0.60 | 0.60 | 0.60 |  |" in text
