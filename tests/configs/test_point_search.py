from monai.bundle import ConfigParser

from bundle.pipeline.configs import read_configs
from scripts.point_propagation.body_map import BodyMapSettings
from scripts.point_propagation.feature_search import FeatureSearchSettings

FULL, SMALL = ["point_propagation.json"], ["point_propagation.json", "small/point_propagation.json"]


def search(names, **values):
    parser = ConfigParser(read_configs(names))
    parser.update(values)
    return parser.get_parsed_content("settings").search


def test_points_are_sought_by_features_in_the_small_configuration_and_where_asked_for():
    assert search(FULL) is None and search(SMALL, feature_search=False) is None
    assert search(FULL, feature_search=True) == FeatureSearchSettings(["m1", "m2"])
    assert search(SMALL) == FeatureSearchSettings(["m3", "m4"])


def test_points_follow_the_body_in_the_small_configuration_and_where_asked_for():
    def map_settings(names, **values):
        parser = ConfigParser(read_configs(names))
        parser.update(values)
        return parser.get_parsed_content("stage#map_settings")

    assert map_settings(FULL) is None and map_settings(SMALL, body_map=False) is None
    assert map_settings(FULL, body_map=True) == BodyMapSettings() == map_settings(SMALL)
