"""NIfTI headers: units, orientation codes, sizes that are judged before a voxel is read."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.reading import grid_limits
from scripts.data.volume_cache import VolumeCache
from scripts.data.volume_io import is_plain_nifti, peek_grid, read_labels, read_volume

SHAPE = (10, 9, 8)
AFFINE = np.array([[-4.0, 0, 0, 40], [0, 3, 0, -30], [0, 0, 5, 7], [0, 0, 0, 1]])


def scan():
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) - 300).astype(np.int16)


def write(path, affine=AFFINE, unit="mm", codes=(1, 1)):
    image = nib.Nifti1Image(scan(), affine)
    image.header.set_xyzt_units(unit)
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    nib.save(image, path)
    return path


@pytest.mark.parametrize(("unit", "factor", "word"), [("meter", 1e3, "metres"), ("micron", 1e-3, "micrometres")])
def test_lengths_become_mm(tmp_path, unit, factor, word):
    path = write(tmp_path / "a.nii.gz", np.diag([1 / factor] * 3 + [1.0]) @ AFFINE, unit)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
    np.testing.assert_array_equal(volume.array, scan())
    assert volume.remarks == (f"The header gives lengths in {word}; they were converted to mm.",)
    np.testing.assert_array_equal(peek_grid(path)[1], volume.affine)
    assert not is_plain_nifti(path)


@pytest.mark.parametrize("unit", ["meter", "micron"])
def test_a_wrong_unit_is_not_believed(tmp_path, unit):
    volume = read_volume(write(tmp_path / "a.nii.gz", unit=unit))
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert "which cannot be; they were taken as mm" in volume.remarks[0]


@pytest.mark.parametrize("unit", ["mm", "unknown"])
def test_millimetres_need_no_remark(tmp_path, unit):
    path = write(tmp_path / "a.nii.gz", unit=unit)
    assert read_volume(path).remarks == () and is_plain_nifti(path)


def test_a_volume_in_metres_is_converted_for_all_stages(tmp_path):
    (tmp_path / "images").mkdir()
    write(tmp_path / "images" / "a.nii.gz", np.diag([1e-3, 1e-3, 1e-3, 1]) @ AFFINE, "meter")
    cohort = prepare_cohort(tmp_path / "images", tmp_path / "out", (4.0, 3.0, 5.0), minimum_cases=1)
    converted = nib.load(cohort.cases["a"].image)
    assert cohort.cases["a"].image == tmp_path / "out" / "images" / "a.nii.gz"
    np.testing.assert_allclose(converted.affine, AFFINE, rtol=1e-6)


def test_no_orientation_is_refused_with_the_remedy(tmp_path):
    path = write(tmp_path / "a.nii.gz", codes=(0, 0))
    for read in (read_volume, read_labels):
        with pytest.raises(BundleError, match=r"not say how the volume lies[\s\S]*set_sform[\s\S]*both codes are 0"):
            read(path)


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (2, 1)])
def test_one_orientation_is_enough(tmp_path, codes):
    volume = read_volume(write(tmp_path / "a.nii.gz", codes=codes))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert volume.remarks == ()


def claim(path, shape):
    """A file whose header claims `shape`, with next to no voxels behind it."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(np.diag([4.0, 3, 5, 1] if shape == SHAPE else [0.5, 0.5, 0.5, 1]), 1)
    with gzip.open(path, "wb") as file:
        file.write(header.binaryblock + bytes(4 + 4096))
    return path


@pytest.mark.parametrize("shape", [(30000, 30000, 30000), (1025, 1024, 1024)])
def test_a_header_that_claims_too_much_is_refused_unread(tmp_path, monkeypatch, shape):
    path = claim(tmp_path / "a.nii.gz", shape)
    monkeypatch.setattr(nib.Nifti1Image, "get_fdata", pytest.fail)
    with pytest.raises(BundleError, match="the volume is too large") as caught:
        read_volume(path)
    assert "crop it to the body" in caught.value.expected
    write(tmp_path / "b.nii.gz")
    sources = {name: tmp_path / f"{name}.nii.gz" for name in "ab"}
    assert VolumeCache(tmp_path / "out", (4.0, 3.0, 5.0)).missing_bytes(sources) == 5 * 720


def test_what_does_not_fit_into_memory_is_refused_unread(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii.gz")
    table = tmp_path / "meminfo"
    table.write_text("MemTotal: 99 kB\nMemAvailable:       8 kB\n")  # 720 voxels need 8640 bytes
    monkeypatch.setattr(grid_limits, "MEMORY_TABLE", table)
    monkeypatch.setattr(grid_limits, "CONTROL_GROUP", tmp_path / "none")
    with pytest.raises(BundleError, match="does not fit into memory"):
        read_volume(path)
    table.write_text("MemAvailable:       9 kB\n")
    assert read_volume(path).array.shape == SHAPE
    assert grid_limits.available_memory() == 9 * 1024
    table.unlink()
    assert grid_limits.available_memory() == np.inf


def test_a_container_has_what_is_left_to_its_limit_and_what_files_occupy(tmp_path, monkeypatch):
    monkeypatch.setattr(grid_limits, "MEMORY_TABLE", tmp_path / "meminfo")
    monkeypatch.setattr(grid_limits, "CONTROL_GROUP", tmp_path)
    (tmp_path / "meminfo").write_text("MemAvailable:       9 kB\n")
    for name, content in (("max", "8000"), ("current", "5000"), ("stat", "anon 3000\ninactive_file 1500\n")):
        (tmp_path / f"memory.{name}").write_text(content)
    assert grid_limits.available_memory() == 8000 - 5000 + 1500
    (tmp_path / "memory.max").write_text("99000")
    assert grid_limits.available_memory() == 9 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert grid_limits.available_memory() == 9 * 1024


def test_voxels_far_behind_the_header_are_refused_unread(tmp_path):
    path = claim(tmp_path / "a.nii.gz", SHAPE)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[108:112] = np.float32(1e10).tobytes()  # vox_offset
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(BundleError, match="the NIfTI header is too long"):
        read_volume(path)


def test_a_bomb_is_not_expanded_beyond_what_its_header_says(tmp_path):
    """2 GB of zeros behind the voxels are never unpacked: that would take far longer than the test may."""
    path = write(tmp_path / "a.nii.gz")
    block = gzip.compress(bytes(1 << 24))
    with path.open("ab") as file:
        for _ in range(128):
            file.write(block)
    np.testing.assert_array_equal(read_volume(path).array, scan())


def mirrored():
    """The same grid with left and right exchanged."""
    affine = AFFINE.copy()
    affine[:3, 3] += (SHAPE[0] - 1) * affine[:3, 0]
    affine[:3, 0] *= -1
    return affine


@pytest.mark.parametrize(("codes", "said"), [((1, 2), True), ((0, 2), False), ((1, 0), False)])
def test_a_qform_that_is_another_place_than_the_sform_is_told(tmp_path, codes, said):
    image = nib.Nifti1Image(scan(), AFFINE)
    image.set_qform(mirrored(), codes[0])
    image.set_sform(AFFINE, codes[1])
    nib.save(image, tmp_path / "a.nii.gz")
    remarks = read_volume(tmp_path / "a.nii.gz").remarks
    assert [remark.startswith("The header's sform and qform put voxels up to 36 mm apart;") for remark in remarks] == (
        [True] if said else []
    )


def test_forms_that_differ_by_rounding_and_a_damaged_qform_need_no_remark(tmp_path):
    path = write(tmp_path / "a.nii")
    for field, value in (("qoffset_x", 40.05), ("quatern_b", 7.0)):
        content = bytearray(path.read_bytes())
        header = nib.Nifti1Header(bytes(content[:348]), check=False)
        header[field] = value
        content[:348] = header.binaryblock
        path.write_bytes(content)
        assert read_volume(path).remarks == ()


@pytest.mark.parametrize(("written", "called"), [("a.nii", "b.nii.gz"), ("a.nii.gz", "b.nii")])
def test_a_name_that_does_not_tell_the_compression_is_named(tmp_path, written, called):
    write(tmp_path / written).rename(tmp_path / called)
    fitting = "b.nii" if called == "b.nii.gz" else "b.nii.gz"
    with pytest.raises(BundleError, match="the volume cannot be read") as caught:
        read_volume(tmp_path / called)
    assert str(caught.value.expected).startswith(f"{fitting} as its name")
    (tmp_path / called).write_text("404: not found")
    with pytest.raises(BundleError, match="copy or convert it again"):
        read_volume(tmp_path / called)
