from bundle.benchmark.cost.speed import INFERENCE, ON_OWN_GRID, SPEED, SPEED_BEFORE, medians
from bundle.benchmark.results import Results, result_line
from bundle.benchmark.tables.pages import pages
from bundle.benchmark.tables.reached import speed
from bundle.benchmark.tables.speed import speed_in_short, speed_section

NAME = "4 x 5 x 6, 2 classes"


def line(what, **cpu_s):
    steps = {
        step.replace("_", " "): {"cpu_s": seconds, "wall_s": 9.0, "peak_mb": 512} for step, seconds in cpu_s.items()
    }
    return result_line(what, NAME, steps=steps | {ON_OWN_GRID: {"cpu_s": 70.0, "wall_s": 9.0, "peak_mb": 4096}})


HEAD = result_line("head", "toy", support="a", case="b", classes=["spleen"])
LIMIT = result_line("limit", "slow step", limit_s=3, seconds=[5.2], median_s=5.2)
NOW = line(SPEED, first_round=2.0, of_the_first_round=1.0, masks=3.04)
BEFORE = line(SPEED_BEFORE, first_round=4.0, of_the_first_round=1.5, masks=6.0)


def measured(*lines):
    return Results((HEAD, *lines))


def test_every_step_stands_beside_what_it_took_before():
    text = speed_section(measured(BEFORE, NOW))
    assert f"| step | {NAME} |" in text
    assert "benchmark speed" in text and "Before the arrow" in text
    assert "| first round | 4.0 → 2.0 |" in text and "| masks | 6.0 → 3.0 |" in text


def test_what_is_part_of_another_step_or_another_configuration_counts_once():
    text = speed_section(measured(BEFORE, NOW))
    assert "| together | 10.0 → 5.0 |" in text and "| peak memory GB | 0.5 → 0.5 |" in text
    assert f"{NAME}: 5 s instead of 10, 0.5 GB" in speed_in_short(measured(BEFORE, NOW))


def test_the_network_stands_beside_the_steps_with_its_own_memory():
    now, before = (
        {"cpu_s": seconds, "wall_s": 9.0, "peak_mb": peak_mb} for seconds, peak_mb in ((30, 1843), (70, 5120))
    )
    lines = [each | {"steps": each["steps"] | {INFERENCE: cost}} for each, cost in ((BEFORE, before), (NOW, now))]
    text = speed_section(measured(*lines))
    assert "| the network alone | 70.0 → 30.0 |" in text and "| peak memory GB, the network alone | 5.0 → 1.8 |" in text
    assert "| together | 10.0 → 5.0 |" in text and "| peak memory GB | 0.5 → 0.5 |" in text
    assert "the network alone" not in speed_section(measured(BEFORE, NOW))


def test_without_a_version_to_compare_with():
    assert "| together | 5.0 |" in speed_section(measured(NOW))
    assert f"{NAME}: 5 s, 0.5 GB" in speed_in_short(measured(NOW))


def test_the_results_page_says_what_a_case_takes_instead_of_single_steps():
    cohort = {"limits": measured(LIMIT), "speed": measured(NOW)}
    assert "slow step" not in speed({"toy": cohort}) and "- toy, seconds of processors" in speed({"toy": cohort})
    assert "## Speed of one case" in pages({"toy": cohort})["benchmarks/toy.md"]


def test_several_runs_are_told_by_their_median_and_their_spread():
    """Together 2 + 4, 3 + 3 and 1 + 8; medians 2 and 4."""
    runs = [
        {step: {"cpu_s": cpu_s, "wall_s": 9.0, "peak_mb": mb} for step, cpu_s in (("check", a), ("masks", b))}
        for a, b, mb in ((2.0, 4.0, 1024), (3.0, 3.0, 2048), (1.0, 8.0, 1024))
    ]
    assert medians(runs)["masks"] == {"cpu_s": 4.0, "wall_s": 9.0, "peak_mb": 2048, "runs_cpu_s": [4.0, 3.0, 8.0]}
    assert medians(runs[:1]) == runs[0]
    text = speed_section(measured(result_line(SPEED, NAME, steps=medians(runs))))
    assert "| together | 6.0 |" in text and "| together, runs of this version | 3 runs, 6.0 to 9.0 |" in text
    assert "runs of this version" not in speed_section(measured(NOW))
