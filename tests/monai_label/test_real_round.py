"""One round at the desk on real CT: strokes in one of four abdominal volumes, Train, labels in the datastore."""

import json
import time

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from bundle.datasets.dataset import read_dataset
from bundle.monai_label.names import OUTSIDE, SHOWN, SUPPORT_MASK, TAG, TRAINED
from scripts.common.overlap import dice_of
from tests.fixtures.real_data import data
from tests.monai_label.label_server import Server, infer, quality

SETTINGS = ("--weights", "abdomen_ct", "--set", "segmentation.max_epochs=6")


@pytest.mark.slow
def test_four_abdominal_volumes_are_labelled_from_strokes_in_one(tmp_path, capsys):
    dataset = read_dataset(data("abdomen_ct"))
    cases = [dataset.support, *[case for case in dataset.unlabelled if case != dataset.support][:3]]
    studies = tmp_path / "studies"
    studies.mkdir()
    for case in cases:
        (studies / f"{case}.nii.gz").write_bytes(dataset.image(case).read_bytes())
    strokes = nib.load(dataset.scribbles("a", dataset.support))
    drawn = np.asarray(strokes.dataobj)
    segments = {**dataset.classes, OUTSIDE: dataset.background}
    nib.save(
        nib.Nifti1Image(np.where(np.isin(drawn, [*segments.values()]), drawn, 0), strokes.affine),
        tmp_path / "strokes.nii.gz",
    )
    server = Server(studies, tmp_path / "app", SETTINGS, patience_s=1800)
    try:
        named = {"label_info": [{"name": name, "idx": value} for name, value in segments.items()]}
        grown = infer(server, SUPPORT_MASK, dataset.support, tmp_path, named, tmp_path / "strokes.nii.gz")
        mask_dice = dice_of_organs(grown, dataset, dataset.support)
        server.submit(dataset.support, tmp_path / "strokes.nii.gz", segments)
        shown = watched_training(server)
        assert server.training()["status"] == "DONE", "\n".join(server.training()["details"])
        info = server.get("/info/").json()
        assert info["datastore"]["label_tags"] == {"final": 1, TAG: len(cases), SHOWN: len(cases)}
        predicted = {case: quality(server, case) for case in cases[1:]}
        reached = {case: dice_of_label(server, dataset, case, tmp_path) for case in cases[1:]}
        with capsys.disabled():
            print("", "progress", *shown, info["models"][TRAINED]["description"], sep="\n")
            print("Dice of the support mask", json.dumps(mask_dice), sep="\n")
            print("predicted Dice", json.dumps(predicted), "true Dice", json.dumps(reached), sep="\n")
        assert min(mask_dice.values()) > 0.8, "seen before Train"
        assert all(set(classes) == set(dataset.classes) for classes in predicted.values())
        assert all(classes["liver"] > 0.5 for classes in reached.values()), "large, and never missed"
        served = infer(server, TRAINED, cases[1], tmp_path)
        assert {0, dataset.classes["liver"]} <= set(np.unique(served)) <= {0, *dataset.classes.values()}, "the strokes'"
    finally:
        server.kill()


def watched_training(server):
    """Train; what the bars of a viewer show, one line for each change."""
    assert server.post(f"/train/{TRAINED}", json={}).status_code == 200
    start, shown = time.monotonic(), []

    def ended():
        stats = server.get("/info/").json()["train_stats"][TRAINED]
        line = f"{stats.get('epoch')} % {stats.get('stage', '')} metric {stats.get('best_metric', 0)}"
        if not shown or not shown[-1].endswith(line):
            shown.append(f"{time.monotonic() - start:.0f} s: {line}")
        return server.training()["status"] in ("DONE", "ERROR")

    server.wait_for(ended)
    assert any("metric 0." in line and not line.split(": ")[1].startswith("100") for line in shown), "labels early"
    return shown


def dice_of_label(server, dataset, case, folder):
    """Class -> Dice of the label that the round left, scored only here."""
    file = folder / "label.nii.gz"
    file.write_bytes(server.get(f"/datastore/label?label={case}&tag={TAG}").content)
    label = nib.load(file)
    assert np.allclose(label.affine, nib.load(dataset.labels / f"{case}.nii.gz").affine)
    return dice_of_organs(np.asarray(label.dataobj), dataset, case)


def dice_of_organs(label, dataset, case):
    """Class -> Dice."""
    truth = np.asarray(nib.load(dataset.labels / f"{case}.nii.gz").dataobj)
    return {name: round(float(dice_of(label == value, truth == value)), 2) for name, value in dataset.classes.items()}
