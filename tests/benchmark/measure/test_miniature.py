"""Every benchmark, whole, on phantoms of voxels so large that nothing is learnt."""

import shutil

import pytest
import torch

from bundle.benchmark.command import keep
from bundle.benchmark.cost import limits, speed
from bundle.benchmark.measure import ablation, default, networks, orientation, paper
from bundle.benchmark.measure.runs import open_bench
from bundle.benchmark.results import EVERYTHING, PAPERS_RULES, read_results
from bundle.datasets.dataset import read_dataset
from bundle.datasets.phantom.classes import BACKGROUND_SCRIBBLE, LABELS
from bundle.datasets.phantom_cohort import write_phantom_cohort
from bundle.datasets.scribble_simulation import simulate_scribbles
from scripts.common.files import read_json, write_json, write_nifti
from scripts.data.volume_io import read_labels
from scripts.networks.anatomy_net import AnatomyNet
from scripts.networks.embedding_weights import TrainedEmbedding
from scripts.networks.model_files import write_model
from scripts.networks.segmenter import segmentation_network
from scripts.registration.embedding_matching import MatchingSettings
from tests.pipeline_fixtures import default_settings, make_weights, phantom_settings

SPACING_MM = 12.0


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    return write_phantom_cohort(tmp_path_factory.mktemp("data") / "phantoms", 4, 1, spacing_mm=(12.0, 12.0, 15.0))


def test_limits_in_miniature(phantoms, tmp_path):
    weights = make_weights(tmp_path / "models" / "phantoms", SPACING_MM)
    torch.manual_seed(0)
    card = {"widths": [4, 8, 8, 8, 8], "channels": 16, "window_size": [32, 32, 32], "spacing_mm": [SPACING_MM] * 3}
    write_model(weights / "embedding", AnatomyNet(card["widths"], 16, 16), card)
    sizes = limits.Sizes(points=5, spacing_mm=SPACING_MM, repeats=2, matching=MatchingSettings(body_points=300))
    docs = tmp_path / "docs"
    results = keep(limits.measure(read_dataset(phantoms), tmp_path / "models", sizes), docs, "phantoms", "limits")
    lines = results.of("limit")
    assert [line["limit_s"] for line in lines] == [60, 10, 3, 3, 60]
    assert [len(line["seconds"]) for line in lines] == [2, 2, 2, 2, 1]
    assert all(line["median_s"] == pytest.approx(sum(line["seconds"]) / len(line["seconds"])) for line in lines)
    assert lines[0]["name"] == "point propagation, 5 points into one 12 mm volume"
    assert read_results(docs / "benchmarks" / "phantoms" / "limits.jsonl") == results
    assert "## Limits" in (docs / "benchmarks" / "phantoms.md").read_text(encoding="utf-8")


def test_speed_in_miniature(phantoms, tmp_path):
    torch.manual_seed(0)
    card = {"widths": [4, 8, 8, 8, 8], "channels": 16, "window_size": [32, 32, 32], "spacing_mm": [SPACING_MM] * 3}
    write_model(tmp_path / "models" / "phantoms" / "embedding", AnatomyNet(card["widths"], 16, 16), card)
    dataset = read_dataset(phantoms)
    network = {"architecture": "anatomy", "channels": card["widths"], "classes": dataset.classes, "crop_to_body": True}
    network |= {"patch_size": [32, 32, 32], "spacing_mm": card["spacing_mm"]}
    write_model(tmp_path / "models", segmentation_network("anatomy", len(dataset.classes) + 1, card["widths"]), network)
    trials = speed.Trial(native_masks=True, repeats=2), speed.Trial((40, 30, 26), all_classes=True)
    lines = speed.measure(dataset, tmp_path / "models", trials)
    results = keep(lines, tmp_path / "docs", "phantoms", "speed")
    small, large = results.of(speed.SPEED)
    assert large["shape"] == [40, 30, 26] and len(large["classes"]) > len(small["classes"])
    assert list(large["steps"]) == [step for step in small["steps"] if step not in speed.BESIDE]
    assert set(speed.BESIDE) < set(small["steps"]), "the network has the classes of the first trial"
    assert all(
        cost["cpu_s"] >= 0 and cost["peak_mb"] > 100 for line in (small, large) for cost in line["steps"].values()
    )
    assert "## Speed of one case" in (tmp_path / "docs/benchmarks/phantoms.md").read_text(encoding="utf-8")


def test_orientation_in_miniature(phantoms, tmp_path):
    torch.manual_seed(0)
    card = {"widths": [4, 8, 8, 8, 8], "channels": 16, "window_size": [32, 32, 32], "spacing_mm": [SPACING_MM] * 3}
    write_model(tmp_path / "models" / "phantoms" / "embedding", AnatomyNet(card["widths"], 16, 16), card)
    lines = orientation.measure(read_dataset(phantoms), tmp_path / "models")
    results = keep(lines, tmp_path / "docs", "phantoms", "orientation")
    found = [(line["orientation"], line["case"], list(line["fits"])) for line in results.of("orientation")]
    others = [("as it is", case, ["phantom_00"]) for case in ("phantom_01", "phantom_02")]
    assert found[:4] == [("as it is", "phantom_03", ["phantom_00"]), ("as it is", "phantom_00", []), *others]
    assert [case for _, case, _ in found[4:11]] == ["phantom_03"] * 7, "test volumes are turned"
    assert [words for words, *_ in found[11:]] == ["as it is, untrained network"] * 4
    assert "## Turned and mirrored bodies" in (tmp_path / "docs/benchmarks/phantoms.md").read_text(encoding="utf-8")


def test_an_untrained_network_has_other_weights_and_the_same_every_time():
    trained = TrainedEmbedding(AnatomyNet([4, 8, 8, 8, 8], 16, 16), (32, 32, 32), (4.0, 4.0, 4.0))
    once, again = (orientation.untrained(trained).network.state_dict() for _ in range(2))
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert any(not torch.equal(once[name], weights) for name, weights in trained.network.state_dict().items())


def with_another_support(phantoms, folder):
    """A copy of the dataset that has strokes of its second volume too."""
    shutil.copytree(phantoms, folder)
    label = read_labels(folder / "labels" / "phantom_01.nii.gz")
    strokes = simulate_scribbles(label.array, label.affine, LABELS, BACKGROUND_SCRIBBLE, 0)
    write_nifti(folder / "scribbles" / "phantom_01_a.nii.gz", strokes, label.affine)
    description = folder / "dataset.json"
    write_json(description, {**read_json(description), "alternative_supports": ["phantom_01"]})
    return folder


@pytest.mark.slow
def test_paper_in_miniature(phantoms, tmp_path):
    docs, phantoms = tmp_path / "docs", with_another_support(phantoms, tmp_path / "phantoms")
    bench = open_bench(phantoms, tmp_path / "out", small=True, device="cpu", overrides=phantom_settings(15.0))
    thresholds = paper.Thresholds(points=(0.0, 0.5), masks=(0.0,))
    results = keep(paper.measure(bench, thresholds), docs, "phantoms", "paper")
    assert {(row["rule"], row["tau"], row["tissue_tolerance"]) for row in results.of("points")} == {
        (rule, tau, tolerance)
        for rule, tolerance in (("dual", None), ("multi", None), ("dual", thresholds.tissue_tolerance))
        for tau in thresholds.points
    }
    masks = ["tau 0.0", "tau 0.5, tissue check", "tau 0.5, bounded"]
    of_another = ["tau 0.5, phantom_01", "tau 0.5, bounded, phantom_01"]
    assert [line["name"] for line in results.of("masks")] == [*masks, *of_another]
    located = {(row.get("support"), row["name"].partition(",")[0]) for row in results.of("points")}
    assert located == {(None, "dual"), (None, "multi"), ("phantom_01", "phantom_01")}
    trained = ["with_plc", "without_plc", "guarded_plc", "bounded_without_plc", "bounded_guarded_plc"]
    assert [line["name"] for line in results.of("network")] == trained
    for line in (*results.of("masks"), *results.of("network")):
        assert list(line["scores"]["cases"]) == ["phantom_03"]
    test = read_json(tmp_path / "out" / "test" / "run.json")
    assert test["weights"] == str(tmp_path / "out" / "prnet"), "trained once, for every support"
    faithful = read_json(tmp_path / "out" / "run.json")
    assert (faithful["small"], faithful["bounded_labels"]) == (True, False)
    assert faithful["overrides"]["segmentation"]["plc_guarded"] is False
    unlabelled, test = (results.get("stages", name)["stages"] for name in ("unlabelled", "test"))
    assert "segmentation_without_plc" in unlabelled and "segmentation" in unlabelled
    assert list(test) == ["first_points", "point_propagation", "pseudo_labels"]
    text = (docs / "benchmarks" / "phantoms.md").read_text(encoding="utf-8")
    assert (
        "| trained with label correction |" in text and "dual, tau" in text and "| segmentation (unlabelled) |" in text
    )


@pytest.mark.slow
def test_the_papers_rules_alone_in_miniature(phantoms, tmp_path):
    docs, phantoms = tmp_path / "docs", with_another_support(phantoms, tmp_path / "phantoms")
    bench = open_bench(phantoms, tmp_path / "out", small=True, device="cpu", overrides=phantom_settings(15.0))
    thresholds = paper.Thresholds(points=(0.5,), masks=(0.0, 0.5))
    results = keep(paper.measure_papers_rules(bench, thresholds), docs, "phantoms", PAPERS_RULES)
    assert [line["name"] for line in results.of("masks")] == ["tau 0.0", "tau 0.5", *OF_ANOTHER]
    assert {(row.get("support"), row["rule"]) for row in results.of("points")} == {
        (support, rule) for support in (None, "phantom_01") for rule in ("dual", "multi")
    }
    assert [line["name"] for line in results.of("network")] == ["with_plc", "without_plc"]
    assert "first_points" not in results.get("stages", "unlabelled")["stages"], "no atlases, so no first round"
    run = read_json(tmp_path / "out" / "papers_rules" / "run.json")
    assert run["weights"] == str(tmp_path / "out" / "prnet") and run["bounded_labels"] is False
    assert run["overrides"]["point_propagation"].items() >= paper.PAPERS_RULES["point_propagation"].items()
    assert run["overrides"]["segmentation"]["plc_guarded"] is False
    assert "by the rules of the paper alone" in (docs / "benchmarks" / "phantoms.md").read_text(encoding="utf-8")


OF_ANOTHER = ["tau 0.0, phantom_01", "tau 0.5, phantom_01"]


@pytest.mark.slow
def test_default_in_miniature(phantoms, tmp_path):
    tiny, docs = default_settings(15.0), tmp_path / "docs"
    page = docs / "benchmarks" / "phantoms.md"
    bench = open_bench(phantoms, tmp_path / "out", small=True, device="cpu", overrides=tiny)
    results = keep(default.measure(bench, read_dataset(phantoms), count=1), docs, "phantoms", "default")
    assert read_results(docs / "benchmarks" / "phantoms" / "default.jsonl") == results
    runs = results.of("run")
    assert [line["name"] for line in runs] == [
        "phantom_00 a, support mask as grown",
        "phantom_00 a, support mask accepted",
    ]
    grown, accepted = runs
    assert list(grown["support_mask_scores"]["cases"]) == ["phantom_00"] and accepted["support_mask_scores"] is None
    classes = results.head["classes"]
    for line in runs:
        assert list(line["scores"]["cases"]) == ["phantom_03"]
        assert line["trust"]["results"] == len(classes)
        assert {row["class"] for row in line["points"]} == {*classes, "background"}
    trained = results.get("stages", "embedding")["stages"]
    assert "embedding" in trained and "embedding" not in grown["stages"], "one network serves all"
    for name in ("one_shot", "ensemble", "supervised"):
        assert list(results.get("network", name)["scores"]["cases"]) == ["phantom_03"]
    pseudo_labels = results.get("network", "pseudo_labels")["scores"]
    assert list(pseudo_labels["cases"]) == ["phantom_01", "phantom_02"]
    assert results.get("network", "ensemble")["trust"]["results"] == len(classes)
    assert [line["case"] for line in results.of("out_of_distribution")] == ["phantom_03"]
    assert len(results.of("all_classes")) == 1
    of_all_classes = results.of("all_classes_network")
    assert [line["name"] for line in of_all_classes] == ["pseudo_labels", "one_shot", "ensemble", "supervised"]
    every_class = read_dataset(phantoms).all_classes
    assert all(list(line["scores"]["classes"]) == list(every_class) for line in of_all_classes)
    text = page.read_text(encoding="utf-8")
    assert "fully supervised" in text and "network and atlases together" in text
    assert "phantom_00 a, support mask accepted" in text and "**all, support mask as grown**" in text
    assert "Volumes of another body part" in text
    assert "phantoms" in (docs / "results.md").read_text(encoding="utf-8")

    masks = {name: ablation.MASKS[name] for name in (EVERYTHING, "no selected atlases")}
    variants = {name: ablation.NETWORKS[name] for name in (EVERYTHING, "starts afresh")}
    changed = keep(ablation.measure(bench, masks, variants), docs, "phantoms", "ablation")
    assert changed.get("masks", f"{EVERYTHING}, phantom_00")["scores"] == grown["scores"]
    whole = changed.get("network", f"{EVERYTHING}, phantom_00")
    assert list(whole["scores"]["cases"]) == ["phantom_03"]
    text = (docs / "benchmarks" / "ablation.md").read_text(encoding="utf-8")
    assert "| no selected atlases |" in text and "| starts afresh |" in text

    recipe = networks.full_recipe(bench.on_unlabelled("one_shot").settings)
    assert recipe["spacing_mm"] == [2.0, 2.0, 2.0] and "use_plc" not in recipe, "what small does otherwise, no more"
    tiny_recipe = {**recipe, **tiny["segmentation"], "max_epochs": 2, "samples_per_epoch": 2, "batch_size": 1}
    full = keep(networks.measure(bench, tiny_recipe), docs, "phantoms", "networks")
    assert [line["name"] for line in full.of("network")] == ["pseudo_labels", "one_shot", "ensemble", "supervised"]
    assert full.get("network", "one_shot")["trained_on"] == "cpu"
    assert full.get("network", "pseudo_labels")["scores"] == pseudo_labels
    assert "2 epochs of 2 volumes, 1 at a time, trained on cpu" in page.read_text(encoding="utf-8")
