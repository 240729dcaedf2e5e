import json
from types import SimpleNamespace

import pytest

from bundle.benchmark.shipping import ship_embedding, ship_prnets, ship_segmentation
from bundle.pipeline.configs import BUNDLE_ROOT
from bundle.pipeline.inference import CARD_KEYS
from scripts.common.files import read_json, write_json


def test_shipped_prnets_carry_data_and_scores(tmp_path):
    for name in ("coarse", "fine"):
        folder = tmp_path / "work" / "prnet" / name
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes(name.encode())
        (folder / "model.json").write_text('{"kind": "prnet"}')
        (folder / "curve.csv").write_text("epoch,val_offset_error_mm\n1,30.5\n2,20.5\n3,\n")
    rows = [
        {
            "rule": rule,
            "tau": tau,
            "tissue_tolerance": tolerance,
            "class": "liver",
            "kept_mean": 0.5,
            "precision_mean": tau,
        }
        for rule, tolerance in (("dual", None), ("multi", None), ("dual", 0.08))
        for tau in (0.0, 0.5)
    ]
    rows[-1]["precision_mean"] = 0.9  # with the tissue check, which is not the paper's
    stages = {"prnet_coarse": {"seconds": 60}, "prnet_fine": {"seconds": 61}}
    target = ship_prnets(
        tmp_path / "work", {"dataset": "abdomen_ct", "points": rows, "stages": stages}, tmp_path / "models"
    )
    assert target == tmp_path / "models" / "abdomen_ct"
    assert (target / "fine" / "model.pt").read_bytes() == b"fine"
    card = json.loads((target / "coarse" / "model.json").read_text(encoding="utf-8"))
    assert card["kind"] == "prnet" and card["data"]["cohort"] == "abdomen_ct" and card["data"]["stage"]["seconds"] == 60
    assert card["scores"]["val_offset_error_mm"] == 20.5, "the last epoch that was validated"
    assert card["scores"]["points_tau_0.5"] == {"liver": {"kept": 0.5, "in_the_right_organ": 0.5}}


def test_a_shipped_embedding_carries_data_and_scores(tmp_path):
    folder = tmp_path / "work" / "embedding"
    folder.mkdir(parents=True)
    (folder / "model.pt").write_bytes(b"weights")
    (folder / "model.json").write_text('{"kind": "embedding"}')
    (folder / "curve.csv").write_text("epoch,val_match_error_mm\n1,\n2,2.5\n")
    run = {"support": "abd_00", "variant": "a", "support_mask": "as grown", "pseudo_labels": {"mean_dice": 0.75}}
    result = {"dataset": "abdomen_ct", "stages": {"embedding": {"seconds": 60}}, "runs": [run]}
    target = ship_embedding(tmp_path / "work", result, tmp_path / "models")
    card = json.loads((target / "embedding" / "model.json").read_text(encoding="utf-8"))
    assert (target / "embedding" / "model.pt").read_bytes() == b"weights"
    assert card["kind"] == "embedding" and card["data"]["labels_used"] == "none"
    assert card["scores"] == {"val_match_error_mm": 2.5, "mask_dice": {"abd_00 a, region as grown": 0.75}}


@pytest.mark.parametrize(("classes", "shipped"), [(("spleen", "left_kidney", "liver"), True), (("liver",), False)])
def test_a_shipped_segmentation_network_is_what_inference_describes(tmp_path, classes, shipped):
    described = read_json(BUNDLE_ROOT / "configs" / "inference.json")
    folder = tmp_path / "work" / "one_shot" / "segmentation"
    card = {key: described[key] for key in CARD_KEYS} | {"classes": {name: 7 + n for n, name in enumerate(classes)}}
    write_json(folder / "model.json", card)
    (folder / "model.pt").write_bytes(b"weights")
    state = {"segmentation_one_shot": {"seconds": 60}}
    pipeline = SimpleNamespace(output=tmp_path / "work", directory=SimpleNamespace(state=lambda: state))
    scores = {name: {"mean_dice": 0.75} for name in ("one_shot", "supervised")}
    result = {"dataset": "abdomen_ct", "networks": scores, "stages": {}}
    file = ship_segmentation(pipeline, "one_shot", result, tmp_path / "models")
    assert (file is not None) == shipped == (tmp_path / "models" / "model.pt").exists()
    if shipped:
        found = read_json(tmp_path / "models" / "model.json")
        assert found["classes"] == {"spleen": 1, "left_kidney": 2, "liver": 3}
        assert found["scores"] == {"mean_dice": {"one_shot": 0.75, "supervised": 0.75}}
        assert found["data"]["stage"] == {"seconds": 60}
