"""Settings that make no sense are named; the configs give every one, and defaults are those of the configs."""

import json
from dataclasses import fields, is_dataclass

import pytest

from bundle.pipeline.configs import read_component, read_configs
from scripts.common.errors import BundleError
from scripts.pseudo_labels.settings import (
    BorderSettings,
    EMSettings,
    GeodesicSettings,
    GrowthLimits,
    OpeningSettings,
    RefinementSettings,
    SupportLimits,
)
from tests.paths import CONFIGS

BOUNDED = "bounded_labels/pseudo_labels.json"
# Of the support mask: what grows from strokes has neither probabilities nor a network.
NOT_OF_STROKES = {"least_expected_share", "refinement", "undecided_margin", "support_limits"}


def names_of(settings):
    return {field.name for field in fields(settings)}


def blocks_of(block):
    """Every component below `block`, itself included."""
    nested = (value for value in block.values() if isinstance(value, dict))
    return [block, *(deeper for value in nested for deeper in blocks_of(value))]


def test_defaults_are_the_values_of_the_config():
    assert read_component(["pseudo_labels.json"], "settings") == GeodesicSettings()
    mask = read_component(["support_mask.json"], "settings")
    assert mask.growth == GrowthLimits()


def test_the_configs_give_every_value():
    block = read_configs(["pseudo_labels.json"])["settings"]
    for part, settings in zip(
        blocks_of(block),
        (GeodesicSettings, EMSettings, OpeningSettings, BorderSettings, RefinementSettings),
        strict=True,
    ):
        assert set(part) - {"_target_"} == names_of(settings)
    block = read_configs(["support_mask.json"])["settings"]
    for part, settings in zip(
        blocks_of(block), (GeodesicSettings, GrowthLimits, OpeningSettings, BorderSettings), strict=True
    ):
        assert set(part) - {"_target_"} == names_of(settings) - NOT_OF_STROKES


def test_bounded_labels_have_the_defaults_of_every_limit():
    settings = read_component(["pseudo_labels.json", "paper/pseudo_labels.json", BOUNDED], "settings")
    assert (settings.growth, settings.support_limits, settings.body_only) == (GrowthLimits(), SupportLimits(), True)
    assert settings.opening.opening_radius_mm == 7.0
    given = json.loads((CONFIGS / BOUNDED).read_text(encoding="utf-8"))
    assert {*given["settings#growth"]} - {"_target_"} == names_of(GrowthLimits)
    assert {*given["settings#support_limits"]} - {"_target_"} == names_of(SupportLimits)


def test_no_name_means_two_things():
    parts = (GeodesicSettings, EMSettings, GrowthLimits, SupportLimits, OpeningSettings, BorderSettings)
    parts = (*parts, RefinementSettings)
    names = [name for part in parts for name in names_of(part)]
    assert len(set(names)) == len(names)
    assert all(is_dataclass(part) for part in parts)


def test_mode_paper_grows_from_points_alone_and_everywhere():
    settings = read_component(["pseudo_labels.json", "paper/pseudo_labels.json"], "settings")
    assert not settings.from_probabilities and settings.sharpening is None and not settings.body_only
    assert settings == GeodesicSettings(
        body_only=False, seed_probability=None, background_seed_probability=None, probability_weight=0.0, em=None
    )


def test_probabilities_are_sharpened_only_where_there_are_any_and_rounds():
    assert GeodesicSettings().sharpening == EMSettings()
    assert GeodesicSettings(em=None).sharpening is None
    assert GeodesicSettings(em=EMSettings(em_rounds=0)).sharpening is None
    assert GeodesicSettings(seed_probability=None).sharpening is None


def test_a_config_gives_the_spacing_as_a_list():
    assert GeodesicSettings(geodesic_spacing_mm=[3, 3, 3.5]).geodesic_spacing_mm == (3.0, 3.0, 3.5)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (GeodesicSettings, {"image_smoothing_voxels": -1.0}, "image_smoothing_voxels is a width"),
        (BorderSettings, {"border_smoothing_voxels": -1.0}, "border_smoothing_voxels is a width"),
        (EMSettings, {"em_reach_mm": -1.0}, "em_reach_mm is a width"),
        (EMSettings, {"em_rounds": -1}, "em_rounds is a number of rounds"),
        (EMSettings, {"em_bins": 1}, "a histogram needs bins"),
        (OpeningSettings, {"opening_radius_mm": -1.0}, "opening_radius_mm is a radius"),
        (GrowthLimits, {"free_share": 0.5, "clear_share": 0.5}, r"(?s)free_share below clear_share, 0\.5.*found: 0\.5"),
        (RefinementSettings, {"refine_inner_voxels": 2, "refine_outer_voxels": 1}, "radii 2 and 1"),
        (GeodesicSettings, {"least_expected_share": 1.1}, "least_expected_share is a share"),
        (GeodesicSettings, {"probability_weight": -0.1}, "probability_weight is not usable"),
        (GeodesicSettings, {"geodesic_backend": "geodistk"}, "probability_weight is not usable"),
        (GeodesicSettings, {"undecided_margin": 0.1}, "from points alone"),
    ],
)
def test_what_makes_no_sense_is_named(kind, values, message):
    with pytest.raises(BundleError, match=message):
        kind(**values)
