import dataclasses

import pytest

from bundle.config_values import Expression
from bundle.pipeline.configs import with_paths
from bundle.pipeline.modes import MODES
from bundle.pipeline.plan import CaseByCase, Training
from bundle.pipeline.stages import BASES, STAGES, config_names
from scripts.common.errors import BundleError
from scripts.common.work_folder import WorkFolder
from scripts.data.prepare_cohort import prepare_cohort
from tests.pipeline_fixtures import BACKGROUND, CLASSES, SPACING_MM, make_cohort, settings

ORDER = {
    "paper": [
        *("prnet_coarse", "prnet_fine", "first_points", "point_propagation", "pseudo_labels", "segmentation"),
        "inference",
    ],
    "default": [
        *("embedding", "support_mask", "first_round", "first_round_labels", "label_fusion", "pseudo_labels"),
        *("on_support_labels", "self_check_pseudo_labels", "training_labels", "segmentation", "inference"),
        *("ensemble", "joined_labels", "self_check_joined_labels", "choice", "self_check"),
    ],
}


@pytest.fixture
def plan_of(tmp_path):
    folder = make_cohort(tmp_path)
    chosen = settings(folder)
    cohort = prepare_cohort(
        chosen.images, chosen.output, [SPACING_MM] * 3, chosen.support, chosen.scribbles, CLASSES, BACKGROUND
    )

    def make(mode, **changes):
        return MODES[mode].plan(dataclasses.replace(chosen, mode=mode, **changes), cohort)

    make.cohort, make.settings = cohort, chosen
    return make


@pytest.mark.parametrize("mode", MODES)
def test_stages_in_their_order(plan_of, mode):
    assert [stage.title for stage in plan_of(mode)] == ORDER[mode]


@pytest.mark.parametrize("key", ["most_atlases", "stage#most_atlases"])
def test_points_go_by_way_of_atlases_where_a_config_or_set_asks_for_them(plan_of, key):
    def titles(**changes):
        return [stage.title for stage in plan_of("paper", **changes)]

    assert "first_points" in titles(small=True) and "first_points" not in titles(small=False)
    assert "first_points" in titles(small=False, overrides={"point_propagation": {key: 2}})
    assert "first_points" not in titles(small=True, overrides={"point_propagation": {key: 0}})
    (first,) = (stage for stage in plan_of("paper", small=True) if stage.title == "first_points")
    assert first.changes == {"most_atlases": 0, "body_map": False, "case_ids": None}, "all cases, directly, one by one"
    with pytest.raises(BundleError, match="takes no expression"):
        titles(overrides={"point_propagation": {key: Expression("$1")}})


@pytest.mark.parametrize("mode", MODES)
def test_of_mr_the_networks_card_says_so_and_its_views_change_more(plan_of, mode):
    (segmentation,) = (stage for stage in plan_of(mode) if stage.title == "segmentation")
    assert "modality" not in segmentation.values
    cohort = dataclasses.replace(plan_of.cohort, modality="mr", bias_correction=False)
    chosen = dataclasses.replace(plan_of.settings, mode=mode, modality="mr")
    segmentation = MODES[mode].plan(chosen, cohort).segmentation
    assert segmentation.values["modality"] == "mr" and segmentation.values["bias_correction"] is False
    assert "mr/train_embedding.json" in config_names("embedding", chosen)


@pytest.mark.parametrize(("small", "unless_chosen"), [(True, True), (False, False)])
def test_bounded_labels_are_a_profile_on_top_of_the_others_and_part_of_the_small_one(plan_of, small, unless_chosen):
    chosen = dataclasses.replace(plan_of.settings, mode="paper", small=small)
    names, bounded, unchosen = (
        {stage: config_names(stage, settings) for stage in STAGES["paper"]}
        for settings in (
            dataclasses.replace(chosen, bounded_labels=False),
            dataclasses.replace(chosen, bounded_labels=True),
            dataclasses.replace(chosen, bounded_labels=None),
        )
    )
    assert unchosen == (bounded if unless_chosen else names)
    assert bounded["pseudo_labels"] == [*names["pseudo_labels"], "bounded_labels/pseudo_labels.json"]
    assert {stage for stage in names if names[stage] != bounded[stage]} == {"pseudo_labels"}


def test_all_pairs_are_a_profile_of_both_prnets_on_top_of_the_small_one(plan_of):
    chosen = dataclasses.replace(plan_of.settings, mode="paper", small=True, all_pairs=True)
    patched = {stage for stage in STAGES["paper"] if "all_pairs/train_prnet.json" in config_names(stage, chosen)}
    assert patched == {"prnet_coarse", "prnet_fine"}
    assert config_names("prnet_fine", chosen)[-2:] == ["small/train_prnet.json", "all_pairs/train_prnet.json"]


@pytest.mark.parametrize("mode", MODES)
def test_set_reaches_the_stages_of_a_mode_and_no_others(plan_of, mode):
    assert {stage.name for stage in plan_of(mode)} == set(STAGES[mode])


@pytest.mark.parametrize("mode", MODES)
def test_stages_tell_their_configs_only_what_those_know(plan_of, mode):
    for stage in plan_of(mode):
        with_paths(BASES[stage.name], {**stage.places, **stage.values, **stage.changes})


@pytest.mark.parametrize("mode", MODES)
def test_no_two_stages_fill_one_folder(plan_of, mode):
    folders = []
    for stage in plan_of(mode):
        folders += stage.fills if isinstance(stage, CaseByCase) else []
        folders += [stage.folder] if isinstance(stage, Training) else []
    assert len(folders) == len(set(folders))


def test_nothing_is_trained_where_weights_were_given(plan_of, tmp_path):
    for mode in MODES:
        assert [stage.condition() for stage in plan_of(mode).localisation] == [True] * len(MODES[mode].networks)
        given = plan_of(mode, weights=tmp_path / "weights")
        assert not any(stage.condition() for stage in given.localisation)


def test_what_a_mode_says_to_decide_of_an_input_is_of_one_that_there_is(plan_of):
    default, paper = (plan_of(mode).segmentation for mode in ("default", "paper"))
    assert set(default.deciding) == {"checks"} <= set(default.inputs)
    assert not paper.deciding


def test_given_weights_are_read_instead(plan_of, tmp_path):
    default, paper = (plan_of(mode, weights=tmp_path / "weights") for mode in ("default", "paper"))
    (first_round,) = (stage for stage in default if stage.title == "first_round")
    assert first_round.places["embedding_dir"] == str(tmp_path / "weights" / "embedding")
    assert default.segmentation.inputs["start"] == tmp_path / "weights" / "embedding" / "model.pt"
    assert paper.propagation[0].places["prnet_dir"] == str(tmp_path / "weights")


def test_a_support_mask_that_is_given_does_not_grow_and_is_the_supports_label_map(plan_of, tmp_path):
    mask = tmp_path / "mask.nii.gz"
    plan = {stage.title: stage for stage in plan_of("default", support_mask=mask)}
    assert not plan["support_mask"].condition()
    assert plan["first_round"].places["support_mask"] == str(mask)
    assert plan["self_check"].places["support_mask_record"] is None
    kinds = str(tmp_path / "out" / "support_kinds" / "case_0.json")
    assert plan["support_kinds"].fills == (tmp_path / "out" / "support_kinds",)
    assert plan["joined_labels"].places["support_mask_record"] == kinds
    for title in ("pseudo_labels", "training_labels", "joined_labels"):
        assert plan[title].places["given"] == {"case_0": str(mask)}
    for title in ("first_round_labels", "on_support_labels"):
        assert plan[title].places["given"] == {}


def test_the_support_keeps_the_mask_that_grew(plan_of, tmp_path):
    plan = {stage.title: stage for stage in plan_of("default")}
    mask = str(WorkFolder(tmp_path / "out").support_mask.label("case_0"))
    for title in ("pseudo_labels", "joined_labels"):
        assert plan[title].places["given"] == {"case_0": mask}
    for title in ("first_round_labels", "training_labels", "on_support_labels"):
        assert plan[title].places["given"] == {}, "what is learnt from is rather too small"


def test_the_support_by_the_other_atlases_is_a_stage_only_if_there_are_any(plan_of, tmp_path):
    (stage,) = (stage for stage in plan_of("default") if stage.title == "on_support_labels")
    assert not stage.condition()
    WorkFolder(tmp_path / "out").on_support.path.mkdir(parents=True)
    assert stage.condition()
