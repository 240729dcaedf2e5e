import pytest

from bundle.benchmark import ablation
from bundle.pipeline.configs import check_values
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.stages import config_names


def scores(*supports, **cases):
    """Case -> (spleen's Dice, liver's Dice) of every support, one by default; None is a class that the truth lacks."""
    rows = {}
    for case, values in cases.items():
        names = zip(("spleen", "liver"), values, strict=True)
        rows[case] = {n: {"dice": v, "status": "absent" if v is None else "ok"} for n, v in names}
    classes = {name: {"dice_mean": 0.5} for name in ("spleen", "liver")}
    return {"supports": {name: {"cases": rows, "classes": classes, "mean_dice": 0.5} for name in supports or "s"}}


def test_a_section_tells_the_change():
    machine = {"gpu": None, "threads": 2}
    about = {"dataset": "toy", "classes": {"spleen": 1, "liver": 6}, "test_cases": ["a", "b"], "support": "s"}
    masks = {ablation.FULL: scores(a=(0.8, 0.6), b=(0.8, 0.8)), "no intensities": scores(a=(0.6, 0.6), b=(0.7, 0.7))}
    text = ablation.ablation_section(
        about | {"configuration": "small", "machine": machine, "masks": masks, "networks": {}}
    )
    assert "| no intensities | 0.50 | 0.50 | 0.50 | -0.100 (-0.100 to -0.100) |" in text


def test_a_row_of_fewer_supports_is_compared_with_the_same_ones():
    """From s the change costs 0.2, from t it was not measured."""
    whole = scores("s", a=(0.8, 0.8), b=(0.8, 0.8))
    whole["supports"] |= scores("t", a=(0.1, 0.1), b=(0.1, 0.1))["supports"]
    changed = scores("s", a=(0.6, 0.6), b=(0.6, 0.6))
    text = ablation._table({ablation.FULL: whole, "no intensities": changed}, ["spleen", "liver"])
    assert "| no intensities (s only) | 0.50 | 0.50 | 0.50 | -0.200 (-0.200 to -0.200) |" in text


@pytest.mark.parametrize("changes", [*ablation.MASKS.values(), *ablation.NETWORKS.values()])
def test_every_lever_is_a_key_of_its_stage(changes, tmp_path):
    settings = RunSettings(tmp_path, tmp_path, tmp_path, tmp_path, mode="default", small=True)
    for stage, values in changes.items():
        check_values(config_names(stage, settings), values)


def test_a_changed_run_starts_from_the_whole_one_and_goes_on_from_itself(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "ablation" / "changed"
    ablation._start_from(whole, folder)
    assert not folder.exists()
    whole.mkdir()
    (whole / "state.json").write_text("whole")
    left_by_a_kill = folder.parent / ".copied-changed"
    left_by_a_kill.mkdir(parents=True)
    (left_by_a_kill / "half").write_text("")
    ablation._start_from(whole, folder)
    assert [file.name for file in folder.iterdir()] == ["state.json"]
    (folder / "state.json").write_text("changed")
    ablation._start_from(whole, folder)
    assert (folder / "state.json").read_text(encoding="utf-8") == "changed"
