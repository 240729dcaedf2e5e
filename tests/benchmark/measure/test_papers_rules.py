"""What `benchmark paper --papers-rules` changes in the small configuration: its rules, not its sizes."""

from collections.abc import Mapping

from bundle.benchmark.measure.paper import PAPERS_RULES
from bundle.pipeline.configs import deciding_values, read_configs, with_paths
from bundle.pipeline.stages import profiled_names

# Sizes of patches, networks and trainings, and the levels of a search that is off: what may differ still.
SIZES = {
    "point_propagation": {"settings#search", "stage#class_limit", "stage#background_limit"},
    "segmentation": {"spacing_mm", "patch_size", "channels", "max_epochs", "samples_per_epoch"},
}


def test_but_for_sizes_the_rules_are_those_of_the_papers_own_configuration():
    for stage, sizes in SIZES.items():
        papers, ours = (configuration(stage, small) for small in (False, True))
        ours |= with_paths(names(stage, small=True), PAPERS_RULES[stage])
        assert set(papers) == set(ours)
        assert {key for key in papers if papers[key] != ours[key]} == sizes


def test_each_rule_is_changed_by_the_small_configuration():
    for stage, rules in PAPERS_RULES.items():
        before = configuration(stage, small=True)
        changed = with_paths(names(stage, small=True), rules)
        assert all(before[path] != value for path, value in changed.items())


def configuration(stage, small):
    """What decides a result: top-level values, and the components' own arguments by their paths, `a#b`."""
    config = read_configs(names(stage, small))
    values = {key: value for key, value in deciding_values(config).items() if not isinstance(value, Mapping)}
    for name in ("stage", "settings"):
        values |= {f"{name}#{key}": value for key, value in config.get(name, {}).items()}
    return values


def names(stage, small):
    return profiled_names(stage, "paper", small, bounded_labels=False)
