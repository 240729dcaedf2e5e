"""Data files of detached headers."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scripts.common.errors import BundleError
from scripts.data.reading.detached_data import data_files
from scripts.data.volume_cache import fingerprint
from scripts.data.volume_io import read_volume, source_files

META = "ObjectType = Image\nNDims = 3\nDimSize = 10 9 8\n"


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (META + "ElementDataFile = voxels/a.raw\n", ["voxels/a.raw"]),
        (META + "elementdatafile=a b.zraw\r\n", ["a b.zraw"]),
        (META + "ElementDataFile = LOCAL\n\x00\xff", []),
        (META + "ElementDataFile = LIST 2D\nslice2.raw\nslice1.raw\n\n", ["slice2.raw", "slice1.raw"]),
        (META + "ElementDataFile = s.%03d.raw 9 11 1\n", ["s.009.raw", "s.010.raw", "s.011.raw"]),
        (META + "ElementDataFile = s%d 5 1 -2\n", ["s5", "s3", "s1"]),
        ("NRRD0005\nsizes: 1 2\ndata file: ./a.raw.gz\n", ["a.raw.gz"]),
        ("NRRD0004\ndatafile: a.raw\nkey:=value\n", ["a.raw"]),
        ("NRRD0005\ndata file: s%02d.raw 1 3 2 2\n", ["s01.raw", "s03.raw"]),
        ("NRRD0005\ndata file: LIST\nb.raw\na.raw\n", ["b.raw", "a.raw"]),
        ("NRRD0005\nsizes: 2\n\ndata file: voxels.raw\n", []),
    ],
)
def test_names_in_headers(tmp_path, header, names):
    file = tmp_path / "volume.hdr"
    file.write_bytes(header.encode("latin-1"))
    assert data_files(file) == [tmp_path / name for name in names]


def test_a_pattern_of_many_files_ends(tmp_path):
    (tmp_path / "a.mhd").write_text("ElementDataFile = s%d.raw 1 999999999999 1\n")
    assert len(data_files(tmp_path / "a.mhd")) == 10_000


@pytest.mark.parametrize(("header", "pointer"), [("a.mhd", "ElementDataFile = "), ("a.nhdr", "data file: ")])
def test_data_of_another_stem_are_watched(tmp_path, header, pointer):
    array = np.arange(720, dtype=np.int16).reshape(8, 9, 10)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((4.0, 3.0, 5.0))
    sitk.WriteImage(image, str(tmp_path / header))
    (data,) = (path for path in tmp_path.iterdir() if path.name != header)
    other = data.rename(tmp_path / f"voxels{Path(data).suffix}")
    text = (tmp_path / header).read_text()
    assert pointer + data.name in text
    (tmp_path / header).write_text(text.replace(pointer + data.name, pointer + other.name))
    np.testing.assert_array_equal(read_volume(tmp_path / header).array, array.transpose())
    assert source_files(tmp_path / header) == [tmp_path / header, other]
    before = fingerprint(tmp_path / header)
    other.write_bytes(other.read_bytes()[::-1])
    assert fingerprint(tmp_path / header) != before
    other.unlink()
    with pytest.raises(BundleError, match=r"data file is missing[\s\S]*voxels"):
        read_volume(tmp_path / header)
