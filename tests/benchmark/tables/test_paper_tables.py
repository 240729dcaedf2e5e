from bundle.benchmark.results import result_line
from bundle.benchmark.tables.paper import paper_section
from tests.benchmark.fixtures import results, scores

PUBLISHED = {"data": "other volumes", "source": "a paper", "dice": {"tau 0.5": 0.781, "with_plc": 0.887}}


def scored(spleen, liver):
    content = scores(a=(spleen, liver))
    for row in content["classes"].values():
        row |= {"hd95_mean_mm": 10.0, "surface_dice_2mm_mean": None}
    return content


def point(rule, tau, tissue_tolerance=None, right=0.5):
    row = {"rule": rule, "tau": tau, "tissue_tolerance": tissue_tolerance, "class": "liver"}
    return result_line("points", f"{rule} {tau} {tissue_tolerance}", **row, kept_mean=0.25, precision_mean=right)


LINES = (
    point("dual", 0.5),
    point("multi", 0.5, right=None),
    point("dual", 0.5, 0.08, right=1.0),
    result_line("masks", "tau 0.5", scores=scored(0.4, 0.6)),
    result_line("network", "without_plc", scores=scored(0.5, 0.5)),
    result_line("network", "with_plc", scores=scored(0.0, 1.0)),
    result_line("stages", "test", stages={"pseudo_labels": {"seconds": 12.4, "peak_memory_mb": 99.6}}),
)


def test_the_papers_own_figures_stand_beside_ours():
    text = paper_section(results(*LINES), PUBLISHED)
    assert "on other data than ours (other volumes; a paper)" in text
    dice = "0.400 ± 0.000 | 0.600 ± 0.000 | 0.500 | 10.00 | –"
    assert f"| pseudo labels, tau 0.5 | {dice} | 0.781 |" in text
    assert "| trained with label correction | 0.000 ± 0.000 | 1.000 ± 0.000 | 0.500 | 10.00 | – | 0.887 |" in text
    assert "| trained, no label correction | 0.500 ± 0.000 | 0.500 ± 0.000 | 0.500 | 10.00 | – | – |" in text


def test_without_published_figures_nothing_is_compared():
    assert "other data" not in paper_section(results(*LINES), {})


def test_points_have_a_table_a_rule():
    text = paper_section(results(*LINES), {})
    assert "| dual, tau | liver: kept / right |\n| --- | --- |\n| 0.5 | 0.25 / 0.50 |" in text
    assert "| multi, tau | liver: kept / right |\n| --- | --- |\n| 0.5 | 0.25 / – |" in text
    assert "| dual and tissue check, tau | liver: kept / right |\n| --- | --- |\n| 0.5 | 0.25 / 1.00 |" in text


def test_stages_stand_with_seconds_and_memory():
    assert "| pseudo_labels (test) | 12 | 100 |" in paper_section(results(*LINES), {})
