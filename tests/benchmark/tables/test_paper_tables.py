from bundle.benchmark.point_chart import point_chart
from bundle.benchmark.results import PAPERS_RULES, Results, result_line
from bundle.benchmark.tables.pages import pages
from bundle.benchmark.tables.paper import paper_section, points_against_tau
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


def test_prnets_that_were_trained_before_are_told():
    command = "`python -m bundle benchmark paper --dataset DIR/toy"
    assert f"{command}`; small" in paper_section(results(*LINES), {})
    given = paper_section(results(*LINES, given_weights="toy"), {})
    assert f"{command} --weights toy`; both PRNets trained before; small" in given


def test_without_published_figures_nothing_is_compared():
    assert "other data" not in paper_section(results(*LINES), {})


def test_points_have_a_table_a_rule():
    text = paper_section(results(*LINES), {})
    assert "| dual, tau | liver: kept / right |\n| --- | --- |\n| 0.5 | 0.25 / 0.50 |" in text
    assert "| multi, tau | liver: kept / right |\n| --- | --- |\n| 0.5 | 0.25 / – |" in text
    assert "| dual and tissue check, tau | liver: kept / right |\n| --- | --- |\n| 0.5 | 0.25 / 1.00 |" in text


def test_stages_stand_with_seconds_and_memory():
    assert "| pseudo_labels (test) | 12 | 100 |" in paper_section(results(*LINES), {})


def test_the_full_configuration_shows_what_there_is_of_it():
    row = {
        "seconds": 20.6,
        "iterations": 630,
        "median_mm": 62.47,
        "mean_mm": 70.0,
        "axes_median_mm": [24.91, 20.2, 37.0],
    }
    training = result_line("training", "coarse", trained_on="a GPU", curve=[row])
    text = paper_section(results(training, configuration="full"), PUBLISHED, "paper_full")
    assert text.startswith(
        "## Mode `paper`, full configuration\n\n`python -m bundle benchmark paper --dataset DIR/toy --full`"
    )
    assert "| coarse, a GPU | 21 | 630 | 62.5 | 70.0 | 24.9, 20.2, 37.0 |" in text
    assert "`docs/benchmarks/toy/paper_full.jsonl`" in text
    assert not any(words in text for words in ("Dice, mean", "Propagated points", "Time and peak"))
    assert paper_section(results(recipe="Trained elsewhere"), {}).splitlines()[2].startswith("Trained elsewhere; small")


def test_the_papers_rules_alone_have_a_section_and_a_row_of_the_picture():
    text = paper_section(results(*LINES, given_weights="toy"), PUBLISHED, PAPERS_RULES)
    assert text.startswith("## Mode `paper`, by the rules of the paper alone\n\n`python -m bundle benchmark paper ")
    assert " --papers-rules --weights toy`" in text and "`docs/benchmarks/toy/papers_rules.jsonl`" in text
    assert "the paper's rules alone" in text and "feature search" not in text
    assert "| trained with label correction | 0.000 ± 0.000 | 1.000 ± 0.000 | 0.500 | 10.00 | – | 0.887 |" in text
    written = pages({"toy": {"paper": results(*LINES), PAPERS_RULES: results(*LINES)}})
    assert written["benchmarks/toy.md"].index("rules of the paper alone") > written["benchmarks/toy.md"].index(
        "## Mode"
    )
    chart = written["benchmarks/toy_points.svg"]
    assert "small configuration: share right" in chart and "paper's rules: share kept" in chart


def test_points_of_several_supports_stand_in_rows_of_their_own():
    rows = [point("dual", tau, right=right) | {"support": support} for support, tau, right in SUPPORTS]
    text = paper_section(results(*rows), {})
    assert "| dual, tau, support | liver: kept / right |\n| --- | --- |\n| 0.0, s | 0.25 / 0.20 |" in text
    assert "| 0.5, t | 0.25 / – |" in text


SUPPORTS = (("s", 0.0, 0.2), ("t", 0.0, 0.4), ("s", 0.5, 0.5), ("t", 0.5, None))


def test_the_chart_draws_the_mean_over_supports_and_nothing_where_no_point_was_kept():
    rows = [point("dual", tau, right=right) | {"support": support} for support, tau, right in SUPPORTS]
    measured = {
        "small configuration": results(),
        "full configuration": results(*rows, point("multi", 1.0), point("dual", 1.0, 0.08)),
    }
    chart = point_chart(measured)
    # The panel's plot begins at 36, 24 and is 250 x 122 pixels: means of 0.3 at tau 0 and 0.5 at tau 0.5.
    assert '<polyline points="36.0,109.4 161.0,85.0" stroke="#0072B2"' in chart
    assert "full configuration: share right" in chart and "small configuration" not in chart
    alone = {"full configuration": measured["full configuration"]}
    assert "(full configuration: `s` and `t`)" in points_against_tau(alone, "a.svg")[0]
    assert point_chart({"small configuration": results(point("multi", 0.5))}) == ""


def test_a_cohorts_page_shows_its_chart():
    written = pages({"toy": {"paper": results(*LINES)}})
    assert "](toy_points.svg)" in written["benchmarks/toy.md"]
    assert written["benchmarks/toy_points.svg"] == point_chart({"small configuration": results(*LINES)})
    assert "benchmarks/toy_points.svg" not in pages({"toy": {"paper": Results(results().lines)}})
