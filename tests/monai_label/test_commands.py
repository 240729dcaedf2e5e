"""What the app starts in processes of its own, and what it makes of the results."""

import pytest

from bundle.monai_label.commands import command_line
from bundle.monai_label.names import SUPPORT_MASK, TAG, TRAINED, current_name
from bundle.monai_label.results import Handed, HandedNow, RoundLabels, unlabelled
from scripts.common.errors import BundleError
from scripts.common.files import write_json
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import load_cohort
from scripts.quality.records import CheckRecord, ClassCheck
from tests.prnet_fixtures import CLASSES, make_cohort


def test_options_without_a_value_are_left_out():
    options = {"support": "a.nii.gz", "support-mask": None, "background": 7}
    arguments = command_line("oneshot", options, {"small": "false"}, {})
    assert arguments == ["oneshot", "--support", "a.nii.gz", "--background", "7"]


def test_the_clients_settings_follow_those_of_the_app():
    conf = {"set": "embedding.max_epochs=2;segmentation.max_epochs=3", "weights": "abdomen_ct"}
    arguments = command_line("support-mask", {}, conf, {"set": "segmentation.max_epochs=4", "device": "cpu"})
    settings = [value for option, value in zip(arguments[1::2], arguments[2::2], strict=False) if option == "--set"]
    assert settings == ["embedding.max_epochs=2", "segmentation.max_epochs=3", "segmentation.max_epochs=4"]
    assert arguments[:5] == ["support-mask", "--weights", "abdomen_ct", "--device", "cpu"]
    assert arguments[-1] == "--small", "for two CPU cores unless the app or the client says otherwise"


def test_the_clients_modality_counts_before_that_of_the_app():
    assert command_line("oneshot", {}, {"modality": "mr"}, {})[1:3] == ["--modality", "mr"]
    assert command_line("oneshot", {}, {"modality": "mr"}, {"modality": "auto"})[1:3] == ["--modality", "auto"]
    assert "--modality" not in command_line("oneshot", {}, {}, {"modality": ""})


@pytest.mark.parametrize(
    "request_",
    [
        {"set": "segmentation.max_epochs=$__import__('os')"},
        {"set": 'embedding.network_def={"_target_":"os.system"}'},
        {"device": "cpu --small"},
        {"small": "false"},
        {"modality": "pet"},
    ],
)
def test_what_clients_may_not_choose_reaches_no_command(request_):
    with pytest.raises(BundleError, match=r"a client cannot change this setting|cannot have this value|no JSON"):
        command_line("oneshot", {}, {}, request_)


def test_the_old_name_of_the_support_mask_is_taken_with_a_warning(caplog):
    assert current_name(TRAINED) == TRAINED and caplog.messages == []
    assert current_name("oneshot_region") == SUPPORT_MASK == "oneshot_support_mask"
    (message,) = caplog.messages
    assert "'oneshot_support_mask'" in message and "this version only" in message


def test_a_label_comes_with_the_names_of_its_values_and_what_the_self_check_says(tmp_path):
    cohort = make_cohort(tmp_path)
    work = WorkFolder(cohort.output_dir)
    good = ClassCheck(0.9123, (0.9, 0.92), 0.95, 1.0, {}, 120.0, 50.0, False)
    bad = ClassCheck(0.4, (0.3, 0.5), 0.4, 1.0, {}, 80.0, 30.0, True, ("far smaller than in other cases",))
    record = CheckRecord("case_1", 0.9, 1.0, True, (), dict(zip(CLASSES, (good, bad), strict=True)))
    write_json(work.self_check / "case_1.json", record.to_json())
    names = [{"name": name, "idx": value} for name, value in load_cohort(work.path).classes.items()]
    made = RoundLabels.of_network(work)
    assert made.info(work, "case_1") == {
        "label_info": names,
        "predicted_dice": {"spleen": 0.9123, "left_kidney": 0.4},
        "doubted": {"left_kidney": ["far smaller than in other cases"]},
        "final": True,
    }
    unchecked = {"label_info": names, "predicted_dice": {}, "doubted": {}, "final": False}
    assert RoundLabels.transferred(work).info(work, "case_1") == unchecked


def handed(final=True):
    return Handed(
        classes={"spleen": 1, "liver": 6},
        predicted_dice={"a": {"spleen": 0.9, "liver": 0.8}, "b": {"spleen": 0.4, "liver": 0.9}},
        doubted={"a": {}, "b": {"spleen": ["far smaller than in other cases", "the network says otherwise"]}},
        final=final,
    )


def test_a_tooltip_tells_predicted_dice_and_which_studies_are_doubted_why():
    assert handed().mean_dice() == pytest.approx(0.75)
    assert handed().in_words() == (
        "Labels of this server's studies. Mean predicted Dice 0.75: spleen 0.65, liver 0.85.\n"
        "Report: /report/ at this server's address.\n"
        "b: spleen 0.40 (far smaller than in other cases, the network says otherwise)."
    )
    assert handed(final=False).in_words().startswith("Transferred labels; better ones follow. Mean predicted Dice 0.75")
    assert "look at every one" in Handed({"spleen": 1}, {}, {}, True).in_words()


def test_a_tooltip_names_a_few_studies_the_worst_first():
    dice = {f"case_{n}": {"spleen": 0.9 - n / 10} for n in range(7)}
    doubted = {case: {"spleen": ["small"]} for case in dice}
    lines = Handed({"spleen": 1}, dice, doubted, True).in_words().splitlines()
    assert [line.split(":")[0] for line in lines[2:7]] == ["case_6", "case_5", "case_4", "case_3", "case_2"]
    assert lines[7] == "2 more studies are doubted: Next Sample shows the worst first."


class Labelled:
    """`listed` have labels as far as the list says; of `replaced` it is noticed when they are looked at."""

    def __init__(self, listed, replaced=(), others=()):
        self.listed, self.replaced, self.others, self.looked_at = set(listed), set(replaced), others, []

    def labelled(self, tag):
        return self.listed if tag == TAG else set()

    def list_images(self):
        return [*self.listed, *self.others]

    def get_labels_by_image_id(self, study):
        self.looked_at.append(study)
        return {} if study in self.replaced else {TAG: study}


def test_numbers_of_a_study_that_was_replaced_or_removed_are_not_told(tmp_path):
    file = tmp_path / "handed.json"
    assert HandedNow(file, lambda: Labelled("ab")).read() is None
    handed().write(file)
    assert HandedNow(file, lambda: Labelled("ab")).in_words() == handed().in_words()
    gone, replaced = Labelled("a"), Labelled("ab", replaced="b", others=["c"])
    told = "Labels of this server's studies. Mean predicted Dice 0.85: spleen 0.90, liver 0.80.\n"
    told += "Report: /report/ at this server's address."
    without = "\nWithout a label of this round (new, replaced, or refused): b, c. Train again."
    for datastore, sentence in ((gone, ""), (replaced, without)):
        now = HandedNow(file, lambda datastore=datastore: datastore)
        assert now.read().mean_dice() == pytest.approx(0.85) and now.former() == ["b"]
        assert now.in_words() == told + sentence


def test_of_many_studies_those_that_a_tooltip_names_are_looked_at(tmp_path):
    dice = {f"case_{n}": {"spleen": 0.9 - n / 100} for n in range(20)}
    Handed({"spleen": 1}, dice, {case: {"spleen": ["small"]} for case in dice}, True).write(tmp_path / "handed.json")
    datastore = Labelled(dice, replaced=["case_19", "case_14"])
    assert HandedNow(tmp_path / "handed.json", lambda: datastore).former() == ["case_14", "case_19"]
    assert set(datastore.looked_at) == {f"case_{n}" for n in range(13, 20)}


def test_a_sentence_on_studies_without_a_label_stays_short():
    assert unlabelled([]) == "" and ": a, b, c, d, e and 2 more." in unlabelled("gfedcba")


def test_what_the_studies_have_is_kept_in_a_file(tmp_path):
    assert Handed.read(tmp_path / "handed.json") is None
    handed().write(tmp_path / "handed.json")
    assert Handed.read(tmp_path / "handed.json") == handed()
