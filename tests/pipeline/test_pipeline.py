import dataclasses

import numpy as np
import pytest

from bundle.pipeline.configs import with_paths
from bundle.pipeline.modes import MODES, weights_folder
from bundle.pipeline.network_labels import FOLDER_RECORD
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.settings import RunSettings, merged_overrides, save_settings, saved_settings
from bundle.results.final_labels import has_final_labels
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.data.cohort import load_cohort
from tests.damage import damage
from tests.pipeline_fixtures import FakeStages, make_cohort, make_weights, run_all, save, settings, strokes, volume

ALL = ["train_prnet", "fine", "first_points", "point_propagation", "pseudo_labels", "train", "inference"]


@pytest.fixture
def stages(monkeypatch):
    fake = FakeStages()
    monkeypatch.setattr("bundle.pipeline.runner.run_config", fake)
    monkeypatch.setattr("bundle.pipeline.state.hand_back_memory", lambda: None)  # slow, and there is nothing to collect
    return fake


@pytest.fixture
def folder(tmp_path):
    return make_cohort(tmp_path)


def again(stages, new_settings):
    """Run everything with these settings; which stages ran."""
    stages.calls.clear()
    run_all(Pipeline(new_settings))
    return stages.names


def test_stages_run_once_in_order(folder, stages):
    assert again(stages, settings(folder)) == ALL
    assert again(stages, settings(folder)) == []
    assert list(read_json(folder / "out" / "state.json")) == [
        *("prnet_coarse", "prnet_fine", "first_points", "point_propagation", "pseudo_labels", "segmentation"),
        "inference",
    ]


def test_each_stage_is_told_where_and_what(folder, stages):
    again(stages, settings(folder, device="cpu"))
    told, out = dict(stages.calls), str(folder / "out")
    assert all(overrides["device"] == "$torch.device('cpu')" for overrides in told.values())
    assert told["train_prnet"]["cohort"] == {"_target_": "scripts.data.cohort.load_cohort", "output_dir": "@output_dir"}
    assert told["point_propagation"]["prnet_dir"] == f"{out}/prnet"
    assert told["pseudo_labels"]["fine_dir"] == f"{out}/prnet/fine"
    assert told["train"]["classes"] == {"spleen": 1, "liver": 6}
    assert told["inference"]["dataset#data"] == [
        {"image": str(folder / "images" / f"case_{n}.nii.gz"), "case": f"case_{n}"} for n in range(3)
    ]


def test_training_prnet_keeps_the_cohorts_support(folder, stages):
    run_all(Pipeline(settings(folder)))
    assert load_cohort(folder / "out").support == "case_0"


def test_inference_uses_the_trained_networks_own_settings(folder, stages):
    again(stages, settings(folder))
    told = dict(stages.calls)["inference"]
    assert (told["spacing_mm"], told["patch_size"], told["channels"]) == ([9.0] * 3, [48] * 3, [2, 5])
    assert told["checkpoint"] == str(folder / "out" / "segmentation" / "model.pt")


def test_users_settings_win(folder, stages):
    again(stages, settings(folder, overrides={"inference": {"overlap": 0.25}, "segmentation": {"max_epochs": 3}}))
    told = dict(stages.calls)
    assert told["inference"]["inferer#overlap"] == 0.25
    assert told["train"]["max_epochs"] == 3


# ---------------------------------------------------------------------------------------------------- what is redone


def test_changed_scribbles_redo_propagation_and_later_but_no_prnet(folder, stages):
    again(stages, settings(folder))
    save(folder / "scribbles.nii.gz", strokes((1, 3, 6, 14)))
    assert again(stages, settings(folder)) == ALL[2:]


def test_changed_classes_or_their_order_redo_propagation_and_later(folder, stages):
    again(stages, settings(folder))
    assert again(stages, settings(folder, classes={"liver": 6, "spleen": 1})) == ALL[2:]


def test_a_changed_volume_redoes_everything(folder, stages):
    again(stages, settings(folder))
    save(folder / "images" / "case_1.nii.gz", volume(9))
    assert again(stages, settings(folder)) == ALL


@pytest.mark.parametrize(
    ("stage", "overrides", "expected"),
    [
        ("point_propagation", {"tau": 0.7}, ALL[2:]),
        ("pseudo_labels", {"settings#lam": 0.5}, ALL[4:]),
        ("segmentation", {"max_epochs": 3}, ALL[5:]),
        ("inference", {"overlap": 0.25}, ALL[6:]),
    ],
)
def test_changed_settings_redo_that_stage_and_later(folder, stages, stage, overrides, expected):
    again(stages, settings(folder))
    assert again(stages, settings(folder, overrides={stage: overrides})) == expected


def test_where_volumes_are_cached_redoes_no_training(folder, stages):
    again(stages, settings(folder))
    assert again(stages, settings(folder, overrides={"segmentation": {"cache_device": "cpu"}})) == []


def test_a_retrained_prnet_redoes_what_follows_only_if_its_weights_changed(folder, stages):
    again(stages, settings(folder))
    longer = settings(folder, overrides={"prnet_fine": {"max_epochs": 99}})
    assert again(stages, longer) == ["fine"]
    stages.weights = "others"
    assert again(stages, settings(folder)) == ALL[1:]


def test_the_runs_own_prnet_given_as_weights_redoes_nothing(folder, stages, monkeypatch):
    # The fake networks do not load.
    monkeypatch.setitem(MODES, "paper", dataclasses.replace(MODES["paper"], check_weights=lambda *_: None))
    again(stages, settings(folder))
    assert again(stages, settings(folder, weights=folder / "out" / "prnet")) == []


def test_retrained_network_predicts_every_case_again(folder, stages):
    again(stages, settings(folder))
    again(stages, settings(folder, overrides={"segmentation": {"max_epochs": 3}}))
    assert len(dict(stages.calls)["inference"]["dataset#data"]) == 3
    assert len(list((folder / "out" / "predictions").glob("*.nii.gz"))) == 3


def test_killed_inference_predicts_only_what_is_missing(folder, stages):
    stages.kill_after = 2
    with pytest.raises(SystemExit):
        run_all(Pipeline(settings(folder)))
    before = (folder / "out" / "predictions" / "case_0.nii.gz").stat().st_mtime_ns
    stages.kill_after = None
    assert again(stages, settings(folder)) == ["inference"]
    assert [item["case"] for item in stages.calls[0][1]["dataset#data"]] == ["case_2"]
    assert (folder / "out" / "predictions" / "case_0.nii.gz").stat().st_mtime_ns == before


def test_label_maps_are_final_once_all_are_made_and_checked(folder, stages):
    pipeline = Pipeline(settings(folder))
    run_all(pipeline)
    pipeline.self_check()
    assert has_final_labels(pipeline.work)
    other = Pipeline(settings(folder, overrides={"segmentation": {"max_epochs": 3}}))
    other.train_segmentation()
    stages.kill_after = 1
    with pytest.raises(SystemExit):
        other.infer()
    assert not has_final_labels(pipeline.work), "one of three is of another network"
    stages.kill_after = None
    run_all(other)
    assert not has_final_labels(pipeline.work), "nothing is known of how far to trust them"
    other.self_check()
    assert has_final_labels(pipeline.work)


def test_some_label_maps_of_a_run_that_was_killed_are_not_final(folder, stages):
    stages.kill_after = 2
    with pytest.raises(SystemExit):
        run_all(Pipeline(settings(folder)))
    assert not has_final_labels(Pipeline(settings(folder)).work)


def test_a_mode_that_predicts_no_dice_keeps_none_of_another_mode(folder, stages):
    pipeline = Pipeline(settings(folder))
    folders = (pipeline.work.self_check, pipeline.work.self_check_pseudo_labels)
    for checks in folders:
        write_json(checks / "case_1.json", {"of": "mode default"})
    run_all(pipeline)
    assert [list(checks.iterdir()) for checks in folders] == [[], []]


def test_the_log_decides_nothing(folder, stages):
    again(stages, settings(folder))
    (folder / "out" / "state.json").unlink()
    assert again(stages, settings(folder)) == []
    assert all(entry["done"] for entry in read_json(folder / "out" / "state.json").values())


def test_a_damaged_network_and_label_map_are_made_again_and_nothing_else(folder, stages):
    again(stages, settings(folder))
    damage(folder / "out" / "segmentation" / "model.pt", "cut")
    assert again(stages, settings(folder)) == ["train"], "the same weights give the same label maps"
    damage(folder / "out" / "predictions" / "case_1.nii.gz", "changed")
    assert again(stages, settings(folder)) == ["inference"]
    assert [item["case"] for item in stages.calls[0][1]["dataset#data"]] == ["case_1"]


def test_files_that_no_network_made_are_never_removed(folder, stages):
    again(stages, settings(folder))
    for file in (folder / "out" / "predictions").glob("*.json"):
        file.unlink()
    (folder / "out" / "predictions" / FOLDER_RECORD).unlink()
    with pytest.raises(BundleError, match="did not make"):
        run_all(Pipeline(settings(folder)))
    assert len(list((folder / "out" / "predictions").glob("*.nii.gz"))) == 3


def test_results_of_a_case_that_left_the_cohort_go_with_it(folder, stages):
    again(stages, settings(folder))
    (folder / "images" / "case_2.nii.gz").unlink()
    again(stages, settings(folder))
    left = [file for file in (folder / "out").rglob("case_2*") if "cache" not in file.parts]
    assert left == []


def test_a_variant_trains_beside(folder, stages):
    again(stages, settings(folder))
    pipeline = Pipeline(settings(folder))
    assert pipeline.train_segmentation("plain", {"use_plc": False}) == folder / "out" / "plain" / "segmentation"
    told = stages.calls[-1][1]
    assert (told["use_plc"], told["dataset_dir"]) == (False, str(folder / "out"))
    assert again(stages, settings(folder)) == []


def test_few_cases_leave_few_or_none_for_validation(tmp_path, stages):
    for count, expected in ((2, 0), (4, 1), (9, 2)):
        folder = make_cohort(tmp_path / str(count), count)
        again(stages, settings(folder))
        assert dict(stages.calls)["train_prnet"]["validation_count"] == expected
    chosen = settings(folder, overrides={"prnet_coarse": {"validation_count": 3}})
    again(stages, chosen)
    assert dict(stages.calls)["train_prnet"]["validation_count"] == 3


# ----------------------------------------------------------------------------------------------------------- settings


def test_settings_are_kept(folder):
    given = settings(folder, classes="spleen:1", overrides={"segmentation": {"max_epochs": 3}}, device="cpu")
    save_settings(given)
    kept = saved_settings(folder / "out")
    assert "device" not in kept
    assert RunSettings(output=folder / "out", **kept) == dataclasses.replace(given, device=None)
    assert saved_settings(folder / "elsewhere") == {}


def test_this_commands_override_counts_for_more_than_an_earlier_one_of_the_same_place(tmp_path):
    names = ["propagation_settings.json", "label_fusion.json"]
    saved = {"label_fusion": {"most_atlases": 3, "settings#most_atlases": 2}}
    merged = merged_overrides(saved, {"label_fusion": {"most_atlases": 4}}, tmp_path / "run.json")
    assert with_paths(names, merged["label_fusion"]) == {"settings#most_atlases": 4}
    assert merged_overrides(merged, {}, tmp_path / "run.json") == merged
    assert list(merged["label_fusion"]) == ["settings#most_atlases", "most_atlases"], "as the next command reads them"


@pytest.mark.parametrize("content", ["[]", '{"colour": "red"}', '{"overrides": 3}', "{"])
def test_damaged_settings_are_an_error(folder, content):
    save_settings(settings(folder))
    (folder / "out" / "run.json").write_text(content)
    with pytest.raises(BundleError) as caught:
        saved_settings(folder / "out")
    assert caught.value.file == str(folder / "out" / "run.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "other"}, "unknown mode"),
        ({"device": "gpu"}, "this device cannot be used"),
        ({"overrides": {"training": {}}}, "mode paper has no such stage"),
        ({"overrides": {"embedding": {}}}, "mode paper has no such stage"),
        ({"overrides": {"segmentation": {"nonsense": 1}}}, "unknown config key 'nonsense'"),
        ({"overrides": {"segmentation": {"max_epochs": "x"}}}, "config key 'max_epochs' cannot have this value"),
        ({"overrides": {"prnet_coarse": {"spacing_mm": [8, 8, 8]}}}, "both PRNets need one spacing"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(folder, changes, message):
    with pytest.raises(BundleError, match=message):
        Pipeline(settings(folder, **changes))
    assert not (folder / "out").exists()


# ------------------------------------------------------------------------------------------------------------ weights


def test_given_weights_set_the_spacing_and_nothing_is_trained(folder, stages):
    weights = make_weights(folder / "weights", spacing_mm=5.0)
    assert again(stages, settings(folder, weights=weights)) == ALL[2:]
    assert load_cohort(folder / "out").spacing_mm == (5.0, 5.0, 5.0)
    assert dict(stages.calls)["point_propagation"]["prnet_dir"] == str(weights)


@pytest.mark.parametrize(
    ("fine", "overrides", "message"),
    [
        ({"spacing_mm": [3.0] * 3}, {}, "trained with another spacing_mm"),
        ({"patch_size": [48] * 3}, {}, "do not load"),
        ({}, {"patch_size": [48] * 3}, "trained with another patch_size"),
        ({}, {"spacing_mm": [2.0] * 3}, "trained with another spacing_mm"),
    ],
)
def test_weights_that_do_not_fit_are_refused_first(folder, fine, overrides, message):
    weights = make_weights(folder / "weights", fine=fine)
    stages = dict.fromkeys(("prnet_coarse", "prnet_fine"), overrides)
    with pytest.raises(BundleError, match=message) as caught:
        Pipeline(settings(folder, weights=weights, overrides=stages))
    assert caught.value.stage == "weights"
    assert not (folder / "out").exists()


def test_what_given_weights_leave_no_use_for_is_said(folder, caplog):
    weights = make_weights(folder / "weights")
    overrides = {"prnet_coarse": {"spacing_mm": [4.0] * 3, "max_epochs": 3}, "segmentation": {"max_epochs": 2}}
    Pipeline(settings(folder, weights=weights, overrides=overrides, all_pairs=True))
    said = [record.getMessage() for record in caplog.records if "is of no use" in record.getMessage()]
    reason = "is of no use: the network is given (--weights) and not trained"
    assert said == [f"--set prnet_coarse.max_epochs {reason}", f"--all-pairs {reason}"]


def test_damaged_weights_are_refused_first(folder):
    weights = make_weights(folder / "weights")
    (weights / "fine" / "model.pt").write_bytes(b"damaged")
    with pytest.raises(BundleError, match="do not load"):
        Pipeline(settings(folder, weights=weights))


@pytest.mark.parametrize("small", [True, False])
def test_weights_by_name_or_folder(tmp_path, small):
    models = tmp_path / "models"
    shipped = make_weights(models / "abdomen_ct")
    assert weights_folder("abdomen_ct", "paper", small, models) == shipped, "the full configuration lacks its own"
    assert weights_folder(str(shipped), "paper", small, models) == shipped
    own = make_weights(tmp_path / "out" / "prnet")
    assert weights_folder(str(tmp_path / "out"), "paper", small, models) == own
    with pytest.raises(BundleError, match="no weights for mode paper") as caught:
        weights_folder("chest_ct", "paper", small, models)
    assert "abdomen_ct" in caught.value.expected
    assert caught.value.found == "chest_ct"


def test_a_set_holds_the_full_configurations_networks_in_a_folder_of_their_own(tmp_path):
    small = make_weights(tmp_path / "abdomen_ct")
    full = make_weights(tmp_path / "abdomen_ct" / "full")
    for name_or_folder in ("abdomen_ct", str(small)):
        assert weights_folder(name_or_folder, "paper", True, tmp_path) == small
        assert weights_folder(name_or_folder, "paper", False, tmp_path) == full
    (full / "fine" / "model.pt").unlink()
    assert weights_folder("abdomen_ct", "paper", False, tmp_path) == small, "a set is both networks or none"


def test_volumes_of_the_fixture_are_what_the_tests_think(folder):
    assert np.unique(strokes()).tolist() == [0, 1, 3, 6, 14]
    assert volume(0).min() == -1000
