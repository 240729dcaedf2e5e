import torch

from scripts.common.sharing.kept_tensors import kept_tensors


class Maker:
    """Counts how often tensors are made."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return {"a": torch.arange(6.0).reshape(2, 3)}


def test_tensors_are_made_once_and_then_read(tmp_path):
    make, file = Maker(), tmp_path / "below" / "a.pt"
    for _ in range(2):
        (tensor,) = kept_tensors(file, ["network"], make).values()
        assert torch.equal(tensor, torch.arange(6.0).reshape(2, 3))
    assert make.count == 1
    assert sorted(path.name for path in file.parent.iterdir()) == ["a.json", "a.pt"]


def test_what_was_made_of_other_inputs_or_is_damaged_is_made_again(tmp_path):
    make, file = Maker(), tmp_path / "a.pt"
    kept_tensors(file, ["network"], make)
    kept_tensors(file, ["another network"], make)
    assert make.count == 2
    file.write_bytes(b"half")
    assert torch.equal(kept_tensors(file, ["another network"], make)["a"], torch.arange(6.0).reshape(2, 3))
    assert make.count == 3
