from bundle.benchmark.results import Results, result_line
from bundle.benchmark.tables.orientation import orientation_section
from tests.benchmark.fixtures import MADE

AS_IT_IS, MIRRORED = "as it is", "mirrored left to right"


def line(case, orientation, *fits):
    named = {f"s{n}": {"as_it_is": own, "otherwise": other} for n, (own, other) in enumerate(fits)}
    return result_line(
        "orientation", f"{case} {orientation}", case=case, orientation=orientation, fits=named, made=MADE
    )


def test_a_flag_needs_both_limits():
    head = result_line("head", "toy", supports=["s0", "s1"], least_gain=1.2, least_difference=0.06)
    barely, clearly, weakly = (0.5, 0.6), (0.5, 0.7), (0.1, 0.15)
    lines = (line("a", AS_IT_IS, (0.5, 0.25), barely), line("a", MIRRORED, clearly, weakly, barely))
    text = orientation_section(Results((head, *lines)))
    assert "| as it is | 0 of 2 | 0.50 | 0.42 | 0.50 to 1.20 |" in text
    assert "| mirrored left to right | 1 of 3 | 0.50 | 0.60 | 1.20 to 1.50 |" in text
    assert "benchmark orientation --dataset DIR/toy" in text and "Supports `s0`, `s1`" in text
    assert "more than 1.2 times as well, and by more than 0.06." in text
