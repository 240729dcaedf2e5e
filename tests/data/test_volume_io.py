"""Reading volumes in every format, and one clear error for each bad one."""

import locale

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from scripts.common.errors import BundleError
from scripts.data.resampling import canonical, resample
from scripts.data.volume_io import Volume, case_id, find_volumes, peek_grid, read_labels, read_volume, source_files

SHAPE = (10, 9, 8)
SPACING_MM = (4.0, 3.0, 5.0)


def scan(dtype=np.int16):
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) - 300).astype(dtype)


def itk_image(array):
    """The array at SPACING_MM with an oblique direction, as SimpleITK sees it (LPS)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose()))
    image.SetSpacing(SPACING_MM)
    image.SetOrigin((11.0, -7.0, 3.0))
    image.SetDirection((0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 1.0))
    return image


def write_dicom(folder, array, uid, skip=()):
    """An axial DICOM series of the (X, Y, Z) array, 4 x 3 x 5 mm, without the slices in `skip`."""
    folder.mkdir(parents=True, exist_ok=True)
    before = locale.setlocale(locale.LC_ALL)  # writing DICOM, unlike reading it, leaves the process in the C locale
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in set(range(array.shape[2])) - set(skip):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array[:, :, k].T)[None])
        image.SetSpacing(SPACING_MM)
        tags = {
            "0008|0060": "CT",
            "0020|000e": uid,
            "0020|000d": "1.2.3",
            "0008|0018": f"{uid}.{k + 1}",
            "0020|0032": f"0\\0\\{5.0 * k}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(k),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}-{k:02d}.dcm"))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.parametrize(("codes", "oblique_deg"), [("RAS", 0), ("LAS", 0), ("LPS", 0), ("PIR", 0), ("LPS", 17)])
def test_nifti_keeps_values_and_affine_bit_for_bit(tmp_path, make_affine, write_volume, codes, oblique_deg):
    affine = make_affine(codes, SPACING_MM, oblique_deg)
    path = write_volume(tmp_path, scan(), affine)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, scan())
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.affine, nib.load(path).affine)
    np.testing.assert_allclose(volume.spacing_mm, SPACING_MM, rtol=1e-6)


def test_intensity_scale_is_applied(tmp_path, make_affine):
    image = nib.Nifti1Image(scan(np.float32), make_affine("LAS", SPACING_MM))
    image.header.set_data_dtype(np.uint8)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.array, scan(), atol=2)
    assert volume.array.min() == pytest.approx(-300)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
def test_itk_formats_have_the_world_positions_itk_gives(tmp_path, name):
    image = itk_image(scan())
    sitk.WriteImage(image, str(tmp_path / name))
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array, scan())
    for index in [(0, 0, 0), (9, 0, 0), (2, 7, 5)]:
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], lps * [-1, -1, 1], atol=1e-9)
    assert peek_grid(tmp_path / name)[0] == SHAPE
    files = [path.name for path in source_files(tmp_path / name)]
    data = {"a.nhdr": ["a.raw"], "a.mhd": ["a.raw"]}.get(name, [])
    assert sorted(files) == sorted([name, *data])


def test_nifti_and_nrrd_of_one_image_agree(tmp_path):
    for name in ("a.nii.gz", "a.nrrd"):
        sitk.WriteImage(itk_image(scan()), str(tmp_path / name))
    nifti, nrrd = read_volume(tmp_path / "a.nii.gz"), read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(nifti.array, nrrd.array)
    np.testing.assert_allclose(nifti.affine, nrrd.affine, atol=1e-5)


def test_dicom_folder_takes_the_longest_series_and_says_so(tmp_path):
    write_dicom(tmp_path / "ct", scan(), "1.2.8")
    write_dicom(tmp_path / "ct", scan()[:, :, :2], "1.2.9")
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, scan())
    np.testing.assert_allclose(volume.affine, np.diag([-4, -3, 5, 1]), atol=1e-9)
    assert any("holds 2 DICOM series; the longest" in remark for remark in volume.remarks)
    assert peek_grid(tmp_path / "ct")[0] == SHAPE


def test_reading_dicom_leaves_the_process_s_locale_alone(tmp_path):
    """In the C locale `open` without an encoding fails on text that is not ASCII."""
    write_dicom(tmp_path / "ct", scan(), "1.2.8")
    before = locale.setlocale(locale.LC_ALL)
    find_volumes(tmp_path), read_volume(tmp_path / "ct"), peek_grid(tmp_path / "ct")
    assert locale.setlocale(locale.LC_ALL) == before


def test_missing_dicom_slice_is_an_error(tmp_path):
    write_dicom(tmp_path / "ct", np.tile(scan(), (1, 1, 2)), "1.2.8", skip=[4])
    with pytest.raises(BundleError, match=r"missing or uneven slices[\s\S]*5 to 10 mm"):
        read_volume(tmp_path / "ct")


def test_folder_without_dicom_is_an_error(tmp_path):
    with pytest.raises(BundleError, match="holds no DICOM series"):
        read_volume(tmp_path)


def test_trailing_singleton_axis_is_dropped(tmp_path, make_affine, write_volume):
    path = write_volume(tmp_path, scan()[..., None], make_affine("RAS", SPACING_MM))
    assert read_volume(path).array.shape == SHAPE


def test_find_volumes_by_suffix_or_dicom_content(tmp_path, make_affine, write_volume):
    write_volume(tmp_path, scan(), np.eye(4), "b.v2.nii.gz")
    write_volume(tmp_path, scan(), np.eye(4), "a.NII")
    write_volume(tmp_path, scan(), np.eye(4), ".writing-1-a.nii")
    sitk.WriteImage(itk_image(scan()), str(tmp_path / "d.nhdr"))
    write_dicom(tmp_path / "c", scan(), "1.2.8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "readme.txt").write_text("no volume")
    assert list(find_volumes(tmp_path)) == ["a", "b.v2", "c", "d"]
    assert case_id("x/b.v2.nii.gz") == "b.v2" and case_id("x/c.0") == "c.0"


def test_find_volumes_errors(tmp_path, write_volume):
    with pytest.raises(BundleError, match="images folder is missing"):
        find_volumes(tmp_path / "nowhere")
    write_volume(tmp_path, scan(), np.eye(4), "a.nii")
    write_volume(tmp_path, scan(), np.eye(4), "a.nii.gz")
    with pytest.raises(BundleError, match="two volumes have the same name"):
        find_volumes(tmp_path)


def nan_scan():
    array = scan(np.float32)
    array[1, 2, 3], array[0, 0, 0] = np.nan, np.inf
    return array


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
GRID = np.diag([*SPACING_MM, 1.0])


@pytest.mark.parametrize(
    ("array", "affine", "message"),
    [
        (scan()[:, :, 0], GRID, "the volume is 2-D"),
        (np.stack([scan(), scan()], axis=-1), GRID, r"the volume is 4-D[\s\S]*one time point[\s\S]*10 x 9 x 8 x 2"),
        (nan_scan(), GRID, r"not finite[\s\S]*2 NaN or infinite voxels"),
        (np.full(SHAPE, 7, np.int16), GRID, r"the volume is constant[\s\S]*the value 7 everywhere"),
        (scan()[:7], GRID, r"too small[\s\S]*at least 8 voxels"),
        (scan(), np.diag([2.0, 3, 5, 1]) * [1, 0.5, 1, 1], r"too small[\s\S]*20 x 13.5 x 40 mm"),
        (scan(), np.diag([0.05, 3, 5, 1]), r"spacing is absurd[\s\S]*0.05 x 3 x 5 mm"),
        (scan(), np.diag([4, 3, 25.0, 1]), r"spacing is absurd[\s\S]*0.1 to 20 mm[\s\S]*4 x 3 x 25 mm"),
        (scan(), np.array([[4, 4, 0, 0], [3, 3, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]]), "affine is singular"),
        (np.zeros(SHAPE, RGB), GRID, "colours or complex"),
    ],
)
def test_bad_nifti_is_named(tmp_path, array, affine, message):
    path = tmp_path / "case_7.nii.gz"
    image = nib.Nifti1Image(array, None, dtype=array.dtype)
    image.header.set_sform(affine, code=1)
    nib.save(image, path)
    with pytest.raises(BundleError, match=message) as caught:
        read_volume(path)
    assert caught.value.case == "case_7" and caught.value.file == str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        (b"", r"file is empty[\s\S]*copy it again"),
        (b"\x1f\x8bnonsense" * 20, r"cannot be read[\s\S]*copy or convert it again"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
def test_broken_files(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleError, match=message):
        read_volume(tmp_path / name)


def test_truncated_nifti_cannot_be_read(tmp_path, write_volume):
    path = write_volume(tmp_path, scan(), GRID)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(BundleError, match="cannot be read"):
        read_volume(path)


def test_coloured_nrrd(tmp_path):
    image = sitk.Compose([itk_image(scan(np.uint8))] * 3)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.raises(BundleError, match=r"colours or complex[\s\S]*3 numbers a voxel"):
        read_volume(tmp_path / "a.nrrd")


def test_two_dimensional_metaimage(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(scan()[:, :, 0]), str(tmp_path / "a.mha"))
    with pytest.raises(BundleError, match="the volume is 2-D"):
        read_volume(tmp_path / "a.mha")


def test_labels_are_whole_numbers(tmp_path, write_volume):
    stored = np.zeros(SHAPE, np.float32)
    stored[2, 3, 4] = 14
    labels = read_labels(write_volume(tmp_path, stored, GRID))
    assert labels.array.dtype == np.int16 and labels.array[2, 3, 4] == 14
    stored[2, 3, 4] = 40000
    assert read_labels(write_volume(tmp_path, stored, GRID)).array.dtype == np.int32
    stored[2, 3, 4] = 6.99995
    assert read_labels(write_volume(tmp_path, stored, GRID)).array[2, 3, 4] == 7
    stored[2, 3, 4] = 0.5
    with pytest.raises(BundleError, match="no whole numbers"):
        read_labels(write_volume(tmp_path, stored, GRID))
    stored[2, 3, 4] = -1e12
    with pytest.raises(BundleError, match=r"too large[\s\S]*at most 16777216[\s\S]*1e\+12"):
        read_labels(write_volume(tmp_path, stored, GRID))
    stored[2, 3, 4] = np.nan
    with pytest.raises(BundleError, match="not finite"):
        read_labels(write_volume(tmp_path, stored, GRID))
    assert not read_labels(write_volume(tmp_path, np.zeros(SHAPE, np.uint8), GRID)).array.any()


def world_positions(affine, shape):
    """(X, Y, Z, 3) world millimetres of all voxel centres."""
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


@pytest.mark.parametrize(("codes", "oblique_deg"), [("LAS", 0), ("LPS", 0), ("SPL", 0), ("LPS", 17), ("PIR", -30)])
@pytest.mark.parametrize("to_mm", [(4.0, 4.0, 4.0), (1.5, 2.0, 7.3)])
def test_resampling_keeps_world_positions(make_affine, codes, oblique_deg, to_mm):
    affine = make_affine(codes, (1.2, 2.5, 4.0), oblique_deg)
    shape = (40, 30, 24)
    positions = world_positions(affine, shape)
    for axis in range(3):
        turned = canonical(Volume(positions[..., axis].astype(np.float32), affine))
        assert nib.aff2axcodes(turned.affine) == ("R", "A", "S")
        np.testing.assert_allclose(
            turned.array, world_positions(turned.affine, turned.array.shape)[..., axis], atol=1e-4
        )
        new = resample(turned, to_mm)
        np.testing.assert_allclose(new.spacing_mm, to_mm, rtol=1e-9)
        expected = world_positions(new.affine, new.array.shape)[..., axis]
        inner = tuple(slice(n // 4, -(n // 4) or None) for n in new.array.shape)  # the border repeats the last voxel
        np.testing.assert_allclose(new.array[inner], expected[inner], atol=0.01)
        extent_old = np.multiply(turned.array.shape, turned.spacing_mm)
        assert np.all(np.abs(np.multiply(new.array.shape, to_mm) - extent_old) <= np.array(to_mm) / 2 + 1e-6)


def test_resampling_by_hand():
    line = np.zeros((8, 8, 8), np.float32)
    line[3, :, :] = 1
    same = resample(Volume(line, np.diag([2.0, 2, 2, 1])), (2, 2, 2))
    np.testing.assert_array_equal(same.array, line)
    halved = resample(Volume(line, np.diag([2.0, 2, 2, 1])), (1, 2, 2))
    assert halved.array.shape == (16, 8, 8)
    np.testing.assert_allclose(halved.affine[:, 3], [-0.5, 0, 0, 1])
    np.testing.assert_allclose(halved.array[4:10, 0, 0], [0, 0.25, 0.75, 0.75, 0.25, 0], atol=1e-6)


def test_stripes_finer_than_the_new_grid_do_not_alias():
    stripes = np.zeros((48, 8, 8), np.float32)
    stripes[::2] = 1
    coarse = resample(Volume(stripes, np.diag([1.0, 4, 4, 1])), (4, 4, 4))
    assert np.ptp(coarse.array[2:-2]) < 0.02 and coarse.array.mean() == pytest.approx(0.5, abs=0.02)


def test_real_dicom(request):
    folder = request.config.rootpath.parent / "shared" / "data" / "dicom_ct"
    if not folder.is_dir():
        pytest.skip(f"real CT is not on this machine: {folder}")
    ((name, path),) = find_volumes(folder).items()
    volume = read_volume(path)
    assert name == "CRLM-CT-1004" and volume.array.shape == (512, 512, 41)
    np.testing.assert_allclose(volume.spacing_mm, (0.796875, 0.796875, 5.0))
    assert nib.aff2axcodes(volume.affine) == ("L", "P", "S")
