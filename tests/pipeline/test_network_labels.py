import pytest

from bundle.pipeline.network_labels import NetworkLabels
from scripts.common.errors import BundleError
from scripts.common.files import write_json
from scripts.common.made_of import fingerprint, write_record
from scripts.common.work_folder import LabelFolder, PropagationFolder
from tests.damage import KINDS, damage

IMAGES = {"a": "image a", "b": "image b"}


def labels_of(path, network="one", settings=1, with_probabilities=False):
    return NetworkLabels({"model.pt": network}, LabelFolder(path / "out"), with_probabilities, settings)


def predict(labels, cases, inputs):
    for case in cases:
        file = labels.labels.label(case)
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"label of {case}")
        write_record(labels.labels.record(case), {}, inputs[case], [file])


@pytest.fixture
def done(tmp_path):
    labels = labels_of(tmp_path)
    inputs = labels.inputs(IMAGES)
    assert labels.clear(inputs) == ["a", "b"]
    predict(labels, ["a", "b"], inputs)
    return labels


def files(path):
    return sorted(file.name for file in (path / "out").iterdir())


def test_label_maps_that_are_whole_stay(done, tmp_path):
    assert done.clear(done.inputs(IMAGES)) == []
    assert files(tmp_path) == ["a.json", "a.nii.gz", "b.json", "b.nii.gz", "made_by"]


@pytest.mark.parametrize("changes", [{"network": "two"}, {"settings": 2}])
def test_another_network_or_other_settings_make_all_again(done, tmp_path, caplog, changes):
    other = labels_of(tmp_path, **changes)
    assert other.clear(other.inputs(IMAGES)) == ["a", "b"]
    assert files(tmp_path) == ["made_by"]
    assert "2 label maps in" in caplog.text


def test_label_maps_are_of_the_third_version(tmp_path):
    """Before, a class could lie in the air."""
    network = {"model.pt": "one"}
    labels = NetworkLabels(network, LabelFolder(tmp_path), with_probabilities=False, settings=1)
    assert labels.inputs({"a": "image"}) == {"a": fingerprint({"version": 3, "inputs": [network, 1, "image"]})}


def test_another_image_makes_its_label_map_again(done, tmp_path):
    assert done.clear(done.inputs(IMAGES | {"b": "another"})) == ["b"]
    assert files(tmp_path) == ["a.json", "a.nii.gz", "made_by"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_label_map_is_made_again(done, kind):
    damage(done.labels.label("a"), kind)
    assert done.clear(done.inputs(IMAGES)) == ["a"]


def test_a_label_map_whose_record_a_kill_prevented_is_made_again(done):
    done.labels.record("a").unlink()
    assert done.clear(done.inputs(IMAGES)) == ["a"]


def test_missing_or_damaged_probabilities_make_the_label_map_again(tmp_path):
    labels = labels_of(tmp_path, with_probabilities=True)
    inputs = labels.inputs({"a": "image"})
    predict(labels, ["a"], inputs)
    assert labels.clear(inputs) == ["a"], "there are none"
    own = PropagationFolder(tmp_path / "out" / "probabilities")
    own.path.mkdir(parents=True)
    own.probabilities("a").write_text("probabilities")
    write_record(own.record("a"), {}, inputs["a"], [own.probabilities("a")])
    predict(labels, ["a"], inputs)
    assert labels.clear(inputs) == []
    damage(own.probabilities("a"), "changed")
    assert labels.clear(inputs) == ["a"]


@pytest.mark.parametrize("name", ["a.nii.gz", "a.json"])
def test_files_that_no_network_made_are_never_removed(tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("something of the user's")
    labels = labels_of(tmp_path)
    with pytest.raises(BundleError, match="did not make"):
        labels.clear(labels.inputs(IMAGES))
    assert files(tmp_path) == [name]


def test_a_case_that_came_later_with_a_file_of_the_users_own_is_refused(done, tmp_path):
    (tmp_path / "out" / "c.nii.gz").write_text("something of the user's")
    with pytest.raises(BundleError, match="did not make") as caught:
        done.clear(done.inputs(IMAGES | {"c": "image c"}))
    assert caught.value.file == str(tmp_path / "out" / "c.nii.gz")
    assert (tmp_path / "out" / "c.nii.gz").read_text() == "something of the user's"


def test_what_was_made_of_a_volume_that_cannot_be_used_any_more_is_removed(done, tmp_path):
    own = done.labels.own
    own.path.mkdir()
    own.probabilities("a").write_text("probabilities")
    write_record(own.record("a"), {}, "", [own.probabilities("a")])
    done.forget(["a"])
    assert files(tmp_path) == ["b.json", "b.nii.gz", "made_by", "probabilities"]
    assert not list(own.path.iterdir())
    done.labels.record("b").unlink()
    done.forget(["b"])
    assert files(tmp_path) == ["made_by", "probabilities"], "a killed run's own"


def test_the_users_files_of_a_volume_that_cannot_be_used_stay(done, tmp_path):
    (tmp_path / "out" / "c.nii.gz").write_text("something of the user's")
    (tmp_path / "out" / "d.json").write_text("[]")
    done.forget(["c", "d"])
    assert {"c.nii.gz", "d.json"} <= set(files(tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_record_does_not_make_a_label_map_the_users(done, kind):
    inputs = done.inputs(IMAGES | {"c": "image c"})
    predict(done, done.clear(inputs), inputs)
    damage(done.labels.record("a"), kind)
    assert done.clear(inputs) == ["a"]


def test_conversions_over_the_users_volumes_are_refused(tmp_path):
    (tmp_path / "out" / "images").mkdir(parents=True)
    volume = tmp_path / "out" / "images" / "a.nii.gz"
    volume.write_text("the user's volume")
    labels = labels_of(tmp_path)
    with pytest.raises(BundleError, match="did not make"):
        labels.clear(labels.inputs(IMAGES), {"a": volume})
    assert labels.clear(labels.inputs(IMAGES)) == ["a", "b"], "nothing is converted"
    assert labels.clear(labels.inputs(IMAGES), {"a": volume}) == ["a", "b"], "a killed run's own"
    assert volume.read_text() == "the user's volume"


def test_folders_of_0_3_0_are_ours(done, tmp_path):
    (tmp_path / "out" / "made_by").rename(tmp_path / "out" / "made_of.json")
    write_json(tmp_path / "out" / "made_of.json", {"network": {"model.pt": "one"}})
    done.labels.record("a").unlink()
    assert done.clear(done.inputs(IMAGES)) == ["a"]


def test_a_case_may_be_called_as_the_folders_record_was(tmp_path):
    images = {"made_of": "image", "made_by": "image"}
    labels = labels_of(tmp_path)
    inputs = labels.inputs(images)
    predict(labels, labels.clear(inputs), inputs)
    assert labels.clear(inputs) == []
    other = labels_of(tmp_path, network="two")
    assert other.clear(other.inputs(images)) == ["made_of", "made_by"]
