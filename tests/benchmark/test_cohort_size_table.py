from bundle.benchmark.cost.cohort_size import CACHE, EXTRAPOLATED, GROWTH, REPORT_AGAIN, STEP, TRANSFER
from bundle.benchmark.cost.cohort_size_table import cohort_size_section
from bundle.benchmark.results import Results, result_line
from bundle.benchmark.tables.pages import pages
from tests.benchmark.fixtures import results, run

HEAD = result_line("head", "cohort_size", shape=[4, 3, 2])


def step(name, cases, cpu_seconds, peak_memory_mb=600, shared=1000, records=300):
    return result_line(
        STEP,
        f"{name}, {cases} cases",
        step=name,
        cases=cases,
        cpu_seconds=cpu_seconds,
        ms_per_case=1000 * cpu_seconds / cases,
        peak_memory_mb=peak_memory_mb,
        shared_files_bytes={"cohort.json": shared, "results.json": shared},
        mean_record_bytes=records,
    )


MEASURED = Results(
    (
        HEAD,
        step(CACHE, 10, 1.0),
        step(TRANSFER, 10, 20.0),
        step(REPORT_AGAIN, 10, 0.5),
        step(CACHE, 1000, 100.0, peak_memory_mb=605, shared=110_000, records=301),
        result_line(GROWTH, CACHE, step=CACHE, cases=[10, 1000], exponent=1.0),
        result_line(EXTRAPOLATED, TRANSFER, step=TRANSFER, cases=1000, measured_cases=10, cpu_seconds=2000),
    )
)


def test_each_step_has_its_seconds_its_growth_and_its_memory():
    text = cohort_size_section(MEASURED)
    assert "| step | 10 cases | 1,000 cases | growth | peak memory MB, fewest to most cases |" in text
    assert f"| {CACHE} | 1.0 (100.0) | 100.0 (100.0) | 1.00 | 600 to 605 |" in text
    assert f"| {REPORT_AGAIN} | 0.5 (50.0) | – | – | 600 |" in text


def test_what_was_not_measured_stands_in_italics():
    assert f"| {TRANSFER} | 20.0 (2000.0) | *2,000* | – | 600 |" in cohort_size_section(MEASURED)


def test_files_are_told_by_the_case():
    text = cohort_size_section(MEASURED)
    assert "of 10 and 1,000 cases, files that speak of all have 200 and 220 bytes a case" in text
    assert "the records of a case 300 and 301." in text


def test_the_table_has_a_page_that_the_results_lead_to_once_it_was_measured():
    cohort, link = {"default": results(run(0.3, 0.9))}, "[many cases](benchmarks/cohort_size.md)"
    measured, without = pages({"toy": cohort}, cohort_size=MEASURED), pages({"toy": cohort}, cohort_size=Results())
    assert cohort_size_section(MEASURED) in measured["benchmarks/cohort_size.md"] and link in measured["results.md"]
    assert set(measured) - set(without) == {"benchmarks/cohort_size.md"} and link not in without["results.md"]
