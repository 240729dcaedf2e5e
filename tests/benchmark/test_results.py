import json

import pytest

from bundle.benchmark.results import Results, read_cohorts, read_results, result_line, results_file, write_results
from scripts.common.errors import BundleError
from tests.benchmark.fixtures import head


def test_what_is_measured_anew_takes_its_place():
    results = Results((head(), result_line("run", "x", dice=1), result_line("run", "y", dice=2)))
    results = results.including(result_line("run", "x", dice=3)).including(result_line("network", "x", dice=4))
    assert [(line["what"], line["name"]) for line in results.lines] == [
        *(("head", "toy"), ("run", "x"), ("run", "y")),
        ("network", "x"),
    ]
    assert results.get("run", "x") == {"what": "run", "name": "x", "dice": 3}
    assert [line["dice"] for line in results.of("run")] == [3, 2]
    assert results.get("run", "z") is None


def test_a_head_of_the_same_data_keeps_the_lines_one_of_other_data_drops_them():
    results = Results((head() | {"made": {"date": "2026-01-01"}}, result_line("run", "x")))
    again = head() | {"made": {"date": "2026-01-02"}}
    assert results.including(again).lines == (again, result_line("run", "x"))
    assert results.including(head(configuration="full")).lines == (head(configuration="full"),)


def test_without_a_head_nothing_is_known():
    assert Results().head == {}


def test_results_are_one_json_object_a_line(tmp_path):
    results = Results((head(), result_line("run", "x", dice=[0.5, None])))
    file = results_file(tmp_path, "toy", "default")
    write_results(file, results)
    assert file == tmp_path / "benchmarks" / "toy" / "default.jsonl"
    assert [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()] == list(results.lines)
    assert read_results(file) == results
    assert read_cohorts(tmp_path) == {"toy": {"default": results}}
    assert read_results(results_file(tmp_path, "toy", "paper")) == Results()


@pytest.mark.parametrize("text", ["no json", '{"what": "run"}', "[1, 2]"])
def test_a_damaged_line_is_named(tmp_path, text):
    file = tmp_path / "default.jsonl"
    file.write_text(json.dumps(head()) + "\n" + text + "\n", encoding="utf-8")
    with pytest.raises(BundleError, match="line 2 of the raw results is damaged"):
        read_results(file)


def test_no_infinite_number_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_results(tmp_path / "x.jsonl", Results((result_line("run", "x", dice=float("inf")),)))
    assert not (tmp_path / "x.jsonl").exists()
