import json

import pytest

from bundle.arguments import command_parser
from bundle.benchmark import command
from bundle.benchmark.results import Results, read_results, result_line, results_file
from bundle.benchmark.tables.pages import pages
from bundle.datasets.phantom_cohort import write_phantom_cohort
from scripts.common.errors import BundleError
from scripts.common.files import write_json
from tests.benchmark.fixtures import head, network, run
from tests.paths import ROOT
from tests.pipeline_fixtures import make_weights

DOCS = ROOT / "docs"


def parse(*arguments):
    return command_parser().parse_args(["benchmark", *arguments])


def test_a_line_that_says_what_it_said_before_keeps_its_origin(tmp_path, monkeypatch):
    made = command.made()
    monkeypatch.setattr(command, "made", lambda: made | {"commit": "first"})
    command.keep([head(), run(0.3, 0.9), network("supervised", 0.7, 0.9)], tmp_path, "toy", "default")
    monkeypatch.setattr(command, "made", lambda: made | {"commit": "second"})
    again = [head(), run(0.3, 0.9), network("supervised", 0.7, 0.8)]
    results = command.keep(again, tmp_path, "toy", "default")
    assert [line["made"]["commit"] for line in results.lines] == ["first", "first", "second"]
    assert results.lines[2]["scores"] == again[2]["scores"]


def test_every_line_is_kept_as_soon_as_it_is_there(tmp_path):
    file = results_file(tmp_path, "toy", "default")

    def lines():
        yield head()
        assert [line["what"] for line in read_results(file).lines] == ["head"]
        yield run(0.3, 0.9)
        assert "| s a, support mask as grown | 0.30 | 0.90 | 0.60 | 0.30 |" in page.read_text(encoding="utf-8")
        raise KeyboardInterrupt

    page = tmp_path / "benchmarks" / "toy.md"
    with pytest.raises(KeyboardInterrupt):
        command.keep(lines(), tmp_path, "toy", "default")
    kept = read_results(file)
    assert [line["what"] for line in kept.lines] == ["head", "run"]
    assert set(kept.lines[1]["made"]) == {"date", "version", "commit", "machine"}
    results = command.keep([head(), network("supervised", 0.7, 0.9)], tmp_path, "toy", "default")
    assert [line["what"] for line in results.lines] == ["head", "run", "network"], "what was measured before stays"
    assert "toy" in (tmp_path / "results.md").read_text(encoding="utf-8")


def test_committed_pages_are_what_the_raw_results_give(tmp_path):
    rivals = json.loads((DOCS / "benchmarks" / "rivals.json").read_text(encoding="utf-8"))
    beside = (read_results(DOCS / "benchmarks" / name) for name in (command.CAMPAIGN, command.COHORT_SIZES))
    texts = pages(command.read_cohorts(DOCS), rivals, *beside)
    written = [file for file in (DOCS / "benchmarks").glob("*.*") if file.suffix in (".md", ".svg")]
    assert set(texts) == {"results.md", *(f"benchmarks/{file.name}" for file in written)}
    different = [name for name, text in texts.items() if (DOCS / name).read_text(encoding="utf-8") != text]
    assert different == [], "python -m bundle benchmark pages"


@pytest.mark.parametrize("file", sorted((DOCS / "benchmarks").glob("*/*.jsonl")), ids=lambda file: file.stem)
def test_pages_can_be_written_whenever_a_benchmark_is_cut_off(file):
    whole = read_results(file).lines
    for count in range(1, len(whole)):
        assert "benchmarks/x.md" in pages({"x": {file.stem: Results(whole[:count])}})


def test_the_results_fit_one_page_and_its_links_lead_somewhere():
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 160
    for target in ("benchmarks/abdomen_ct.md", "benchmarks/headneck_ct.md", "benchmarks/ablation.md"):
        assert f"]({target})" in text and (DOCS / target).is_file()


def test_pages_are_written_without_measuring(tmp_path, capsys):
    command.keep([head(), run(0.3, 0.9)], tmp_path, "toy", "default")
    write_json(tmp_path / "benchmarks" / "rivals.json", {"paper": {}, "systems": []})
    page = tmp_path / "benchmarks" / "toy.md"
    before = page.read_text(encoding="utf-8")
    page.unlink()
    command.run(parse("pages", "--docs", str(tmp_path)))
    assert page.read_text(encoding="utf-8") == before
    assert str(tmp_path / "results.md") in capsys.readouterr().out


def test_a_measurement_needs_a_dataset():
    with pytest.raises(BundleError, match="needs a dataset"):
        command.run(parse("limits"))


def test_mode_paper_takes_prnets_trained_before(tmp_path, monkeypatch):
    write_phantom_cohort(tmp_path / "toy", 3, 1, spacing_mm=(12.0, 12.0, 15.0))
    weights, seen = make_weights(tmp_path / "weights"), []
    monkeypatch.setattr(command.paper, "measure", lambda bench, weights: seen.append(weights) or [head("toy")])
    places = "--dataset", str(tmp_path / "toy"), "--output", str(tmp_path / "out"), "--docs", str(tmp_path / "docs")
    for given in ([], ["--weights", str(weights)]):
        command.run(parse("paper", *places, *given))
    assert seen == [None, weights]
    for name, *more in (["paper", "--ship"], ["default"]):
        with pytest.raises(BundleError, match="--weights is for `paper` alone"):
            command.run(parse(name, *places, "--weights", str(weights), *more))


def test_another_version_is_measured_first_where_nothing_was_kept_before(tmp_path, monkeypatch, capsys):
    dataset = write_phantom_cohort(tmp_path / "toy", 3, 1, spacing_mm=(12.0, 12.0, 15.0))

    def measured(what, cpu_s):
        steps = {"masks": {"cpu_s": cpu_s, "wall_s": cpu_s, "peak_mb": 1000}}
        return [result_line(what, "small", shape=[2, 2, 2], classes=["a"], steps=steps)]

    monkeypatch.setattr(command, "measured_at", lambda *_: measured("speed_before", 4.0))
    monkeypatch.setattr(command.speed, "measure", lambda *_, **__: measured("speed", 3.0))
    places = "--dataset", str(dataset), "--docs", str(tmp_path / "docs")
    command.run(parse("speed", *places, "--against", "abc"))
    assert "small, masks: 0.75 of what it took" in capsys.readouterr().out
    assert "| masks | 4.0 → 3.0 |" in (tmp_path / "docs" / "benchmarks" / "toy.md").read_text(encoding="utf-8")


def test_a_kind_lies_where_its_name_says(tmp_path):
    command.keep([head("x"), result_line("stages", "embedding", stages={})], tmp_path, "x", "default")
    assert (tmp_path / "benchmarks" / "x" / "default.jsonl").is_file()
