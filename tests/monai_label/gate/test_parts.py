"""Objects that come several in one request: written while they arrive, refused if anything is amiss."""

import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from bundle.monai_label.gate import parts as parts_module
from bundle.monai_label.gate.parts import PartFiles
from scripts.common.errors import BundleError

KIND = 'multipart/related; type="application/dicom"; boundary="limit"'
FIRST, SECOND = b"DICM\r\n--limi\r\n" * 3, b"\r\n"


def body(*contents, start=b"", end=b"\r\n--limit--\r\n"):
    return start + b"".join(b"\r\n--limit\r\nContent-Type: application/dicom\r\n\r\n" + each for each in contents) + end


@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
def test_each_part_becomes_a_file_whatever_the_pieces(tmp_path, piece_bytes):
    parts, sent = PartFiles(tmp_path, KIND), body(FIRST, SECOND, b"")
    for start in range(0, len(sent), piece_bytes):
        parts.write(sent[start : start + piece_bytes])
    assert [file.read_bytes() for file in parts.finish()] == [FIRST, SECOND, b""]
    assert {file.parent for file in parts.files} == {tmp_path}


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("application/dicom", body(FIRST)),
        ("multipart/related", body(FIRST)),
        (f"multipart/related; boundary={'x' * 1000}", body(FIRST)),
        (KIND, b"DICM"),
        (KIND, body(FIRST, end=b"")),
        (KIND, b""),
    ],
)
def test_what_is_no_such_request_is_refused(tmp_path, kind, sent):
    with pytest.raises(BundleError, match="this is no DICOM"):
        parts = PartFiles(tmp_path, kind)
        parts.write(sent)
        parts.finish()


def test_a_request_cannot_fill_the_disk_with_small_files(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "MOST_PARTS", 2)
    with pytest.raises(BundleError, match="too many objects in one request"):
        PartFiles(tmp_path, KIND).write(body(FIRST, FIRST, FIRST))
    assert len(list(tmp_path.iterdir())) == 2
