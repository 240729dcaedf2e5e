from bundle.benchmark.results import Results, result_line
from bundle.benchmark.tables.orientation import orientation_section
from tests.benchmark.fixtures import MADE

AS_IT_IS, MIRRORED = "as it is", "mirrored left to right"


def line(case, orientation, *found):
    entries = {f"s{n}": {"turned": turned, "gain": gain} for n, (turned, gain) in enumerate(found)}
    content = {"case": case, "orientation": orientation, "found": entries, "made": MADE}
    return result_line("orientation", f"{case} {orientation}", **content)


def test_flags_are_counted_and_gains_span_their_range():
    head = result_line("head", "toy", supports=["s0", "s1"], least_gain=1.1)
    lines = (
        line("a", AS_IT_IS, (None, 0.9), (None, 1.02)),
        line("b", AS_IT_IS, (None, 0.5)),
        line("a", MIRRORED, (MIRRORED, 1.5), (None, 1.05), (MIRRORED, None)),
    )
    text = orientation_section(Results((head, *lines)))
    assert "| as it is | 0 of 3 | 0.50 | 1.02 |" in text
    assert "| mirrored left to right | 2 of 3 | 1.05 | 1.50 |" in text
    assert "benchmark orientation --dataset DIR/toy" in text and "Supports `s0`, `s1`" in text and "1.1." in text
