"""Mode `default` through the command line, on four tiny phantoms."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from bundle.command_line import main
from bundle.datasets.phantom_cohort import write_phantom_cohort
from scripts.common.files import read_json
from tests.pipeline_fixtures import default_settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_phantom_cohort(tmp_path_factory.mktemp("cohort"), count=4, held_out=0, spacing_mm=(8.0, 8.0, 8.0))


def command(cohort, output, *more):
    pairs = [(stage, key, value) for stage, keys in default_settings().items() for key, value in keys.items()]
    return [
        *("oneshot", "--mode", "default", "--small", "--output", str(output), *map(str, more)),
        *("--images", str(cohort / "images"), "--support", str(cohort / "images" / "phantom_00.nii.gz")),
        *("--scribbles", str(cohort / "scribbles" / "phantom_00_a.nii.gz")),
        *("--classes", "spleen:1,liver:4", "--background", "7"),
        *(part for stage, key, value in pairs for part in ("--set", f"{stage}.{key}={json.dumps(value)}")),
    ]


def test_from_scribbles_to_label_maps_and_again_with_a_corrected_region(cohort, tmp_path, caplog):
    output = tmp_path / "out"
    caplog.set_level("INFO")
    main(command(cohort, output))
    stages = ["embedding", "support_mask", "first_round", "pseudo_labels_first_round", "label_fusion", "pseudo_labels"]
    stages += [
        "pseudo_labels_on_support",
        "self_check_pseudo_labels",
        "pseudo_labels_training_labels",
        "segmentation",
        "inference",
        "pseudo_labels_predictions",
    ]
    stages += ["self_check"]
    assert list(read_json(output / "state.json")) == stages
    for number in range(4):
        image = nib.load(cohort / "images" / f"phantom_{number:02d}.nii.gz")
        found = nib.load(output / "predictions" / f"phantom_{number:02d}.nii.gz")
        assert found.shape == image.shape and np.array_equal(found.affine, image.affine)
        trust = output / "self_check" / f"phantom_{number:02d}.json"
        assert trust.exists() == (number > 0), "the support is not checked against itself"
    assert set(read_json(trust)["classes"]) == {"spleen", "liver"}
    grown = read_json(output / "support_mask" / "pseudo_labels" / "phantom_00.json")["border_confidence"]
    assert border_confidence(trust) == pytest.approx(grown, abs=1e-3) and set(grown) == {"spleen", "liver"}
    assert (output / "report" / "index.html").exists()
    limits = [
        read_json(output / folder / "phantom_01.json")["settings"]["background_seed_probability"]
        for folder in ("first_round/pseudo_labels", "training_labels", "pseudo_labels")
    ]
    assert limits == [None, None, 0.97], "what others learn from claims rather too little"
    first = read_json(output / "first_round/pseudo_labels/phantom_01.json")["settings"]["probability_weight"]
    assert first == 0.0 < read_json(output / "training_labels/phantom_01.json")["settings"]["probability_weight"]
    caplog.clear()
    main(command(cohort, output))
    assert caplog.text.count("done before") == len(stages)
    caplog.clear()
    main(command(cohort, output, "--region", cohort / "labels" / "phantom_00.nii.gz"))
    assert "embedding: done before" in caplog.text and "correspondence: its inputs changed" in caplog.text
    pseudo = np.asarray(nib.load(output / "pseudo_labels" / "phantom_00.nii.gz").dataobj)
    assert np.array_equal(pseudo, classes_of(cohort / "labels" / "phantom_00.nii.gz")), "a region is taken as it is"
    assert border_confidence(trust) == {"spleen": 1.0, "liver": 1.0}


def test_label_maps_that_the_user_corrected_help_the_others(cohort, tmp_path):
    output, accepted = tmp_path / "out", tmp_path / "accepted"
    accepted.mkdir()
    shutil.copy(cohort / "labels" / "phantom_02.nii.gz", accepted)
    main(command(cohort, output, "--accepted", accepted, "--device", "cpu"))
    pseudo = np.asarray(nib.load(output / "pseudo_labels" / "phantom_02.nii.gz").dataobj)
    assert np.array_equal(pseudo, classes_of(cohort / "labels" / "phantom_02.nii.gz"))
    assert "phantom_02" in read_json(output / "propagation" / "phantom_01.json")["atlases"]
    assert read_json(output / "pseudo_labels" / "phantom_02.json")["given"]


def refusal(arguments, capsys):
    """What a command that is refused says."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    return capsys.readouterr().err


def border_confidence(record):
    """Class -> how sure the border of its region is taken to be."""
    return {name: found["border_confidence"] for name, found in read_json(record)["classes"].items()}


def classes_of(file):
    """A label map with the classes of the command alone."""
    array = np.asarray(nib.load(file).dataobj)
    return np.where(np.isin(array, [1, 4]), array, 0)


@pytest.mark.parametrize(
    ("mode", "region", "message"),
    [
        ("paper", "labels/phantom_00.nii.gz", "--region is of no use in mode paper"),
        ("default", "labels/phantom_01.nii.gz", "the region's voxels are not on the support's grid"),
        ("default", "scribbles/empty.nii.gz", "the region lacks a class"),
    ],
)
def test_regions_that_do_not_fit(cohort, tmp_path, capsys, mode, region, message):
    support = nib.load(cohort / "labels" / "phantom_00.nii.gz")
    empty = np.zeros(support.shape, np.uint8)
    nib.save(nib.Nifti1Image(empty, support.affine), cohort / "scribbles" / "empty.nii.gz")
    arguments = command(cohort, tmp_path / "out", "--region", cohort / region)
    arguments[arguments.index("--mode") + 1] = mode
    if mode == "paper":
        arguments = arguments[: arguments.index("--set")]
    assert message in refusal(arguments, capsys)


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("stranger", "phantom_02", "belongs to no case"),
        ("phantom_00", "phantom_00", "belongs to no case"),
        ("phantom_01", "phantom_02", "the accepted label map's voxels are not on the case's grid"),
    ],
)
def test_accepted_label_maps_that_do_not_fit(cohort, tmp_path, capsys, name, source, message):
    (tmp_path / "accepted").mkdir()
    shutil.copy(cohort / "labels" / f"{source}.nii.gz", tmp_path / "accepted" / f"{name}.nii.gz")
    assert message in refusal(command(cohort, tmp_path / "out", "--accepted", tmp_path / "accepted"), capsys)
