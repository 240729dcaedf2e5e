import pytest

from bundle.datasets.dataset import read_dataset
from scripts.common.errors import BundleError
from scripts.common.files import write_json


def test_dataset_is_read(tmp_path):
    content = {
        "labels": {"1": "spleen", "6": "liver", "7": "stomach"},
        "paper_classes": ["liver", "spleen"],
        "background_scribble": 8,
        "support": "a",
        "unlabelled": ["a", "b"],
        "test": ["c"],
    }
    write_json(tmp_path / "dataset.json", content)
    dataset = read_dataset(tmp_path)
    assert dataset.classes == {"liver": 6, "spleen": 1}
    assert dataset.scribbles("b") == tmp_path / "scribbles" / "a_b.nii.gz"
    assert dataset.image("c") == tmp_path / "images" / "c.nii.gz"
    assert dataset.labels == tmp_path / "labels"
    assert dataset.phantom is False
    write_json(tmp_path / "dataset.json", content | {"paper_classes": ["heart"]})
    with pytest.raises(BundleError, match=r"dataset\.json lacks something") as caught:
        read_dataset(tmp_path)
    assert "heart" in str(caught.value)
