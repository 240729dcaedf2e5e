from bundle.benchmark.results import result_line
from bundle.benchmark.tables.default import default_section, networks_section
from tests.benchmark.fixtures import network, results, run

MEASURED = (network("one_shot", 0.5, 0.7, judged=True), network("supervised", 0.7, 0.9), run(0.3, 0.9))


def test_networks_are_held_against_the_supervised_one():
    text = default_section(results(*MEASURED))
    assert "| network trained on them | 0.50 | 0.70 | 0.60 | 0.50 | 0.75 | -0.200 (-0.200 to -0.200) |" in text
    assert "| network, fully supervised | 0.70 | 0.90 | 0.80 | 0.70 | – | – |" in text


def test_the_section_names_command_data_and_machine():
    text = default_section(results(*MEASURED, result_line("out_of_distribution", "x c", dataset="x", **FLAGGED)))
    assert "`python -m bundle benchmark default --dataset DIR/toy --out-of-distribution DIR/x`" in text
    assert "1 volumes without labels, one of them scribbled, scores on the 1 volumes of the `test` list" in text
    assert "recorded 2026-01-02 with version 0.1.0 on 2 CPU threads (commit abc)" in text
    assert "| c | 0.12 | yes | spleen 0.00 |" in text


FLAGGED = {"case": "c", "similarity": 0.123, "flagged": True, "classes": {"spleen": {"predicted_dice": 0.0}}}


def test_what_is_kept_is_better_than_everything():
    text = default_section(results(*MEASURED))
    assert "| masks, support mask as grown | 2 | 0.60 | 0.60 | 0.60 | 0.90 | 0.90 |" in text


def test_the_support_masks_own_quality_stands_there():
    assert "| s a | 0.70 | 0.90 | 0.80 |" in default_section(results(*MEASURED))


def test_all_classes_stand_with_their_flags():
    assert "All 2 classes" not in default_section(results(*MEASURED))
    text = default_section(results(*MEASURED, run(0.3, 0.9, "all_classes")))
    assert "**All 2 classes**" in text
    assert "| spleen | 0.70 | 0.300 ± 0.000 | 0.30 | 0.40 | 1 of 1 | 0 of 0 |" in text
    assert "| liver | 0.90 | 0.900 ± 0.000 | 0.90 | 0.90 | 0 of 0 | 0 of 1 |" in text


def test_networks_of_all_classes_stand_side_by_side():
    lines = [network("pseudo_labels", 0.5, 0.7), network("ensemble", 0.6, 0.8, judged=True)]
    text = default_section(results(*MEASURED, *(line | {"what": "all_classes_network"} for line in lines)))
    assert "|  | pseudo labels | network and atlases together |" in text
    assert "| spleen | 0.50 | 0.60 |" in text and "| **all** | 0.60 | 0.70 |" in text
    assert "| failures flagged | – | 0 of 0 |" in text and "| false flags | – | 1 of 2 |" in text


def test_all_classes_from_each_support_stand_side_by_side():
    first, second = run(0.3, 0.9, "all_classes"), run(0.5, 0.7, "all_classes_further", support="t")
    assert "from each support" not in default_section(results(*MEASURED, first))
    text = default_section(results(*MEASURED, first, second))
    assert "|  | s | t | all supports |" in text
    assert "| spleen | 0.30 | 0.50 | 0.400 ± 0.100 |" in text and "| **all** | 0.60 | 0.60 | 0.600 ± 0.000 |" in text
    assert "| failures flagged | 1 of 1 | 0 of 0 | 1 of 1 |" in text, "a Dice of 0.5 is no failure"
    assert "| false flags | 0 of 1 | 1 of 2 | 1 of 3 |" in text


def test_before_the_first_run_there_are_no_masks():
    text = default_section(results(network("pseudo_labels", 0.5, 0.7)))
    assert "| pseudo labels | 0.50 | 0.70 | 0.60 | 0.50 | – | – |" in text and "| masks" not in text


def test_what_was_not_measured_has_no_empty_table():
    text = default_section(results(run(0.3, 0.9)))
    assert "One-shot masks" in text and "Trained networks" not in text and "per stage" not in text


def test_a_class_that_no_truth_has_gets_dashes():
    everything = run(0.3, 0.9, "all_classes")
    everything["scores"]["classes"]["gallbladder"] = {"dice_mean": None, "dice_sd": None}
    assert "| gallbladder | – | – | – | – | – | – |" in default_section(results(*MEASURED, everything))


def test_the_full_recipe_is_named_with_its_device():
    recipe = {"spacing_mm": [2.0] * 3, "patch_size": [96] * 3, "max_epochs": 5, "samples_per_epoch": 7, "batch_size": 1}
    lines = [network("one_shot", 0.5, 0.7, judged=True) | {"trained_on": "a GPU"}]
    text = networks_section(results(*lines, recipe=recipe))
    assert "windows of 96 voxels of 2 mm, 5 epochs of 7 volumes, 1 at a time, trained on a GPU" in text
    assert "| network trained on them | 0.50 | 0.70 | 0.60 | 0.50 | – | – |" in text
