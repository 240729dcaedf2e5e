import pytest

from bundle.benchmark.release.shipping import ship_embedding, ship_prnets, ship_segmentation
from bundle.benchmark.results import result_line
from bundle.pipeline.configs import BUNDLE_ROOT
from bundle.pipeline.inference import CARD_KEYS
from scripts.common.files import read_json, write_json
from tests.benchmark.fixtures import network, results, run


@pytest.mark.parametrize(("configuration", "place"), [("small", "abdomen_ct"), ("full", "abdomen_ct/full")])
def test_shipped_prnets_carry_data_and_scores(tmp_path, configuration, place):
    for name in ("coarse", "fine"):
        folder = tmp_path / "work" / "prnet" / name
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes(name.encode())
        (folder / "model.json").write_text('{"kind": "prnet"}')
        (folder / "curve.csv").write_text("epoch,val_offset_error_mm\n1,30.5\n2,20.5\n3,\n")
    rows = [
        {"rule": rule, "tau": tau, "tissue_tolerance": tolerance, "class": "liver", "kept_mean": 0.5}
        | {"precision_mean": tau}
        for rule, tolerance in (("dual", None), ("multi", None), ("dual", 0.08))
        for tau in (0.0, 0.5)
    ]
    rows[-1]["precision_mean"] = 0.9  # with the tissue check, which is not the paper's
    stages = {"prnet_coarse": {"seconds": 60}, "prnet_fine": {"seconds": 61}}
    measured = results(
        *(result_line("points", f"{n}", **row) for n, row in enumerate(rows)),
        result_line("stages", "unlabelled", stages=stages),
        name="abdomen_ct",
        configuration=configuration,
    )
    target = ship_prnets(tmp_path / "work", measured, tmp_path / "models")
    assert target == tmp_path / "models" / place
    assert (target / "fine" / "model.pt").read_bytes() == b"fine"
    card = read_json(target / "coarse" / "model.json")
    assert card["kind"] == "prnet" and card["data"]["cohort"] == "abdomen_ct" and card["data"]["stage"]["seconds"] == 60
    assert card["scores"]["val_offset_error_mm"] == 20.5, "the last epoch that was validated"
    assert card["scores"]["points_tau_0.5"] == {"liver": {"kept": 0.5, "in_the_right_organ": 0.5}}


def test_a_shipped_embedding_carries_data_and_scores(tmp_path):
    folder = tmp_path / "work" / "embedding"
    folder.mkdir(parents=True)
    (folder / "model.pt").write_bytes(b"weights")
    (folder / "model.json").write_text('{"kind": "embedding"}')
    (folder / "curve.csv").write_text("epoch,val_match_error_mm\n1,\n2,2.5\n")
    stages = result_line("stages", "embedding", stages={"embedding": {"seconds": 60}})
    measured = results(stages, run(0.5, 1.0), name="abdomen_ct")
    target = ship_embedding(tmp_path / "work", measured, tmp_path / "models")
    card = read_json(target / "embedding" / "model.json")
    assert (target / "embedding" / "model.pt").read_bytes() == b"weights"
    assert card["kind"] == "embedding" and card["data"]["labels_used"] == "none"
    assert card["data"]["stage"] == {"seconds": 60}
    assert card["scores"] == {"val_match_error_mm": 2.5, "mask_dice": {"s a, support mask as grown": 0.75}}


@pytest.mark.parametrize(("classes", "shipped"), [(("spleen", "left_kidney", "liver"), True), (("liver",), False)])
def test_a_shipped_segmentation_network_is_what_inference_describes(tmp_path, classes, shipped):
    described = read_json(BUNDLE_ROOT / "configs" / "inference.json")
    folder = tmp_path / "work" / "one_shot" / "segmentation"
    card = {key: described[key] for key in CARD_KEYS} | {"classes": {name: 7 + n for n, name in enumerate(classes)}}
    write_json(folder / "model.json", card)
    (folder / "model.pt").write_bytes(b"weights")
    stages = result_line("stages", "one_shot", stages={"segmentation_one_shot": {"seconds": 60}})
    measured = results(stages, network("one_shot", 0.5, 1.0), network("supervised", 0.6, 1.0))
    file = ship_segmentation(tmp_path / "work", "one_shot", measured, tmp_path / "models")
    assert (file is not None) == shipped == (tmp_path / "models" / "model.pt").exists()
    if shipped:
        copied = read_json(tmp_path / "models" / "model.json")
        assert copied["classes"] == {"spleen": 1, "left_kidney": 2, "liver": 3}
        assert copied["scores"] == {"mean_dice": {"one_shot": 0.75, "supervised": 0.8}}
        assert copied["data"]["stage"] == {"seconds": 60}
