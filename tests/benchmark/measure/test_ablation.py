import pytest

from bundle.benchmark.measure import ablation
from bundle.config_check import check_values
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.stages import config_names


@pytest.mark.parametrize("changes", [*ablation.MASKS.values(), *ablation.NETWORKS.values()])
def test_every_lever_is_a_key_of_its_stage(changes, tmp_path):
    settings = RunSettings(tmp_path, tmp_path, tmp_path, tmp_path, mode="default", small=True)
    for stage, values in changes.items():
        check_values(config_names(stage, settings), values)


def test_a_changed_run_starts_from_the_whole_one_and_goes_on_from_itself(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "ablation" / "changed"
    ablation.start_from(whole, folder)
    assert not folder.exists()
    whole.mkdir()
    (whole / "state.json").write_text("whole")
    left_by_a_kill = folder.parent / ".copied-changed"
    left_by_a_kill.mkdir(parents=True)
    (left_by_a_kill / "half").write_text("")
    ablation.start_from(whole, folder)
    assert [file.name for file in folder.iterdir()] == ["state.json"]
    (folder / "state.json").write_text("changed")
    ablation.start_from(whole, folder)
    assert (folder / "state.json").read_text(encoding="utf-8") == "changed"


def test_a_variants_folder_has_no_blanks():
    assert ablation.slug("last weights, not their average") == "last_weights_not_their_average"
