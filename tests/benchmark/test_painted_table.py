from bundle.benchmark.painted_table import painted_in_short, painted_section
from bundle.benchmark.results import PAINTED
from bundle.benchmark.tables.pages import pages
from bundle.benchmark.tables.reached import trust
from tests.benchmark.fixtures import results, run, scores

STROKES = results(run(0.3, 0.9, "all_classes"), run(0.5, 0.7, "all_classes_further", support="t"))
PAINTED_ALONE = results(
    run(0.5, 0.9, PAINTED, support_mask_scores=scores(s=(0.9, 1.0))),
    run(0.7, 0.9, PAINTED, support="u", support_mask_scores=scores(u=(0.8, 0.8))) | {"name": "u a"},
    painted_slices=5,
)


def test_painted_slices_stand_beside_the_strokes_of_the_same_support():
    text = painted_section(PAINTED_ALONE, STROKES)
    assert "| `s`, strokes | 0.80 | 0.60 |" in text and "| `s`, 5 slices | 0.95 | 0.70 |" in text
    assert "| `u`, 5 slices | 0.80 | 0.80 |" in text and "`u`, strokes" not in text and "`t`" not in text
    assert "benchmark painted --dataset DIR/toy" in text and "on 5 slices from its first to its last" in text


def test_a_sentence_compares_the_supports_that_both_were_measured_from():
    sentence = painted_in_short({"toy": {"default": STROKES, "painted": PAINTED_ALONE}, "other": {}})
    assert sentence == (
        " Painted whole on 5 slices instead of scribbled, mean of the supports: toy support mask 0.95 instead of 0.80, "
        "label maps 0.70 instead of 0.60."
    )
    assert painted_in_short({"toy": {"default": STROKES}}) == ""


def test_the_self_check_is_told_of_painted_slices_too():
    text = trust({"toy": {"default": STROKES, "painted": PAINTED_ALONE}})
    assert "| toy | atlases alone, all 2 classes, painted whole on 5 slices, 2 supports | 4 |" in text


def test_a_cohorts_page_holds_them():
    assert "## Painted slices" in pages({"toy": {"painted": PAINTED_ALONE}})["benchmarks/toy.md"]
