from bundle.benchmark.default_tables import default_section

CLASSES = {"spleen": 1, "liver": 6}


def scores(spleen, liver):
    cases = {"a": {"spleen": {"dice": spleen, "status": "ok"}, "liver": {"dice": liver, "status": "ok"}}}
    rows = {"spleen": spleen, "liver": liver}
    means = {name: {"dice_mean": dice, "dice_sd": 0.0} for name, dice in rows.items()}
    return {"cases": cases, "classes": means, "mean_dice": (spleen + liver) / 2}


def trust(spleen, liver):
    true = {"spleen": spleen, "liver": liver}
    pairs = [
        {"case": "a", "class": name, "predicted": predicted, "true": true[name], "flagged": predicted < 0.7}
        for name, predicted in (("spleen", 0.4), ("liver", 0.9))
    ]
    numbers = {"pearson_r": 1.0, "mean_absolute_error": 0.1, "results": 2, "failures": 1, "failures_flagged": 1}
    return {**numbers, "false_flags": 0, "pairs": pairs}


def run(spleen, liver):
    points = [{"class": name, "kept_mean": 0.5, "precision_mean": 1.0} for name in (*CLASSES, "background")]
    facts = {"support": "s", "variant": "a", "support_mask": "as grown", "points": points}
    return facts | {"pseudo_labels": scores(spleen, liver), "trust": trust(spleen, liver)}


def result(**parts):
    machine = {"gpu": None, "threads": 2}
    about = {"dataset": "toy", "classes": CLASSES, "test_cases": ["a"], "unlabelled_cases": ["u"], "support": "s"}
    networks = {"one_shot": scores(0.5, 0.7) | {"trust": trust(0.5, 0.7)}, "supervised": scores(0.7, 0.9)}
    measured = {"networks": networks, "runs": [run(0.3, 0.9)], "out_of_distribution": {}, "all_classes": {}}
    return about | {"configuration": "small", "machine": machine} | measured | parts


def test_networks_are_held_against_the_supervised_one():
    text = default_section(result())
    assert "| network trained on them | 0.50 | 0.70 | 0.60 | 0.50 | 0.75 | -0.200 (-0.200 to -0.200) |" in text
    assert "| network, fully supervised | 0.70 | 0.90 | 0.80 | 0.70 | – | – |" in text


def test_what_is_kept_is_better_than_everything():
    assert "| masks, region as grown | 2 | 0.60 | 0.60 | 0.60 | 0.90 | 0.90 |" in default_section(result())


def test_all_classes_are_told_with_their_flags():
    assert "All 2 classes" not in default_section(result())
    text = default_section(result(all_classes=run(0.3, 0.9)))
    assert "**All 2 classes**" in text
    assert "| spleen | 0.300 ± 0.000 | 0.30 | 0.40 | 1 of 1 | 0 of 0 |" in text
    assert "| liver | 0.900 ± 0.000 | 0.90 | 0.90 | 0 of 0 | 0 of 1 |" in text


def test_before_the_first_run_there_are_no_masks_to_tell_of():
    text = default_section(result(runs=[], networks={"pseudo_labels": scores(0.5, 0.7)}))
    assert "| pseudo labels | 0.50 | 0.70 | 0.60 | 0.50 | – | – |" in text and "| masks" not in text


def test_a_class_that_no_truth_has_gets_dashes():
    everything = run(0.3, 0.9)
    everything["pseudo_labels"]["classes"]["gallbladder"] = {"dice_mean": None, "dice_sd": None}
    assert "| gallbladder | – | – | – | – | – |" in default_section(result(all_classes=everything))
