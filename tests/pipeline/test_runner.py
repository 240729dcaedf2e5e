import logging

import pytest

from bundle.pipeline import runner as module
from bundle.pipeline.configs import CONFIGS, key_path, read_configs
from bundle.pipeline.plan import CaseByCase, Stage, Training
from bundle.pipeline.runner import Runner
from bundle.pipeline.stages import BASES
from bundle.pipeline.state import WorkDirectory
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.common.made_of import write_record
from scripts.common.work_folder import WorkFolder
from scripts.data.prepare_cohort import prepare_cohort
from scripts.quality.records import agreed_dice
from tests.pipeline_fixtures import SPACING_MM, make_cohort, settings
from tests.quality.checks import check_record, class_check


class Configs:
    """Stands in for `run_config`: remembers names and overrides, and does what it is told to."""

    def __init__(self):
        self.calls = []
        self.action = lambda: None

    def __call__(self, names, overrides):
        self.calls.append((list(names), dict(overrides)))
        self.action()


@pytest.fixture
def configs(monkeypatch):
    fake = Configs()
    monkeypatch.setattr(module, "run_config", fake)
    monkeypatch.setattr("bundle.pipeline.state.hand_back_memory", lambda: None)  # slow, and there is nothing to collect
    return fake


@pytest.fixture
def runner_of(tmp_path):
    folder = make_cohort(tmp_path)
    chosen = settings(folder, mode="default")
    cohort = prepare_cohort(chosen.images, chosen.output, [SPACING_MM] * 3, chosen.support, chosen.scribbles)

    def make(**changes):
        return Runner(settings(folder, mode="default", **changes), cohort, WorkDirectory(WorkFolder(chosen.output)))

    return make


def labels(title, folder, **more):
    return CaseByCase(title, config="pseudo_labels", fills=(folder,), **more)


# Those for `torchrun` add keys of their own.
PATCHES = sorted(str(file.relative_to(CONFIGS)) for file in CONFIGS.glob("*/*.json") if file.parent.name != "multi_gpu")


@pytest.mark.parametrize("patch", PATCHES)
def test_keys_of_a_patch_are_where_the_config_has_them(patch):
    """A short key would be a new one at the top, which nothing reads."""
    name = patch.split("/")[1]
    config = read_configs(next((bases for bases in BASES.values() if name in bases), [name]))
    for key in read_json(CONFIGS / patch):
        assert key_path(config, key.lstrip("+")) == key.lstrip("+")


def test_a_stage_may_have_another_device_than_the_run(configs, runner_of, tmp_path):
    """What is said to do where the GPU's memory is short."""
    asked = runner_of(device="meta", overrides={"pseudo_labels": {"device": "cpu"}})
    asked.run(labels("pseudo_labels", tmp_path / "a"))
    runner_of(device="meta").run(labels("pseudo_labels", tmp_path / "b"))
    assert [overrides["device"] for _, overrides in configs.calls] == ["cpu", "$torch.device('meta')"]


def test_a_stage_has_its_own_patch_which_is_stronger_than_set(configs, runner_of, tmp_path):
    asked = {"pseudo_labels": {"settings#probability_weight": 0.7, "lam": 0.5}}
    runner_of(overrides=asked).run(labels("first_round_labels", tmp_path / "a", places={"labels_dir": "a"}))
    runner_of(overrides=asked).run(labels("pseudo_labels", tmp_path / "b"))
    (names, overrides), (others, plain) = configs.calls
    patches = ["small/pseudo_labels.json", "first_round_labels/pseudo_labels.json"]
    assert names == ["pseudo_labels.json", *patches] and others == names[:2]
    assert "settings#probability_weight" not in overrides, "the patch says it"
    assert overrides["settings#lam"] == plain["settings#lam"] == 0.5
    assert plain["settings#probability_weight"] == 0.7
    assert overrides["labels_dir"] == "a"


def test_changes_are_stronger_than_all_and_devices_reach_configs_that_have_one(configs, runner_of, tmp_path):
    asked = {"segmentation": {"max_epochs": 3}, "self_check": {}}
    runner = runner_of(overrides=asked, device="cpu")
    runner.run(Training("segmentation", inputs={}, folder=tmp_path / "net", changes={"max_epochs": 5}))
    runner.run(CaseByCase("self_check", fills=()))
    (_, segmentation), (_, self_check) = configs.calls
    assert segmentation["max_epochs"] == 5 and segmentation["device"] == "$torch.device('cpu')"
    assert "device" not in self_check


def test_a_stage_whose_condition_does_not_hold_leaves_no_trace(configs, runner_of, tmp_path):
    runner = runner_of()
    assert not runner.run(labels("on_support_labels", tmp_path, condition=lambda: False))
    assert configs.calls == [] and runner.directory.state() == {}


def test_a_case_stage_did_something_if_it_wrote_a_record(configs, runner_of, tmp_path, caplog):
    runner, stage = runner_of(), labels("pseudo_labels", tmp_path / "labels")
    caplog.set_level(logging.INFO)
    configs.action = lambda: write_json(tmp_path / "labels" / "case_0.json", {})
    assert runner.run(stage)
    assert "pseudo_labels: starting" in caplog.text and "pseudo_labels: finished" in caplog.text
    caplog.clear()
    configs.action = lambda: None
    assert not runner.run(stage)
    assert caplog.text.count("pseudo_labels: ") == caplog.text.count("pseudo_labels: done before") == 1


def test_cases_that_are_done_again_are_counted(configs, runner_of, tmp_path, caplog):
    runner, stage = runner_of(), labels("pseudo_labels", tmp_path / "labels")
    for number in range(3):
        write_json(tmp_path / "labels" / f"case_{number}.json", {})

    def again():
        for number in (0, 2):
            (tmp_path / "labels" / f"case_{number}.json").unlink()
            write_json(tmp_path / "labels" / f"case_{number}.json", {})

    configs.action = again
    runner.run(stage)
    assert "pseudo_labels: 2 cases were done again, because inputs changed or files" in caplog.text


def test_what_a_case_left_that_is_gone_goes_with_its_record(configs, runner_of, tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    for case in ("case_0", "left"):
        (folder / f"{case}.nii.gz").write_text(case)
        write_record(folder / f"{case}.json", {}, "inputs", [folder / f"{case}.nii.gz"])
    write_json(folder / "notes.json", {"of": "the user"})
    runner_of().run(labels("pseudo_labels", folder))
    assert sorted(file.name for file in folder.iterdir()) == ["case_0.json", "case_0.nii.gz", "notes.json"]


def test_a_training_runs_again_only_for_other_inputs_or_settings(configs, runner_of, tmp_path):
    folder, labels_dir = tmp_path / "net", tmp_path / "labels"
    write_json(labels_dir / "a.json", {"classes": {}, "seconds": 1})

    def stage(**more):
        return Training("segmentation", inputs={"labels": labels_dir}, folder=folder, **more)

    assert runner_of().run(stage(places={"labels_dir": str(labels_dir)}))
    assert not runner_of(device="cpu").run(stage()), "places and devices decide nothing"
    write_json(labels_dir / "a.json", {"classes": {}, "seconds": 2})
    assert not runner_of().run(stage()), "nor does how long something took"
    write_json(labels_dir / "a.json", {"classes": {"liver": 6}, "seconds": 2})
    assert runner_of().run(stage())
    assert runner_of().run(stage(changes={"max_epochs": 5}))
    assert runner_of().run(stage(values={"classes": {"liver": 6}}))
    assert runner_of(overrides={"segmentation": {"max_epochs": 6}}).run(stage())
    assert len(configs.calls) == 5
    (labels_dir / "a.json").write_text("{")
    with pytest.raises(BundleError, match=r"\[stage segmentation\] cannot read the JSON file\n.*\n.* makes it again"):
        runner_of().run(stage())


def test_of_checks_the_agreed_dice_alone_decides_of_a_network_and_no_words(configs, runner_of, tmp_path):
    folder, checks = tmp_path / "net", tmp_path / "checks"

    def check(dice, reasons):
        of_class = class_check(agreed_dice=dice, reasons=reasons)
        write_json(checks / "a.json", check_record("a", {"liver": of_class}).to_json())

    def stage(**more):
        return Training("segmentation", inputs={"checks": checks}, folder=folder, **more)

    check(0.4, ("the atlases are not sure of it",))
    assert runner_of().run(stage()), "as versions noted it that took the words for inputs"
    deciding = {"checks": agreed_dice}
    assert not runner_of().run(stage(deciding=deciding))
    check(0.4, ("the atlases doubt it",))
    assert not runner_of().run(stage(deciding=deciding))
    check(0.6, ("the atlases doubt it",))
    assert runner_of().run(stage(deciding=deciding))


def test_no_kind_of_stage_is_an_error(runner_of):
    with pytest.raises(TypeError):
        runner_of().run(Stage("nothing"))
