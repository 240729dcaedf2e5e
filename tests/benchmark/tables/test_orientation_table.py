from bundle.benchmark.results import Results, result_line
from bundle.benchmark.tables.orientation import orientation_section
from tests.benchmark.fixtures import MADE

AS_IT_IS, MIRRORED = "as it is", "mirrored left to right"


def line(case, orientation, *gains):
    content = {"case": case, "orientation": orientation, "gains": {f"s{n}": gain for n, gain in enumerate(gains)}}
    return result_line("orientation", f"{case} {orientation}", **content, made=MADE)


def test_flags_are_counted_and_gains_span_their_range():
    head = result_line("head", "toy", supports=["s0", "s1"], least_gain=1.2)
    lines = (line("a", AS_IT_IS, 0.9, 1.2), line("b", AS_IT_IS, 0.5), line("a", MIRRORED, 1.5, 1.05, 1.21))
    text = orientation_section(Results((head, *lines)))
    assert "| as it is | 0 of 3 | 0.50 | 1.20 |" in text
    assert "| mirrored left to right | 2 of 3 | 1.05 | 1.50 |" in text
    assert "benchmark orientation --dataset DIR/toy" in text and "Supports `s0`, `s1`" in text and "1.2." in text
