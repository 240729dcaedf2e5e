"""The stage with an untrained network: of two equal volumes every cell must still find itself."""

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_nifti
from scripts.label_propagation.first_round import FirstRound, FirstRoundSettings, KeepingRule
from scripts.networks.anatomy_net import AnatomyNet
from scripts.networks.embedding_weights import load_embedding
from scripts.networks.model_files import write_model
from scripts.registration.embedding_matching import MatchingSettings
from tests.prnet_fixtures import CLASSES, LAS, SPACING_MM, make_cohort, phantom

SETTINGS = FirstRoundSettings(MatchingSettings(body_points=300), keeping=KeepingRule(cycle_mm=16.0))


def write_embedding(folder, spacing_mm=SPACING_MM):
    torch.manual_seed(0)
    card = {"widths": [4, 8, 8, 8, 8], "channels": 16, "window_size": [32, 32, 32], "spacing_mm": list(spacing_mm)}
    write_model(folder, AnatomyNet(card["widths"], 16, 16), card)
    return folder


def organs():
    """The phantom's organs on its own grid."""
    hu = phantom(0)
    label = np.zeros(hu.shape, dtype=np.uint8)
    label[hu == 120], label[hu == 190] = CLASSES["spleen"], CLASSES["left_kidney"]
    return label


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A support and its equal, matched once: (cohort, embedding folder, region file)."""
    folder = tmp_path_factory.mktemp("first_round")
    twin = phantom(0)
    twin[12, 12, 0] += 1  # equal but for this, or the support would count as present twice
    write_nifti(folder / "images" / "case_0.nii.gz", phantom(0), LAS)
    write_nifti(folder / "images" / "case_1.nii.gz", twin, LAS)
    cohort = make_cohort(folder, write=False)
    embedding = write_embedding(folder / "embedding")
    region = folder / "region.nii.gz"
    write_nifti(region, organs(), LAS)
    assert stage(cohort, embedding, region).run() == ["case_0", "case_1"]
    return cohort, embedding, region


def stage(cohort, embedding, support_mask=None, settings=SETTINGS):
    return FirstRound(cohort, cohort.output_dir, embedding, support_mask, settings)


def record_of(cohort, case):
    return read_json(cohort.output_dir / "propagation" / f"{case}.json")


def test_an_equal_volume_gets_the_points_where_they_are(finished):
    record = record_of(finished[0], "case_1")
    assert (record["rule"], record["cycle_mm"], record["not_located"]) == ("first_round", 16.0, [])
    near_mm = 1.5 * 2 * np.array(SPACING_MM)  # cells and a half: an untrained network hardly tells neighbours apart
    for point in record["points"]:
        assert np.all(np.abs(np.subtract(point["located_mm"], point["support_mm"])) <= near_mm)
        assert point["kept"], point
        assert {"cycle_mm", "map_mm", "margin", "tissue_misfit"} < set(point)


def test_the_support_s_own_points_are_at_home(finished):
    record = record_of(finished[0], "case_0")
    assert all(point["located_mm"] == point["support_mm"] and point["kept"] for point in record["points"])


@pytest.mark.parametrize(("case", "least"), [("case_0", 0.999), ("case_1", 0.6)])
def test_votes_lie_over_the_organs(finished, case, least):
    probabilities = nib.load(finished[0].output_dir / "propagation" / f"{case}_probabilities.nii.gz")
    shares = np.asarray(probabilities.dataobj) / 255
    assert shares.shape[3] == 1 + len(CLASSES) and shares.sum(axis=3) == pytest.approx(1, abs=0.01)
    label = organs()
    for channel, value in enumerate(CLASSES.values(), start=1):
        voxel = np.argwhere(label == value).mean(axis=0)
        centre_mm = LAS[:3, :3] @ voxel + LAS[:3, 3]
        heaviest = np.average(np.indices(shares.shape[:3]).reshape(3, -1), axis=1, weights=shares[..., channel].ravel())
        assert probabilities.affine[:3, :3] @ heaviest + probabilities.affine[:3, 3] == pytest.approx(centre_mm, abs=8)
    voxels = (label > 0).sum()
    transferred = shares[..., 1:].sum()
    assert least * voxels <= transferred <= voxels / least


def test_only_what_changed_is_done_again(finished):
    cohort, embedding, region = finished
    assert stage(cohort, embedding, region).run() == []
    (cohort.output_dir / "propagation" / "case_1_probabilities.nii.gz").unlink()
    assert stage(cohort, embedding, region).run() == ["case_1"]


def test_a_planted_wrong_point_is_dropped(finished, tmp_path):
    """A point that comes back elsewhere fails the cycle check."""
    cohort, embedding, _ = finished
    strict = FirstRoundSettings(MatchingSettings(body_points=300), keeping=KeepingRule(cycle_mm=-1.0))
    other = FirstRound(cohort, tmp_path, embedding, None, strict)
    other.run(["case_1"])
    points = read_json(tmp_path / "propagation" / "case_1.json")["points"]
    assert {point["reason"] for point in points} == {"cycle"}
    assert not (tmp_path / "propagation" / "case_1_probabilities.nii.gz").exists(), "no region, no votes"


def test_weights_of_another_spacing(tmp_path):
    write_embedding(tmp_path, spacing_mm=(3.0, 3.0, 3.0))
    with pytest.raises(BundleError, match="trained with another spacing"):
        load_embedding(tmp_path, SPACING_MM)
    assert load_embedding(tmp_path).window_size == (32, 32, 32)


def test_no_weights_and_damaged_weights(tmp_path):
    with pytest.raises(BundleError, match="no embedding network here"):
        load_embedding(tmp_path / "none")
    write_embedding(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"damaged")
    with pytest.raises(BundleError, match="does not load"):
        load_embedding(tmp_path)
