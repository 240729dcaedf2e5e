from bundle.benchmark.tables.captions import machine, origin
from bundle.benchmark.tables.markdown import listed, mean_sd, number, table
from tests.benchmark.fixtures import MADE


def test_table():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_nothing_is_a_dash():
    assert (number(None), mean_sd(None, None)) == ("–", "–")
    assert (number(0.125), mean_sd(0.5, None)) == ("0.12", "0.500 ± 0.000")


def test_words_are_listed():
    assert (listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])) == (
        "",
        "a",
        "a and b",
        "a, b and c",
    )


def test_a_machine_is_its_gpu_or_its_threads():
    assert machine({"threads": 1, "gpu": None}) == "1 CPU thread"
    assert machine({"threads": 2, "gpu": "a GPU"}) == "a GPU"


def test_lines_of_several_days_and_versions_say_so():
    later = MADE | {"date": "2026-01-05", "version": "0.2.0", "commit": None}
    lines = [{"made": later}, {"made": MADE}]
    assert origin(lines) == (
        "recorded 2026-01-02 to 2026-01-05 with versions 0.1.0 and 0.2.0 on 2 CPU threads (commit abc)"
    )
    assert origin([{"made": MADE}], commits=False) == "recorded 2026-01-02 with version 0.1.0 on 2 CPU threads"
    assert origin([{}]) == "not recorded when and where"
