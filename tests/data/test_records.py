import json

import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.common.files import write_json
from scripts.data.records import KEPT, PointSet, PropagationRecord, PseudoLabelRecord, read_record

CLASSES = {"spleen": 1, "liver": 6}


def points():
    """Two points of the spleen, of which one is dropped, and one of background."""
    return PointSet(
        labels=np.array([1, 1, 0]),
        support_voxels=np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        support_mm=np.array([[2.0, 6.00049, 12.0], [8.0, 15.0, 24.0], [-0.12345, 0.0, 1e-9]]),
        located_mm=np.array([[1.00051, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]),
        working_voxels=np.array([[0, 1, 1], [2, 2, 2], [3, 3, 3]]),
        scores=np.array([0.12345678, 1.0, 0.5]),
        reasons=np.array([KEPT, "similarity", KEPT], dtype=object),
        similarities={"m2": np.array([0.99996, 0.2, 0.3])},
        evidence={"tissue_misfit": np.array([0.0, 0.00004, 0.08])},
    )


def record(**changes):
    values = {"case": "b", "support": "a", "rule": {"name": "dual", "tau": 0.5}, "spacing_mm": (4.0, 4.0, 5.0)}
    return PropagationRecord(**{**values, "classes": CLASSES, "points": points(), **changes})


def test_kept_points_and_the_classes_that_have_none():
    assert len(points()) == 3 and points().kept.tolist() == [True, False, True]
    assert points().not_located(CLASSES) == ["liver"]
    assert points().chosen(np.array([False, True, True])).not_located(CLASSES) == ["spleen", "liver"]
    assert PointSet.empty().not_located(CLASSES) == ["spleen", "liver"]


def test_chosen_points_keep_all_their_numbers():
    chosen = points().chosen(np.array([2, 0]))
    assert chosen.labels.tolist() == [0, 1] and chosen.support_voxels.tolist() == [[7, 8, 9], [1, 2, 3]]
    assert chosen.located_mm[0].tolist() == [7.0, 8.0, 9.0] and chosen.working_voxels[1].tolist() == [0, 1, 1]
    assert chosen.reasons.tolist() == [KEPT, KEPT] and chosen.scores.tolist() == [0.5, 0.12345678]
    assert chosen.similarities["m2"].tolist() == [0.3, 0.99996]
    assert chosen.evidence["tissue_misfit"].tolist() == [0.08, 0.0]
    assert points().chosen(points().kept).support_mm.shape == (2, 3)


def test_millimetres_have_three_digits_and_other_numbers_four():
    content = points().to_json()
    assert content["support_mm"] == [[2.0, 6.0, 12.0], [8.0, 15.0, 24.0], [-0.123, 0.0, 0.0]]
    assert content["located_mm"][0] == [1.001, 2.0, 3.0] and content["scores"] == [0.1235, 1.0, 0.5]
    assert content["similarities"] == {"m2": [1.0, 0.2, 0.3]}
    assert content["evidence"] == {"tissue_misfit": [0.0, 0.0, 0.08]}
    assert content["labels"] == [1, 1, 0] and content["reasons"] == ["", "similarity", ""]


@pytest.mark.parametrize("original", [points(), PointSet.empty()])
def test_points_survive_json_rounded(original):
    read = PointSet.from_json(json.loads(json.dumps(original.to_json())))
    assert read.to_json() == original.to_json() and len(read) == len(original)
    assert read.kept.tolist() == original.kept.tolist()
    assert read.located_mm.shape == (len(original), 3) and read.working_voxels.dtype == original.working_voxels.dtype


def test_a_propagation_record_survives_its_file(tmp_path):
    original = record(
        similarity=0.912345,
        round_trip_dice={"spleen": 0.87654},
        atlases={"a": {"spleen": 0.5, "liver": 1.0}, "c": {"spleen": 0.5}},
        mean_round_trip_dice={"spleen": 0.8},
    )
    write_json(tmp_path / "b.json", original.to_json())
    read = PropagationRecord.read(tmp_path / "b.json")
    assert (read.case, read.support, read.rule) == ("b", "a", {"name": "dual", "tau": 0.5})
    assert read.spacing_mm == (4.0, 4.0, 5.0) and read.classes == CLASSES and read.not_located == ["liver"]
    assert read.similarity == 0.9123 and read.round_trip_dice == {"spleen": 0.8765}
    assert read.atlases == original.atlases and read.mean_round_trip_dice == {"spleen": 0.8}
    assert read.to_json() == original.to_json()


def test_a_propagation_record_without_what_mode_default_adds(tmp_path):
    write_json(tmp_path / "b.json", record().to_json())
    read = PropagationRecord.read(tmp_path / "b.json")
    assert (read.similarity, read.round_trip_dice, read.atlases, read.mean_round_trip_dice) == (None, {}, {}, {})


def test_a_pseudo_label_record_survives_its_file(tmp_path):
    original = PseudoLabelRecord(
        "b", CLASSES, ("liver",), volume_ml={"spleen": 12.5, "liver": 0.0}, border_confidence={"spleen": 0.9}
    )
    write_json(tmp_path / "b.json", {**original.to_json(), "seconds": 1.5, "inputs": "x", "files": {}})
    assert PseudoLabelRecord.read(tmp_path / "b.json") == original


@pytest.mark.parametrize("kind", [PropagationRecord, PseudoLabelRecord])
@pytest.mark.parametrize("content", ["{half", "[]", "{}", '{"case": "b", "spacing_mm": 3, "not_located": null}'])
def test_a_damaged_record_names_its_file(tmp_path, kind, content):
    (tmp_path / "b.json").write_text(content, encoding="utf-8")
    with pytest.raises(BundleError) as caught:
        kind.read(tmp_path / "b.json")
    assert caught.value.file == str(tmp_path / "b.json") and caught.value.found is not None


def test_a_missing_record_is_no_damage(tmp_path):
    with pytest.raises(BundleError, match="cannot read the JSON file"):
        PropagationRecord.read(tmp_path / "b.json")


def test_a_record_is_what_its_reader_makes_of_it(tmp_path):
    write_json(tmp_path / "b.json", {"case": "b"})
    assert read_record(tmp_path / "b.json", lambda content: content["case"].upper()) == "B"
    with pytest.raises(BundleError, match=r"the record is damaged\n.*\n  expected: .*makes it again"):
        read_record(tmp_path / "b.json", lambda content: content["missing"])
