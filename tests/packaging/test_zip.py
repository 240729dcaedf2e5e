import os
from zipfile import ZipFile

from bundle.packaging.package import pack


def test_the_same_content_gives_the_same_bytes_whenever_it_was_written(tmp_path):
    folder = tmp_path / "net"
    for name in ("models/model.pt", "LICENSE", "configs/a.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    pack(folder, tmp_path / "first.zip")
    os.utime(folder / "LICENSE", (1e9, 1e9))
    (folder / "LICENSE").chmod(0o600)
    pack(folder, tmp_path / "second.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    with ZipFile(tmp_path / "first.zip") as packed:
        assert packed.namelist() == ["net/LICENSE", "net/configs/a.json", "net/models/model.pt"]
        assert packed.read("net/configs/a.json") == b"configs/a.json"
