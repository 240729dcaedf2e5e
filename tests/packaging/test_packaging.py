"""Packages for the model zoo: what goes in, which rules they keep, and that they work alone."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from bundle.packaging.assembly import assemble
from bundle.packaging.package import pack, package
from bundle.packaging.release import Release
from bundle.packaging.rules import broken_rules
from bundle.packaging.start_weights import with_terms_of_start_weights
from bundle.packaging.trials import failed_trials, readme_commands
from bundle.pipeline.configs import BUNDLE_ROOT
from bundle.pipeline.modes import SHIPPED
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.common.work_folder import WorkFolder
from scripts.networks.segmenter import segmentation_network
from scripts.quality.records import CheckRecord, ClassCheck
from tests.prnet_fixtures import make_cohort

NAME = "abdomen_ct_segmentation"
LARGEST_PACKAGE_MB = 20


@pytest.fixture(scope="module")
def packaged(tmp_path_factory):
    return assemble(Release(NAME), tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def copy(packaged, tmp_path):
    return Path(shutil.copytree(packaged, tmp_path / NAME))


def change(file, **values):
    file.write_text(json.dumps(read_json(file) | values))


def test_a_package_holds_the_bundle_and_nothing_else(packaged):
    assert sorted(entry.name for entry in packaged.iterdir()) == ["LICENSE", "configs", "docs", "models", "scripts"]
    assert broken_rules(packaged) == []
    assert (packaged / "models" / "model.pt").read_bytes() == (BUNDLE_ROOT / "models" / "model.pt").read_bytes()


def test_a_package_holds_no_weights_but_the_networks_and_is_small(packaged, tmp_path):
    assert sorted(file.name for file in (packaged / "models").rglob("*")) == ["model.json", "model.pt"]
    pack(packaged, tmp_path / "package.zip")
    assert (tmp_path / "package.zip").stat().st_size < LARGEST_PACKAGE_MB * 1e6


def test_sub_packages_and_profiles_are_copied_and_nothing_of_the_driver(packaged):
    for part, suffix in (("scripts", ".py"), ("configs", ".json")):
        original = {file.relative_to(BUNDLE_ROOT) for file in (BUNDLE_ROOT / part).rglob(f"*{suffix}")}
        assert {file.relative_to(packaged) for file in (packaged / part).rglob(f"*{suffix}")} == original
        assert len({file.parent for file in original}) > 1, "it has folders"
    assert not (packaged / "docs" / "development.md").exists(), "of those who change the bundle"


def test_of_the_bundles_own_network_the_configs_stay_as_they_are(packaged):
    for name in ("inference.json", "train.json", "evaluate.json", "metadata.json"):
        assert read_json(packaged / "configs" / name) == read_json(BUNDLE_ROOT / "configs" / name), name


def test_a_new_version_needs_a_change_and_comes_first(tmp_path):
    with pytest.raises(BundleError, match="a new version needs a line for the changelog"):
        assemble(Release(NAME, version="9.0.0"), tmp_path)
    folder = assemble(Release(NAME, version="9.0.0", change="all new", authors="Somebody"), tmp_path)
    metadata = read_json(folder / "configs" / "metadata.json")
    assert next(iter(metadata["changelog"].items())) == ("9.0.0", "all new")
    assert metadata["version"] == "9.0.0" and metadata["authors"] == "Somebody"


def test_what_a_package_would_drop_is_refused(tmp_path):
    for version in (None, "0.4.0"):
        with pytest.raises(BundleError, match="the changelog has its line for this version"):
            assemble(Release(NAME, version=version, change="more volumes"), tmp_path / "zoo")
    (tmp_path / "terms.txt").write_text("Ours.\n")
    with pytest.raises(BundleError, match="own network are written down already"):
        assemble(Release(NAME, data_terms=tmp_path / "terms.txt"), tmp_path / "zoo")
    assert not (tmp_path / "zoo" / NAME).exists()


def remove_licence(folder):
    (folder / "LICENSE").unlink()


def add_cache(folder):
    (folder / "scripts" / "__pycache__").mkdir()


def add_driver(folder):
    (folder / "scripts" / "data" / "extra.py").write_text("from bundle import demo\n")


def import_what_is_gone(folder):
    (folder / "scripts" / "data" / "extra.py").write_text("def read():\n    from scripts.data.gone import read\n")


def break_syntax(folder):
    (folder / "scripts" / "data" / "extra.py").write_text("def read(:\n")


def lose_a_module(folder):
    (folder / "scripts" / "networks" / "segmenter.py").unlink()


def break_a_profile(folder):
    (folder / "configs" / "small" / "train.json").write_text("{")


def patch_nothing(folder):
    (folder / "configs" / "small" / "missing.json").write_text("{}")


def name_a_class_that_is_gone(folder):
    change(folder / "configs" / "paper" / "train.json", loss={"_target_": "scripts.segmentation.loss.Gone"})


def link_outside(folder):
    file = folder / "docs" / "README.md"
    file.write_text(file.read_text(encoding="utf-8") + "[how to build](development.md#tests)\n")


def name_a_home(folder):
    (folder / "docs" / "method.md").write_text("see /home/somebody/results")


def pickle_objects(folder):
    torch.save({"model": {"weight": torch.zeros(1)}}, folder / "models" / "model.pt")


def add_shorter_name(folder):
    torch.save({"weight": torch.zeros(1)}, folder / "models" / "a.pt")


def drop_heading(folder):
    file = folder / "docs" / "README.md"
    file.write_text(file.read_text(encoding="utf-8").replace("## **Performance**\n", "Performance\n"))


def drop_pictures(folder):
    file = folder / "docs" / "README.md"
    file.write_text(file.read_text(encoding="utf-8").replace("![", "["))


def score_in_words(folder):
    change(folder / "configs" / "metadata.json", eval_metrics="good")


def forget_changelog(folder):
    change(folder / "configs" / "metadata.json", version="7.7.7")


def rename_classes(folder):
    change(folder / "configs" / "inference.json", classes={"heart": 1})


def lose_a_key(folder):
    file = folder / "configs" / "train.json"
    content = read_json(file)
    del content["val_interval"]
    file.write_text(json.dumps(content))


def mistype(folder):
    change(folder / "configs" / "metadata.json", task=["segmentation"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_licence, "LICENSE is missing"),
        (add_cache, "scripts/__pycache__ is a cache"),
        (add_driver, "scripts/data/extra.py imports the driver"),
        (import_what_is_gone, "scripts/data/extra.py imports scripts.data.gone.read, which is not in the package"),
        (break_syntax, "scripts/data/extra.py is no Python"),
        (lose_a_module, "configs/inference.json names scripts.networks.segmenter"),
        (break_a_profile, "configs/small/train.json is no JSON"),
        (patch_nothing, "configs/small/missing.json patches no configs/missing.json"),
        (name_a_class_that_is_gone, "configs/paper/train.json names scripts.segmentation.loss.Gone"),
        (link_outside, "docs/README.md links to development.md, which is not in the package"),
        (name_a_home, "docs/method.md names a place on one machine: /home/s"),
        (pickle_objects, "models/model.pt is no flat table of tensors"),
        (add_shorter_name, "models/a.pt would be loaded by MONAI Label"),
        (drop_heading, "docs/README.md lacks the heading '## **Performance**'"),
        (drop_pictures, "docs/README.md has no picture"),
        (score_in_words, "metadata.json: eval_metrics is no table"),
        (forget_changelog, "the changelog lacks version 7.7.7"),
        (rename_classes, "configs/inference.json: classes is not what models/model.json says"),
        (lose_a_key, "configs/train.json lacks val_interval"),
        (mistype, "metadata.json: task is no text"),
    ],
)
def test_every_rule_can_be_broken(copy, spoil, message):
    spoil(copy)
    assert any(problem.startswith(message) for problem in broken_rules(copy)), broken_rules(copy)


@pytest.mark.parametrize("name", ["Abdomen", "abdomen-ct", "abdomen_ct"])
def test_names_say_the_task_in_lower_case(copy, name):
    assert any(repr(name) in problem for problem in broken_rules(copy.rename(copy.with_name(name))))


def test_files_that_are_too_large_are_listed_with_their_hash(tmp_path):
    with pytest.raises(BundleError, match="files above 10 MB"):
        assemble(Release(NAME), tmp_path, largest_mb=10)
    folder = assemble(Release(NAME, large_files_url="https://example.org/files/"), tmp_path, largest_mb=10)
    listed = (folder / "large_files.yml").read_text(encoding="utf-8")
    assert 'path: "models/model.pt"\n    url: "https://example.org/files/models/model.pt"' in listed
    assert not (folder / "models" / "model.pt").exists()
    assert (tmp_path / f"{NAME}_large_files" / "models" / "model.pt").exists()
    assert broken_rules(folder, largest_mb=10) == []


@pytest.fixture
def task(tmp_path):
    """What `oneshot` leaves behind, with an untrained network of two classes."""
    work, widths = WorkFolder(make_cohort(tmp_path).output_dir), [2, 4, 4, 4, 4]
    torch.manual_seed(0)
    network = segmentation_network("anatomy", 3, widths)
    work.segmentation.mkdir(parents=True)
    torch.save(network.state_dict(), work.segmentation / "model.pt")
    shape = {"architecture": "anatomy", "channels": widths, "spacing_mm": [8.0] * 3, "patch_size": [32] * 3}
    classes = {"aorta": 8, "left_adrenal": 12}
    about = {"max_epochs": 2, "samples_per_epoch": 4, "training_cases": ["a", "b"], "crop_to_body": True}
    write_json(work.segmentation / "model.json", {"kind": "segmentation", "classes": classes, **shape, **about})
    write_json(work.settings, {"mode": "default", "small": True})
    checks = {name: ClassCheck(0.75, (0.7, 0.8), 0.8, 1.0, {}, 9.0, 90.0, name == "aorta") for name in classes}
    write_json(work.self_check / "b.json", CheckRecord("b", 0.9, 1.0, True, (), checks).to_json())
    (tmp_path / "terms.txt").write_text("Ours, for research.\n")
    return work.path


def test_a_users_network_brings_its_classes_and_numbers(task, tmp_path):
    with pytest.raises(BundleError, match="say under which terms"):
        assemble(Release("aorta_segmentation"), tmp_path / "zoo", task)
    (task / "embedding").mkdir()
    (task / "embedding" / "model.pt").write_bytes(b"what the network started from")
    release = Release("aorta_segmentation", data_terms=tmp_path / "terms.txt")
    folder = assemble(release, tmp_path / "zoo", task)
    assert sorted(file.name for file in (folder / "models").rglob("*")) == ["model.json", "model.pt"]
    assert broken_rules(folder) == []
    for config in ("inference.json", "train.json", "evaluate.json"):
        assert read_json(folder / "configs" / config)["classes"] == {"aorta": 1, "left_adrenal": 2}
    metadata = read_json(folder / "configs" / "metadata.json")
    assert "eval_metrics" not in metadata, "nobody has measured it"
    outputs = metadata["network_data_format"]["outputs"]["pred"]
    assert outputs["channel_def"] == {"0": "background", "1": "aorta", "2": "left_adrenal"}
    readme = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert "| aorta | 0.75 | 0.75 to 0.75 | 1 of 1 |" in readme and "1 aorta, 2 left_adrenal" in readme
    assert (folder / "docs" / "data_license.txt").read_text(encoding="utf-8") == "Ours, for research.\n"


def test_terms_of_the_networks_that_a_run_began_with_go_along(task, tmp_path):
    change(WorkFolder(task).settings, weights=str(SHIPPED / "abdomen_mr"))
    folder = assemble(Release("aorta_segmentation", data_terms=tmp_path / "terms.txt"), tmp_path / "zoo", task)
    text = (folder / "docs" / "data_license.txt").read_text(encoding="utf-8")
    assert text.startswith("Ours, for research.\n\nNetworks that this one was made with\n")
    assert "networks of the set abdomen_mr" in text and "CC BY-NC-SA 4.0" in text
    assert broken_rules(folder) == []


def test_a_package_labels_as_the_run_of_its_network_did(task, tmp_path):
    change(WorkFolder(task).settings, overrides={"inference": {"keep_largest": False, "overlap": 0.25}})
    folder = assemble(Release("aorta_segmentation", data_terms=tmp_path / "terms.txt"), tmp_path / "zoo", task)
    config = read_json(folder / "configs" / "inference.json")
    assert (config["keep_largest"], config["inferer"]["overlap"], config["inferer"]["mode"]) == (
        False,
        0.25,
        "gaussian",
    )
    assert broken_rules(folder) == []


def test_of_networks_out_of_an_unknown_folder_it_says_that_they_may_have_terms(tmp_path):
    text = with_terms_of_start_weights("Ours.\n", tmp_path / "secret_trial")
    assert "may have been trained on other images" in text and "secret_trial" not in text
    assert with_terms_of_start_weights("Ours.\n", None) == "Ours.\n"


def test_terms_that_are_no_text_are_refused_before_anything_is_written(task, tmp_path):
    (tmp_path / "terms.txt").write_bytes("Für die Forschung.\n".encode("latin-1"))
    with pytest.raises(BundleError, match="cannot read the terms of the data") as caught:
        assemble(Release("aorta_segmentation", data_terms=tmp_path / "terms.txt"), tmp_path / "zoo", task)
    assert (caught.value.file, caught.value.expected) == (str(tmp_path / "terms.txt"), "a text in UTF-8")
    assert not (tmp_path / "zoo").exists()


def test_a_package_of_a_network_of_mr_does_not_speak_of_ct(task, tmp_path):
    change(task / "segmentation" / "model.json", modality="mr", bias_correction=True)
    folder = assemble(Release("aorta_segmentation", data_terms=tmp_path / "terms.txt"), tmp_path / "zoo", task)
    metadata = read_json(folder / "configs" / "metadata.json")
    assert metadata["task"] == "Multi-organ MR segmentation learned from one scribbled volume and unlabelled volumes"
    said = str({key: value for key, value in metadata.items() if key not in ("changelog", "authors", "copyright")})
    assert not re.search(r"\bCT\b", said)


@pytest.mark.parametrize(
    ("name", "title"),
    [("spleen_ct_segmentation", "Spleen CT segmentation"), ("left_kidney_mr", "Left kidney MR"), ("Liver2", "Liver2")],
)
def test_a_users_package_is_called_as_its_release(task, tmp_path, name, title):
    folder = assemble(Release(name, data_terms=tmp_path / "terms.txt"), tmp_path / "zoo", task)
    metadata = read_json(folder / "configs" / "metadata.json")
    assert metadata["name"] == title
    assert "prnet_data_format" not in metadata, "no PRNet is in it"


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_a_users_package_tells_how_its_mode_made_labels(task, tmp_path, modality):
    change(task / "segmentation" / "model.json", modality=modality, bias_correction=False)
    release, told = Release("aorta_segmentation", data_terms=tmp_path / "terms.txt"), {}
    for mode in ("default", "paper"):
        change(WorkFolder(task).settings, mode=mode)
        folder = assemble(release, tmp_path / "zoo", task)
        told[mode] = read_json(folder / "configs" / "metadata.json")["description"]
        assert f"Mode {mode}, for two CPU cores" in (folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert "warped" in told["default"] and "warped" not in told["paper"] and "PRNets" in told["paper"]
    assert all(f"one {modality.upper()} volume" in text for text in told.values())


def test_a_users_package_tells_no_names_of_cases(task, tmp_path):
    """A series that lies loose is called by its patient, and the support is one of them."""
    patients = ["P4711_20200131_4", "P4712_20200131_4"]
    change(task / "segmentation" / "model.json", training_cases=patients)
    change(task / "cohort.json", support=patients[0])
    folder = assemble(Release("aorta_segmentation", data_terms=tmp_path / "terms.txt"), tmp_path / "zoo", task)
    for file in folder.rglob("*.*"):
        assert not file.is_file() or b"P471" not in file.read_bytes(), file
    assert read_json(folder / "models" / "model.json")["training_case_count"] == 2
    readme = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert "from the scribbles of one volume and 1 unlabelled ones" in readme


@pytest.mark.slow
def test_a_users_package_works_alone(task, tmp_path):
    archive = package(Release("aorta_segmentation", data_terms=tmp_path / "terms.txt"), tmp_path / "zoo", task=task)
    with zipfile.ZipFile(archive) as content:
        content.extractall(tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "aorta_segmentation"
    assert broken_rules(folder) == []
    file = folder / "docs" / "README.md"
    file.write_text(file.read_text(encoding="utf-8").replace("configs/evaluate.json", "configs/evaluated.json"))
    failures = failed_trials(folder)
    assert len(failures) == 1 and "evaluated.json" in failures[0]


@pytest.mark.slow
def test_every_command_of_the_model_card_runs(packaged):
    assert len(readme_commands(packaged)) >= 6
    assert failed_trials(packaged) == []
