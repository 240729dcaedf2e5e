import json

import numpy as np
import pytest

from bundle.benchmark import ablation, default, limits, networks, pages, paper, runs
from bundle.benchmark.points import count_points, redenoise, sweep, write_redenoised
from bundle.datasets.dataset import read_dataset
from bundle.datasets.phantom_cohort import write_phantom_cohort
from bundle.pipeline.settings import RunSettings
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.data.volume_io import Volume
from scripts.points.denoising import denoising_rule
from scripts.pseudo_labels.settings import GeodesicSettings
from scripts.registration.embedding_matching import MapRound, MatchingSettings
from tests.label_propagation.test_first_round import write_embedding
from tests.pipeline_fixtures import default_settings, make_weights, phantom_settings, save

# ------------------------------------------------------------------------------------------------------------- points

AFFINE = np.diag([2.0, 3.0, 5.0, 1.0])


def point(name, label, place_mm, m2, m4, misfit=0.0):
    similarity = {"m1": 1.0, "m2": m2, "m3": 1.0, "m4": m4}
    places = {"located_mm": place_mm, "working_voxel": [round(v / 4) for v in place_mm]}
    judged = {"similarity": similarity, "tissue_misfit": misfit, "kept": True, "reason": ""}
    return {"class": name, "label": label, **places, **judged}


def record(*points, case="b"):
    classes = {"spleen": 1, "liver": 6}
    return {"case": case, "support": "a", "classes": classes, "spacing_mm": [4.0, 4.0, 4.0], "points": list(points)}


def test_another_threshold_keeps_other_points():
    points = [point("spleen", 1, [0, 0, 0], 0.9, 0.9), point("liver", 6, [40, 0, 0], 0.9, 0.6)]
    strict, mild = (redenoise(record(*points), denoising_rule("dual", tau)) for tau in (0.7, 0.5))
    assert [p["kept"] for p in strict["points"]] == [True, False]
    assert [p["reason"] for p in strict["points"]] == ["", "similarity"]
    assert [p["score"] for p in strict["points"]] == [0.81, 0.54]
    assert strict["not_located"] == ["liver"]
    assert (strict["rule"], strict["levels"], strict["tau"]) == ("dual", ["m2", "m4"], 0.7)
    assert [p["kept"] for p in mild["points"]] == [True, True]
    assert mild["not_located"] == []


def test_another_tissue_tolerance_keeps_other_points():
    points = [point("spleen", 1, [0, 0, 0], 0.9, 0.9, misfit=0.1), point("liver", 6, [40, 0, 0], 0.9, 0.9)]
    checked = redenoise(record(*points), denoising_rule("dual", 0.5, tissue_tolerance=0.08))
    assert [p["reason"] for p in checked["points"]] == ["tissue", ""]
    assert checked["tissue_tolerance"] == 0.08 and checked["not_located"] == ["spleen"]


def test_collisions_are_judged_on_the_working_grid():
    points = [
        point("spleen", 1, [4.0, 8.0, 0.0], 0.8, 0.9),
        point("liver", 6, [5.9, 7.0, 1.0], 0.9, 0.9),  # the same voxel of 4 mm, more similar
        point("background", 0, [4.0, 8.0, 0.0], 1.0, 1.0),  # erases nothing
    ]
    result = redenoise(record(*points), denoising_rule("dual", 0.5))
    assert [p["reason"] for p in result["points"]] == ["collision", "", "collision"]


def test_the_supports_own_points_always_stay():
    result = redenoise(record(point("spleen", 1, [0, 0, 0], 0.1, 0.1), case="a"), denoising_rule("dual", 0.9))
    assert result["points"][0]["kept"] is True


def truth():
    label = np.zeros((10, 10, 10), np.uint8)
    label[1, 1, 1], label[2, 2, 2], label[3, 3, 3] = 1, 6, 9
    return label


def test_points_are_counted_where_they_lie():
    at = [np.multiply(index, [2.0, 3.0, 5.0]).tolist() for index in ([1, 1, 1], [2, 2, 2], [3, 3, 3], [99, 99, 99])]
    points = [
        point("spleen", 1, at[0], 1, 1),
        point("spleen", 1, at[1], 1, 1),
        point("liver", 6, at[1], 1, 1) | {"kept": False},
        point("background", 0, at[2], 1, 1),  # another organ, which is none of the classes
        point("background", 0, at[0], 1, 1),
        point("background", 0, at[3], 1, 1),  # outside: the nearest voxel counts
    ]
    assert count_points(record(*points), Volume(truth(), AFFINE)) == {
        "spleen": {"all": 2, "kept": 2, "right": 1},
        "liver": {"all": 1, "kept": 0, "right": 0},
        "background": {"all": 3, "kept": 3, "right": 2},
    }


def test_sweep_averages_over_cases(tmp_path):
    right, wrong = [2.0, 3.0, 5.0], [18.0, 27.0, 45.0]
    points = {
        "b": [point("spleen", 1, right, 0.9, 0.9), point("spleen", 1, wrong, 0.9, 0.9), point("liver", 6, right, 0, 0)],
        "c": [point("spleen", 1, right, 0.1, 0.1), point("liver", 6, [4.0, 6.0, 10.0], 0.9, 0.9)],
    }
    background = point("background", 0, [0.0, 27.0, 0.0], 1, 1)
    for case, listed in points.items():
        write_json(tmp_path / "propagation" / f"{case}.json", record(*listed, background, case=case))
        save(tmp_path / "labels" / f"{case}.nii.gz", truth(), AFFINE)
    rows = sweep(tmp_path, tmp_path / "labels", ["b", "c"], [denoising_rule("dual", 0.5)])
    assert [row["class"] for row in rows] == ["spleen", "liver", "background"]
    spleen = rows[0]
    assert (spleen["kept_mean"], spleen["kept_sd"]) == (0.5, 0.5)
    assert (spleen["precision_mean"], spleen["cases_with_points"]) == (0.5, 1)
    assert rows[2]["precision_mean"] == 1.0


def test_redenoised_records_are_written(tmp_path):
    write_json(tmp_path / "propagation" / "b.json", record(point("spleen", 1, [0, 0, 0], 0.9, 0.9)))
    write_redenoised(tmp_path, tmp_path / "new", denoising_rule("dual", 0.9), ["b"])
    assert read_json(tmp_path / "new" / "propagation" / "b.json")["not_located"] == ["spleen", "liver"]


# -------------------------------------------------------------------------------------------------------------- pages


def test_a_section_is_appended_and_then_replaced(tmp_path):
    page = tmp_path / "docs" / "page.md"
    pages.replace_section(page, "one", "first")
    assert page.read_text(encoding="utf-8") == "<!-- begin one -->\nfirst\n<!-- end one -->\n"
    pages.replace_section(page, "two", "second")
    page.write_text("# By hand\n\n" + page.read_text(encoding="utf-8") + "\nanalysis\n")
    pages.replace_section(page, "one", r"again \1 \g<0>")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# By hand\n\n<!-- begin one -->\nagain \\1 \\g<0>\n<!-- end one -->\n")
    assert "first" not in text
    assert "second" in text
    assert text.endswith("\nanalysis\n")


def test_table():
    assert pages.table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


# ------------------------------------------------------------------------------------------------------------ dataset


def test_dataset_is_read(tmp_path):
    content = {
        "labels": {"1": "spleen", "6": "liver", "7": "stomach"},
        "paper_classes": ["liver", "spleen"],
        "background_scribble": 8,
        "support": "a",
        "unlabelled": ["a", "b"],
        "test": ["c"],
    }
    write_json(tmp_path / "dataset.json", content)
    dataset = read_dataset(tmp_path)
    assert dataset.classes == {"liver": 6, "spleen": 1}
    assert dataset.scribbles("b") == tmp_path / "scribbles" / "a_b.nii.gz"
    assert dataset.image("c") == tmp_path / "images" / "c.nii.gz"
    assert dataset.labels == tmp_path / "labels"
    assert dataset.phantom is False
    write_json(tmp_path / "dataset.json", content | {"paper_classes": ["heart"]})
    with pytest.raises(BundleError, match=r"dataset\.json lacks something") as caught:
        read_dataset(tmp_path)
    assert "heart" in str(caught.value)


# ------------------------------------------------------------------------------------------------------- the real thing


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    return write_phantom_cohort(tmp_path_factory.mktemp("data") / "phantoms", 4, 1, spacing_mm=(12.0, 12.0, 15.0))


def test_limits_in_miniature(phantoms, tmp_path, monkeypatch):
    weights = make_weights(tmp_path / "models" / "phantoms")
    write_embedding(weights / "embedding", [4.0] * 3)
    lenient = MatchingSettings(100, [MapRound(None, 1000.0, None, 30.0)])
    monkeypatch.setattr(limits, "weights_folder", lambda name, mode: weights)
    monkeypatch.setattr(limits, "MatchingSettings", lambda: lenient)
    monkeypatch.setattr(limits, "POINTS", 5)
    monkeypatch.setattr(limits, "resample", lambda volume, spacing_mm: volume)
    result = limits.run(phantoms, tmp_path / "docs" / "page.md")
    assert [row["limit_s"] for row in result["rows"]] == [60, 10, 3, 3, 60]
    assert [len(row["seconds"]) for row in result["rows"]] == [3, 3, 3, 3, 1]
    assert all(row["median_s"] == sorted(row["seconds"])[len(row["seconds"]) // 2] for row in result["rows"])
    assert read_json(tmp_path / "docs" / "benchmarks" / "limits_phantoms.json") == result
    assert "### Limits, phantoms" in (tmp_path / "docs" / "page.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_paper_in_miniature(phantoms, tmp_path, monkeypatch):
    tiny = phantom_settings(15.0)
    monkeypatch.setattr(paper, "RunSettings", lambda **values: RunSettings(**values, overrides=tiny))
    coarser = GeodesicSettings(spacing_mm=tiny["pseudo_labels"]["geodesic_spacing_mm"])
    monkeypatch.setattr(paper, "read_component", lambda names, key: coarser)
    page = tmp_path / "docs" / "page.md"
    result = paper.run(phantoms, tmp_path / "out", page, small=True, device="cpu")
    assert json.loads((tmp_path / "docs" / "benchmarks" / "paper_phantoms.json").read_text(encoding="utf-8")) == result
    assert {(row["rule"], row["tau"], row["tissue_tolerance"]) for row in result["points"]} == {
        (rule, tau, tolerance)
        for rule, tolerance in (("dual", None), ("multi", None), ("dual", paper.TISSUE_TOLERANCE))
        for tau in paper.POINT_TAUS
    }
    assert list(result["pseudo_labels"]) == ["0.0", "0.5", "0.9", "0.5, tissue check"]
    for scores in (*result["pseudo_labels"].values(), result["trained_with_plc"], result["trained_without_plc"]):
        assert list(scores["cases"]) == ["phantom_03"]
    assert "segmentation_without_plc" in result["stages"]
    assert list(result["stages_on_test"]) == ["propagation", "pseudo_labels"]
    text = page.read_text(encoding="utf-8")
    assert "trained with PLC" in text
    assert "dual, tau" in text
    assert "| segmentation |" in text


@pytest.mark.slow
def test_default_in_miniature(phantoms, tmp_path, monkeypatch):
    tiny = default_settings(15.0)

    def small_settings(overrides=None, **values):
        merged = {stage: tiny.get(stage, {}) | (overrides or {}).get(stage, {}) for stage in tiny}
        return RunSettings(**values, overrides=merged)

    monkeypatch.setattr(runs, "RunSettings", small_settings)
    page = tmp_path / "docs" / "page.md"
    result = default.run(phantoms, tmp_path / "out", page, small=True, device="cpu", out_of_distribution=phantoms)
    assert (
        json.loads((tmp_path / "docs" / "benchmarks" / "default_phantoms.json").read_text(encoding="utf-8")) == result
    )
    assert [(run["support"], run["variant"], run["support_mask"]) for run in result["runs"]] == [
        ("phantom_00", "a", "as grown"),
        ("phantom_00", "a", "accepted"),
    ]
    grown, accepted = result["runs"]
    assert list(grown["region_dice"]["cases"]) == ["phantom_00"] and accepted["region_dice"] is None
    for run in result["runs"]:
        assert list(run["pseudo_labels"]["cases"]) == ["phantom_03"]
        assert run["trust"]["results"] == len(result["classes"])
        assert {row["class"] for row in run["points"]} == {*result["classes"], "background"}
    assert "embedding" in result["stages"] and "embedding" not in grown["stages"], "one network serves all"
    trained = result["networks"]
    for name in ("one_shot", "one_shot_joined", "supervised"):
        assert list(trained[name]["cases"]) == ["phantom_03"]
    assert list(trained["pseudo_labels"]["cases"]) == ["phantom_01", "phantom_02"]
    assert trained["one_shot_joined"]["trust"]["results"] == len(result["classes"])
    assert list(result["out_of_distribution"]["cases"]) == ["phantom_03"]
    text = page.read_text(encoding="utf-8")
    assert "fully supervised" in text and "network and votes together" in text
    assert "phantom_00 a, region accepted" in text and "**all, region as grown**" in text
    assert "Volumes of another body part" in text
    monkeypatch.setattr(ablation, "MASKS", _some(ablation.MASKS, ablation.FULL, "no helping cases"))
    monkeypatch.setattr(ablation, "NETWORKS", _some(ablation.NETWORKS, ablation.FULL, "starts afresh"))
    found = ablation.run(phantoms, tmp_path / "out", page, small=True, device="cpu")
    assert found["masks"][ablation.FULL]["supports"]["phantom_00"] == grown["pseudo_labels"]
    assert list(found["networks"][ablation.FULL]["supports"]["phantom_00"]["cases"]) == ["phantom_03"]
    assert "| no helping cases |" in page.read_text(encoding="utf-8") and "| starts afresh |" in page.read_text(
        encoding="utf-8"
    )
    bench = runs.open_bench(phantoms, tmp_path / "out", small=True, device="cpu")
    recipe = networks.full_recipe(bench.on_unlabelled("one_shot").settings)
    assert recipe["spacing_mm"] == [2.0, 2.0, 2.0] and "use_plc" not in recipe, "what small does otherwise, no more"
    tiny_recipe = {"max_epochs": 2, "samples_per_epoch": 2, "batch_size": 1}
    monkeypatch.setattr(networks, "full_recipe", lambda settings: {**recipe, **tiny["segmentation"], **tiny_recipe})
    found = networks.run(phantoms, tmp_path / "out", page, device="cpu")
    assert list(found["networks"]) == ["pseudo_labels", "one_shot", "one_shot_joined", "supervised"]
    assert found["trained_on"] == "cpu" and found["networks"]["pseudo_labels"] == result["networks"]["pseudo_labels"]
    assert "2 epochs of 2 volumes, 1 at a time, trained on cpu" in page.read_text(encoding="utf-8")


def _some(variants, *names):
    return {name: variants[name] for name in names}
