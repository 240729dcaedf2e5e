import pytest

from bundle.benchmark.cost import cohort_size as module


def test_growth_is_1_where_time_is_linear_and_2_where_it_is_square():
    linear, square = (list(module._of_growth("step", {100: 2.0, 1000: last}, 1000)) for last in (20.0, 200.0))
    assert [line["exponent"] for line in (*linear, *square)] == [1.0, 2.0]


def test_what_was_not_measured_is_said_to_be_extrapolated():
    growth, beyond = module._of_growth("transfer", {10: 1.0, 100: 10.0}, 10_000)
    assert growth["what"] == "growth" and growth["cases"] == [10, 100]
    assert (beyond["what"], beyond["cases"], beyond["measured_cases"], beyond["cpu_seconds"]) == (
        "extrapolated",
        10_000,
        100,
        1000,
    )
    assert beyond["about"].startswith("not measured")


@pytest.mark.slow
def test_each_step_is_measured_at_each_count(tmp_path, monkeypatch):
    monkeypatch.setattr("bundle.datasets.small_volumes.PATIENTS", 1)
    lines = list(module.measure(tmp_path, (2, 3), transferred=0))
    steps = [(line["step"], line["cases"]) for line in lines if line["what"] == "step"]
    assert steps == [(step, count) for count in (2, 3) for step in (module.CACHE, module.AGAIN)]
    assert all(line["peak_memory_mb"] > 0 and line["cpu_seconds"] >= 0 for line in lines if line["what"] == "step")
    assert {line["step"] for line in lines if line["what"] == "growth"} == {step for step, _ in steps}
