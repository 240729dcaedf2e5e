"""Names of version 0.3.0 still mean what they meant."""

import json

import pytest

from bundle.pipeline.aliases import GONE, KEYS, STAGES, current_overrides, current_settings
from bundle.pipeline.configs import CONFIGS, key_path, read_configs
from bundle.pipeline.settings import RunSettings, saved_settings
from bundle.pipeline.stages import BASES
from scripts.common.errors import BundleError
from scripts.common.work_folder import WorkFolder

# What could be set in version 0.3.0, stage by stage; `map_rounds` is gone.
KEYS_OF_0_3_0 = {
    "prnet_coarse": (
        "network_name seed spacing_mm patch_size width pooling max_offset_mm box_mm mask_boxes max_epochs "
        "iterations_per_epoch volumes_per_batch pairs_per_volume learning_rate weight_decay lr_step_epochs "
        "lr_factor validation_count validation_pairs val_interval checkpoint_interval num_workers bfloat16"
    ),
    "propagation": (
        "rule tau tissue_tolerance start_points fine_steps settled_mm batch_size bfloat16 seed class_limit "
        "background_limit"
    ),
    "embedding": (
        "seed spacing_mm window_size widths channels points scale stretch cut rotation_deg temperature "
        "max_epochs iterations_per_epoch volumes_per_batch learning_rate weight_decay validation_count "
        "val_interval checkpoint_interval num_workers cache_device bfloat16 validation_views"
    ),
    "region": (
        "lam truncation max_iterations largest_component body_only reach_share leak_share free_share "
        "clear_share neck_radius_mm neck_share image_smoothing_voxels border_smoothing_voxels "
        "geodesic_spacing_mm geodesic_backend"
    ),
    "correspondence": (
        "region body_points match_prior_mm match_temperature far_mm seed vote_reach_mm vote_prior_mm "
        "vote_temperature carried_share registration_half_steps registration_steps registration_smoothness "
        "cycle_mm tissue_tolerance class_limit background_limit"
    ),
    "fusion": (
        "accepted body_points match_prior_mm match_temperature far_mm seed vote_reach_mm vote_prior_mm "
        "vote_temperature carried_share registration_half_steps registration_steps registration_smoothness "
        "helpers least_returned_dice fusion_temperature confident_vote point_reach_mm"
    ),
    "pseudo_labels": (
        "given lam truncation max_iterations largest_component body_only geodesic_spacing_mm geodesic_backend "
        "refine undecided_margin confident_vote confident_background intensity_rounds intensity_reach_mm "
        "vote_weight neck_radius_mm neck_share image_smoothing_voxels border_smoothing_voxels"
    ),
    "segmentation": (
        "seed classes spacing_mm patch_size undecided_value crop_size crop_share crop_to_body body_margin_mm "
        "crop_margin_mm architecture start_from least_dice channels dropout max_epochs samples_per_epoch "
        "batch_size patches_per_volume learning_rate weight_decay average_decay gradient_clip rotation_rad "
        "zoom gain offset noise gamma class_balance class_balance_end class_balance_epochs use_plc "
        "plc_start_epoch plc_interval plc_guard validation_count val_interval checkpoint_interval num_workers "
        "cache_device cache_workers centres_per_class bfloat16"
    ),
    "inference": (
        "checkpoint classes spacing_mm patch_size channels architecture dropout crop_to_body body_margin_mm "
        "overlap keep_largest skip_existing bfloat16"
    ),
    "self_check": "region region_record least_dice least_similarity volume_factor tissue_hu tissue_spread good_return",
}


def test_old_stages_and_keys_are_todays_with_a_warning_each(caplog):
    old = {"correspondence": {"vote_reach_mm": 20.0, "seed": 1}, "fusion": {"helpers": 2}, "embedding": {"points": 9}}
    current = {"first_round": {"search_mm": 20.0, "seed": 1}, "label_fusion": {"most_atlases": 2}}
    assert current_overrides(old) == {**current, "embedding": {"points": 9}}
    assert [message.split(";")[0] for message in caplog.messages] == [
        "the stage correspondence is called first_round now",
        "the config key first_round.vote_reach_mm is called search_mm now",
        "the stage fusion is called label_fusion now",
        "the config key label_fusion.helpers is called most_atlases now",
    ]
    caplog.clear()
    assert current_overrides(current) == current
    assert caplog.messages == []


def test_one_key_is_another_in_another_stage():
    old = {stage: {"confident_vote": 0.7} for stage in ("fusion", "pseudo_labels")}
    expected = {"label_fusion": {"least_point_probability": 0.7}, "pseudo_labels": {"seed_probability": 0.7}}
    assert current_overrides(old) == expected


def test_the_last_of_two_names_counts_also_of_a_stage():
    both = {"region": {"neck_radius_mm": 3.0, "opening_radius_mm": 4.0}, "support_mask": {"neck_radius_mm": 5.0}}
    assert current_overrides(both) == {"support_mask": {"opening_radius_mm": 5.0}}


def test_what_lies_below_an_old_key():
    assert current_overrides({"region": {"reach#leak_share": 1.0}}) == {"support_mask": {"growth#leak_share": 1.0}}


def test_a_stage_without_keys_stays_to_be_refused():
    assert current_overrides({"training": {}}) == {"training": {}}


@pytest.mark.parametrize("stage", ["correspondence", "first_round", "label_fusion"])
def test_a_key_that_is_gone_is_refused_with_what_there_is_instead(stage):
    with pytest.raises(BundleError, match=r"the config key 'map_rounds' of the stage '.*' is gone") as caught:
        current_overrides({stage: {"map_rounds": "$ROUNDS"}})
    assert "match_cycle_mm and match_scale_mm" in caught.value.expected


def test_run_settings_know_todays_names_only(tmp_path):
    places = {name: tmp_path / name for name in ("output", "images", "support", "scribbles")}
    settings = RunSettings(**places, overrides={"region": {"neck_share": 0.4}})
    assert settings.overrides == {"support_mask": {"opening_share": 0.4}}


def test_a_run_of_version_0_3_0_goes_on(tmp_path):
    old = {"images": "/images", "support": "/images/a.nii.gz", "scribbles": "/a.nii.gz", "region": "/region.nii.gz"}
    old |= {"mode": "default", "small": True, "overrides": {"fusion": {"least_returned_dice": 0.6}}}
    WorkFolder(tmp_path).settings.write_text(json.dumps(old), encoding="utf-8")
    settings = RunSettings(output=tmp_path, **saved_settings(tmp_path))
    assert str(settings.support_mask) == "/region.nii.gz"
    assert settings.overrides == {"label_fusion": {"least_round_trip_dice": 0.6}}
    assert current_settings({"support_mask": 1}) == {"support_mask": 1}


@pytest.mark.parametrize("stage", BASES)
def test_no_old_name_is_a_name_of_today_and_every_new_one_is(stage):
    config, file = read_configs(BASES[stage]), CONFIGS / BASES[stage][0]
    for old, new in KEYS.get(stage, {}).items():
        key_path(config, new, file)
        with pytest.raises(BundleError):
            key_path(config, old, file)
    for old in GONE.get(stage, {}):
        with pytest.raises(BundleError):
            key_path(config, old, file)


@pytest.mark.parametrize("stage", KEYS_OF_0_3_0)
def test_every_key_of_version_0_3_0_can_be_set(stage):
    for key in KEYS_OF_0_3_0[stage].split():
        ((today, values),) = current_overrides({stage: {key: 1}}).items()
        for name in values:
            key_path(read_configs(BASES[today]), name)


def test_stages_of_the_table_are_stages():
    assert set(STAGES.values()) | set(KEYS) | set(GONE) <= set(BASES)
    assert not set(STAGES) & set(BASES)
