"""Mode `default` through the command line, on four tiny phantoms: results, a second run, corrections, kills, damage."""

import json
import logging
import re
import shutil
import time

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bundle.command_line import main
from bundle.datasets.phantom_cohort import write_phantom_cohort
from scripts.common.files import read_json
from scripts.common.work_folder import WorkFolder
from tests.damage import KINDS, damage, damage_share
from tests.killed_run import killed
from tests.pipeline_fixtures import default_settings
from tests.same_results import differing, written_after

pytestmark = pytest.mark.slow

STAGES = [
    *("embedding", "support_mask", "first_round", "first_round_labels", "label_fusion", "pseudo_labels"),
    *("on_support_labels", "self_check_pseudo_labels", "training_labels", "segmentation", "inference"),
    *("ensemble", "joined_labels", "self_check_joined_labels", "choice", "self_check"),
]
NUMBERS = range(4)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_phantom_cohort(tmp_path_factory.mktemp("cohort"), count=4, held_out=0, spacing_mm=(8.0, 8.0, 8.0))


@pytest.fixture(scope="module")
def finished(cohort, tmp_path_factory):
    """An output folder of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp("whole") / "out"
    main(command(cohort, output))
    return output


def command(cohort, output, *more):
    pairs = [(stage, key, value) for stage, keys in default_settings().items() for key, value in keys.items()]
    return [
        *("oneshot", "--mode", "default", "--small", "--output", str(output), *map(str, more)),
        *("--images", str(cohort / "images"), "--support", str(cohort / "images" / "phantom_00.nii.gz")),
        *("--scribbles", str(cohort / "scribbles" / "phantom_00_a.nii.gz")),
        *("--classes", "spleen:1,liver:4", "--background", "7"),
        *(part for stage, key, value in pairs for part in ("--set", f"{stage}.{key}={json.dumps(value)}")),
    ]


def test_a_class_in_two_parts_stays_in_two_to_the_networks_card(cohort, tmp_path):
    drawn = nib.load(cohort / "scribbles" / "phantom_00_a.nii.gz")
    strokes = np.asarray(drawn.dataobj).copy()
    strokes[strokes == 2] = 3  # the other kidney
    nib.save(nib.Nifti1Image(strokes, drawn.affine), tmp_path / "strokes.nii.gz")
    output = tmp_path / "out"
    main([*command(cohort, output), "--scribbles", str(tmp_path / "strokes.nii.gz"), "--classes", "left_kidney:3"])
    assert read_json(output / "support_mask" / "phantom_00.json")["parts"] == {"left_kidney": 2}
    assert read_json(output / "segmentation" / "model.json")["parts"] == {"left_kidney": 2}
    for folder in (WorkFolder(output).first_round_labels, WorkFolder(output).predictions):
        labels = [np.asarray(nib.load(file).dataobj) for file in sorted(folder.path.glob("*.nii.gz"))]
        assert ndimage.label(labels[0] == 3)[1] == 2 and max(ndimage.label(label == 3)[1] for label in labels) == 2


def test_from_scribbles_to_label_maps(cohort, finished):
    assert list(read_json(finished / "state.json")) == STAGES
    for number in NUMBERS:
        image = nib.load(cohort / "images" / f"phantom_{number:02d}.nii.gz")
        label = nib.load(finished / "predictions" / f"phantom_{number:02d}.nii.gz")
        assert label.shape == image.shape and np.array_equal(label.affine, image.affine)
        check = finished / "self_check" / f"phantom_{number:02d}.json"
        assert check.exists() == (number > 0), "the support is not checked against itself"
    assert set(read_json(check)["classes"]) == {"spleen", "liver"}
    grown = read_json(WorkFolder(finished).support_mask.record("phantom_00"))["border_confidence"]
    assert border_confidence(check) == pytest.approx(grown, abs=1e-3) and set(grown) == {"spleen", "liver"}
    assert (finished / "report" / "index.html").exists()
    assert [str(path) for path in finished.rglob(".*")] == [], "temporary files"


def test_what_others_learn_from_claims_rather_too_little(finished):
    first, training, pseudo = (
        read_json(finished / folder / "phantom_01.json")["settings"]
        for folder in ("first_round/pseudo_labels", "training_labels", "pseudo_labels")
    )
    limits = [settings["background_seed_probability"] for settings in (first, training, pseudo)]
    assert limits == [None, None, 0.97]
    assert first["probability_weight"] == 0.0 < training["probability_weight"]


def test_a_second_run_redoes_nothing_and_a_corrected_support_mask_what_depends_on_it(
    cohort, finished, tmp_path, caplog
):
    output = shutil.copytree(finished, tmp_path / "out")
    caplog.set_level(logging.INFO)
    main(command(cohort, output))
    assert caplog.text.count("done before") == len(STAGES)
    caplog.clear()
    main(command(cohort, output, "--support-mask", cohort / "labels" / "phantom_00.nii.gz"))
    assert "embedding: done before" in caplog.text
    assert "first_round: 4 cases were done again, because inputs changed" in caplog.text
    assert "segmentation: its inputs changed" in caplog.text
    pseudo = np.asarray(nib.load(output / "pseudo_labels" / "phantom_00.nii.gz").dataobj)
    assert np.array_equal(pseudo, classes_of(cohort / "labels" / "phantom_00.nii.gz")), "it is taken as it is"
    assert border_confidence(output / "self_check" / "phantom_03.json") == {"spleen": 1.0, "liver": 1.0}


def test_killed_runs_end_with_the_same_results(cohort, finished, tmp_path, caplog):
    output = tmp_path / "out"
    places = [
        "embedding/curve.csv@2",
        "first_round/propagation/phantom_02.json",
        "out/propagation/phantom_02.json",
        "out/pseudo_labels/phantom_02.json",
        "segmentation/checkpoints/epoch_0003.pt",
        "network/phantom_02.json",
        "out/predictions/phantom_02.json",
        "out/self_check/phantom_02.json",
    ]
    killed(places, command(cohort, output))
    caplog.set_level(logging.INFO)
    main(command(cohort, output))
    assert caplog.text.count("done before") == len(STAGES) - 1
    assert "self_check: continuing" in caplog.text
    assert differing(output, finished) == []


def test_damaged_results_are_made_again_and_nothing_else(cohort, finished, tmp_path):
    output = shutil.copytree(finished, tmp_path / "out")
    mask = WorkFolder(output).support_mask.label("phantom_00").relative_to(output)
    damaged = {
        "cache/phantom_03/image.nii": "changed",
        "cache/phantom_02/body.nii": "cut",
        "first_round/propagation/phantom_01_probabilities.nii.gz": "cut",
        "first_round/propagation/phantom_02_scribbles.nii.gz": "changed",
        "first_round/pseudo_labels/phantom_03.nii.gz": "changed",
        "propagation/phantom_01_atlases.nii.gz": "changed",
        "propagation/phantom_02_probabilities.nii.gz": "missing",
        "propagation/phantom_03.json": "cut",
        "pseudo_labels/phantom_01.nii.gz": "cut",
        "training_labels/phantom_02.nii.gz": "changed",
        "predictions/phantom_03.nii.gz": "missing",
        str(mask): "cut",
        "embedding/model.pt": "cut",
        "segmentation/model.pt": "changed",
        "network/phantom_01.nii.gz": "changed",
        "network/propagation/phantom_02_probabilities.nii.gz": "cut",
        "self_check/phantom_01.json": "cut",
        "self_check_pseudo_labels/phantom_02.json": "missing",
    }
    for name, kind in damaged.items():
        damage(output / name, kind)
    time.sleep(1.1)  # a damaged file looks as if touched a second later than it was
    start_ns = time.time_ns()
    main(command(cohort, output))
    assert differing(output, finished) == []
    again = {case_of(name) for name in damaged if not name.startswith("cache")}
    again |= {"network/probabilities/phantom_01"}  # the network labels a case and says what it thought in one go
    assert {case_of(name) for name in written_after(output, start_ns)} == again


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_whatever_is_damaged_ends_with_the_same_results(cohort, finished, tmp_path, number):
    output = shutil.copytree(finished, tmp_path / "out")
    damage_share(output, number)
    main(command(cohort, output))
    shutil.rmtree(output / "segmentation" / "labels", ignore_errors=True)  # of no use to a training that is done
    assert [name for name in differing(output, finished) if not name.startswith("segmentation/labels")] == []


def case_of(name):
    """Folder and case of a result's file."""
    return re.sub(r"(_probabilities|_atlases|_scribbles)?\..*", "", name)


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
    """Class -> how sure the border of its support mask is taken to be."""
    return {name: check["border_confidence"] for name, check in read_json(record)["classes"].items()}


def classes_of(file):
    """A label map with the classes of the command alone."""
    array = np.asarray(nib.load(file).dataobj)
    return np.where(np.isin(array, [1, 4]), array, 0)


@pytest.mark.parametrize(
    ("mode", "mask", "message"),
    [
        ("paper", "labels/phantom_00.nii.gz", "--support-mask is of no use in mode paper"),
        ("default", "labels/phantom_01.nii.gz", "the support mask's voxels are not on the support's grid"),
        ("default", "scribbles/empty.nii.gz", "the support mask lacks a class"),
    ],
)
def test_support_masks_that_do_not_fit(cohort, tmp_path, capsys, mode, mask, message):
    support = nib.load(cohort / "labels" / "phantom_00.nii.gz")
    empty = np.zeros(support.shape, np.uint8)
    nib.save(nib.Nifti1Image(empty, support.affine), cohort / "scribbles" / "empty.nii.gz")
    arguments = command(cohort, tmp_path / "out", "--support-mask", cohort / mask)
    arguments[arguments.index("--mode") + 1] = mode
    if mode == "paper":
        arguments = arguments[: arguments.index("--set")]
    assert message in refusal(arguments, capsys)


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("phantom_2", "phantom_02", "beside the support there are phantom_02"),
        ("phantom_00", "phantom_00", "belongs to no case"),
        ("phantom_01", "phantom_02", "the accepted label map's voxels are not on the case's grid"),
    ],
)
def test_accepted_label_maps_that_do_not_fit(cohort, tmp_path, capsys, name, source, message):
    (tmp_path / "accepted").mkdir()
    shutil.copy(cohort / "labels" / f"{source}.nii.gz", tmp_path / "accepted" / f"{name}.nii.gz")
    assert message in refusal(command(cohort, tmp_path / "out", "--accepted", tmp_path / "accepted"), capsys)
