"""DICOM series: positions by hand, what is left out, what is refused."""

import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.data.resampling import canonical, resample
from scripts.data.volume_io import Volume, peek_grid, read_volume, source_files
from tests.fixtures.dicom_files import (
    CT,
    STORAGE,
    header,
    pixels,
    write_enhanced,
    write_object,
    write_series,
    write_slice,
)

SHAPE = (10, 9, 12)
AXIAL_MM = [(-7.0, 2.0, 30.0 + 5.0 * k) for k in range(12)]


def scan(seed=0):
    return np.random.default_rng(seed).integers(-900, 900, SHAPE).astype(np.float32)


def refused(source, **options):
    with pytest.raises(BundleError) as caught:
        read_volume(source, **options)
    return str(caught.value)


def test_a_series_by_hand(tmp_path):
    files = write_series(tmp_path / "ct", scan(), AXIAL_MM)
    for source in (tmp_path / "ct", files[3]):
        volume = read_volume(source)
        np.testing.assert_array_equal(volume.array, scan())
        np.testing.assert_array_equal(volume.affine, [[-4, 0, 0, 7], [0, -3, 0, -2], [0, 0, 5, 30], [0, 0, 0, 1]])
        assert volume.remarks == ()
        assert source_files(source) == files
        np.testing.assert_array_equal(peek_grid(source)[1], volume.affine)
        assert peek_grid(source)[0] == SHAPE


def test_file_names_need_not_follow_the_positions(tmp_path):
    write_series(tmp_path / "ct", scan()[:, :, ::-1], AXIAL_MM[::-1])
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").array, scan())


@pytest.mark.parametrize("tilt_deg", [15.0, -22.5])
def test_a_tilted_gantry_shears_the_affine(tmp_path, tilt_deg):
    """The table moves 5 mm along z for each slice; the slices lean by the tilt about x."""
    cosine, sine = np.cos(np.radians(tilt_deg)), np.sin(np.radians(tilt_deg))
    write_series(tmp_path / "ct", scan(), AXIAL_MM, orientation=(1.0, 0.0, 0.0, 0.0, cosine, sine))
    volume = read_volume(tmp_path / "ct")
    for index in [(0, 0, 0), (0, 0, 11), (9, 8, 0), (3, 7, 6)]:
        i, j, k = index
        lps = (-7 + 4 * i, 2 + 3 * j * cosine, 30 + 5 * k + 3 * j * sine)
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], (-lps[0], -lps[1], lps[2]), atol=1e-9)
    np.testing.assert_array_equal(volume.array, scan())
    assert volume.remarks == (f"The gantry was tilted by {abs(tilt_deg):.1f} degrees: the affine is sheared.",)


def test_resampling_a_sheared_grid_keeps_world_positions(tmp_path):
    affine = np.array([[-4, 0, 0, 7], [0, -3, 0, -2], [0, -0.8, 5, 30], [0, 0, 0, 1.0]])
    places = np.moveaxis(np.indices((20, 18, 16)), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    for axis in range(3):
        turned = canonical(Volume(places[..., axis].astype(np.float32), affine))
        new = resample(turned, (4.0, 4.0, 4.0))
        inner = tuple(slice(count // 4, -(count // 4)) for count in new.array.shape)
        indices = np.moveaxis(np.indices(new.array.shape), 0, -1)
        expected = (indices @ new.affine[:3, :3].T + new.affine[:3, 3])[..., axis]
        np.testing.assert_allclose(new.array[inner], expected[inner], atol=0.01)


def test_positions_rounded_in_the_header_are_no_tilt(tmp_path):
    positions = [(-7.0 + 0.001 * (k % 2), 2.0, z) for k, (_, _, z) in enumerate(AXIAL_MM)]
    write_series(tmp_path / "ct", scan(), positions)
    volume = read_volume(tmp_path / "ct")
    assert volume.remarks == () and np.count_nonzero(volume.affine[:2, 2]) == 0


def test_missing_slices_are_an_error(tmp_path):
    files = write_series(tmp_path / "ct", scan(), AXIAL_MM)
    files[5].unlink()
    assert "missing or uneven slices" in refused(tmp_path / "ct") and "5 to 10 mm" in refused(tmp_path / "ct")


def test_small_differences_between_slices_may_not_add_up(tmp_path):
    """Six gaps of 5 mm, then five of 5.09 mm: none is far from the others; the 40th of 80 would lie 1.8 mm off."""
    positions_mm = [(0.0, 0.0, 5.0 * k + 0.09 * max(0, k - 40)) for k in range(80)]
    array = np.random.default_rng(0).integers(-900, 900, (10, 9, 80)).astype(np.float32)
    write_series(tmp_path / "few", array[:, :, :12], positions_mm[35:47])
    assert read_volume(tmp_path / "few").array.shape == (10, 9, 12)
    write_series(tmp_path / "many", array, positions_mm)
    assert "missing or uneven slices" in refused(tmp_path / "many")


def test_slices_that_may_be_missing_at_an_end_are_told(tmp_path):
    files = write_series(tmp_path / "ct", scan(), AXIAL_MM, acquisition=2, acquired=12)
    assert read_volume(tmp_path / "ct").remarks == ()
    told = (
        "10 images are here, but the headers say that 12 were acquired: the first or last slices may be missing; copy "
        "the whole series from the archive again, unless the acquisition was split into several series."
    )
    for file in files[:2]:
        file.unlink()
    assert read_volume(tmp_path / "ct", strict=True).remarks == (told,)
    write_slice(tmp_path / "ct" / "copy.dcm", scan()[:, :, 3], AXIAL_MM[3], acquisition=2, acquired=12)
    assert read_volume(tmp_path / "ct").remarks == ("1 images that are there twice were left out.", told)


def test_damaged_slices_are_not_told_as_missing_too(tmp_path):
    files = write_series(tmp_path / "ct", scan(), AXIAL_MM, acquisition=2, acquired=12)
    files[-1].write_bytes(files[-1].read_bytes()[:-10])
    (remark,) = read_volume(tmp_path / "ct").remarks
    assert remark.startswith("Files that cannot be read: 1.2.8-11.dcm")


@pytest.mark.parametrize(
    "said",
    [
        {"acquisition": [2] * 12, "acquired": [11] * 12},
        {"acquisition": [1] * 6 + [2] * 6, "acquired": [30] * 12},
        {"acquisition": [2] * 12, "acquired": [30] * 11 + [31]},
        {"acquisition": [2] * 12, "acquired": [None] + [30] * 11},
        {"acquisition": [2] * 12, "acquired": ["many"] * 12},
        {"acquisition": [2] * 12, "acquired": ["9" * 5000] * 12},
        {"acquisition": [None] * 12, "acquired": [30] * 12},
    ],
)
def test_headers_that_do_not_agree_on_one_acquisition_tell_of_no_missing_slices(tmp_path, said):
    for k in range(12):
        about = {name: values[k] for name, values in said.items()}
        write_slice(tmp_path / "ct" / f"{k:02d}.dcm", scan()[:, :, k], AXIAL_MM[k], **about)
    assert read_volume(tmp_path / "ct").remarks == ()


def test_slices_at_one_position_or_none_are_no_volume(tmp_path):
    write_series(tmp_path / "bolus", scan(), [(0.0, 0.0, 5.0)] * 12)
    assert "12 images at one position" in refused(tmp_path / "bolus")
    write_series(tmp_path / "nowhere", scan(), [None] * 12)
    assert "12 files without one position, orientation or pixel spacing" in refused(tmp_path / "nowhere")
    write_series(tmp_path / "no_spacing", scan(), AXIAL_MM, spacing_mm=None)
    assert "does not say where its slices lie" in refused(tmp_path / "no_spacing")
    write_series(tmp_path / "no_orientation", scan(), AXIAL_MM, orientation=None)
    assert "does not say where its slices lie" in refused(tmp_path / "no_orientation")


def test_a_longer_series_at_one_position_loses(tmp_path):
    bolus = np.random.default_rng(1).integers(0, 100, (10, 9, 40))
    write_series(tmp_path / "ct", bolus, [(0.0, 0.0, 5.0)] * 40, "1.2.7")
    files = write_series(tmp_path / "ct", scan(), AXIAL_MM, "1.2.8")
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, scan())
    told = f"The folder holds 2 DICOM series; the longest, that of {files[0].name}, was taken."
    assert volume.remarks == (told,), "no identifier of a patient whose case is called otherwise"
    assert source_files(tmp_path / "ct") == files


def test_a_scout_within_the_series_is_left_out(tmp_path):
    write_series(tmp_path / "ct", scan(), AXIAL_MM)
    coronal = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    write_slice(tmp_path / "ct" / "scout.dcm", scan()[:, :, 0], (0, 0, 0), orientation=coronal)
    write_slice(tmp_path / "ct" / "wide.dcm", np.zeros((16, 9)), (0, 0, 25.0))
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, scan())
    assert volume.remarks == ("Files of another size, orientation or place were left out: scout.dcm, wide.dcm.",)


DAMAGES = {
    "empty": lambda content: b"",
    "cut in the pixels": lambda content: content[:-10],
    "cut in the header": lambda content: content[:300],
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_unreadable_slices_are_named(tmp_path, damage):
    files = write_series(tmp_path / "ct", scan(), AXIAL_MM)
    for number, file in enumerate(files[-2:]):
        file.write_bytes(DAMAGES[damage](file.read_bytes()))
        file.rename(file.with_name(f"IM{number}.dcm"))
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, scan()[:, :, :10])
    names = "IM0.dcm, IM1.dcm"
    sentence = f"Files that cannot be read: {names}: the volume may be cut off; copy it from the archive again."
    assert volume.remarks == (sentence,)
    message = refused(tmp_path / "ct", strict=True)
    assert "slices cannot be read" in message and names in message
    files[4].write_bytes(DAMAGES[damage](files[4].read_bytes()))
    message = refused(tmp_path / "ct")
    assert "uneven slices" in message and f"1.2.8-04.dcm, {names}" in message


def test_all_slices_unreadable(tmp_path):
    for file in write_series(tmp_path / "ct", scan(), AXIAL_MM):
        file.write_bytes(file.read_bytes()[:200])
    assert "the DICOM files cannot be read" in refused(tmp_path / "ct")


def test_damage_of_another_series_is_not_this_ones(tmp_path):
    write_series(tmp_path / "ct", scan(), AXIAL_MM)
    other = write_series(tmp_path / "ct", scan()[:, :, :3], AXIAL_MM[:3], "1.2.9")[0]
    other.write_bytes(other.read_bytes()[:-10])
    assert "cannot be read" not in " ".join(read_volume(tmp_path / "ct", strict=True).remarks)


def test_pixels_that_cannot_be_decoded_are_damage(tmp_path, monkeypatch):
    files = write_series(tmp_path / "ct", scan(), AXIAL_MM)
    from scripts.data.reading import dicom_series

    read = dicom_series.sitk.ReadImage

    def failing(name, **options):
        if name == str(files[-1]):
            raise RuntimeError("no codec")
        return read(name, **options)

    monkeypatch.setattr(dicom_series.sitk, "ReadImage", failing)
    volume = read_volume(tmp_path / "ct")
    assert volume.array.shape == (10, 9, 11) and "1.2.8-11.dcm" in volume.remarks[0]
    assert "slices cannot be read" in refused(tmp_path / "ct", strict=True)


def test_copies_of_a_slice_go_and_two_phases_are_refused(tmp_path):
    write_series(tmp_path / "ct", scan(), AXIAL_MM)
    write_slice(tmp_path / "ct" / "copy.dcm", scan()[:, :, 3], AXIAL_MM[3])
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, scan())
    assert volume.remarks == ("1 images that are there twice were left out.",)
    write_slice(tmp_path / "ct" / "late.dcm", scan(1)[:, :, 3], AXIAL_MM[3])
    assert "several images at one position" in refused(tmp_path / "ct")
    assert "different images at 1 of 12 positions" in refused(tmp_path / "ct")


def test_each_slice_has_its_own_rescale(tmp_path):
    """A slope of a half in the second half: halves of HU must not be cut off because the first slice has none."""
    halves = scan() + np.where(np.arange(12) >= 6, 0.5, 0)
    for k in range(12):
        slope, intercept = (0.5, -1000) if k >= 6 else (1, -900)
        position = AXIAL_MM[k]
        write_slice(tmp_path / "ct" / f"{k:02d}.dcm", halves[:, :, k], position, slope=slope, intercept=intercept)
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").array, halves)


def test_values_and_modality_that_are_not_told(tmp_path):
    write_series(tmp_path / "raw", scan(), AXIAL_MM, slope=None, intercept=None)
    remark = "The DICOM headers do not say how values become HU; they were taken as HU."
    assert read_volume(tmp_path / "raw").remarks == (remark,)
    write_series(tmp_path / "mr", scan(), AXIAL_MM, modality="MR", slope=None, intercept=None)
    assert read_volume(tmp_path / "mr").remarks == ("The DICOM modality is MR, not CT.",)


@pytest.mark.parametrize("order", [1, -1])
def test_an_enhanced_object_is_one_volume(tmp_path, order):
    file = write_enhanced(tmp_path / "ct" / "enhanced", scan()[:, :, ::order], AXIAL_MM[::order])
    for source in (tmp_path / "ct", file):
        volume = read_volume(source)
        np.testing.assert_array_equal(volume.array, scan())
        np.testing.assert_allclose(volume.affine, [[-4, 0, 0, 7], [0, -3, 0, -2], [0, 0, 5, 30], [0, 0, 0, 1]])
        assert volume.remarks == () and source_files(source) == [file] and peek_grid(source)[0] == SHAPE


def test_an_enhanced_object_with_gaps_or_without_places(tmp_path):
    gap = [(x, y, z + 5.0 * (k > 6)) for k, (x, y, z) in enumerate(AXIAL_MM)]
    write_enhanced(tmp_path / "gap" / "a.dcm", scan(), gap)
    assert "missing or uneven slices" in refused(tmp_path / "gap")
    write_object(tmp_path / "old" / "a.dcm", CT, header("1.2.8") | pixels(scan().T))
    assert "does not say where its slices lie" in refused(tmp_path / "old")


@pytest.mark.parametrize("storage", [CT, STORAGE + "7.3"])
def test_frames_of_other_objects_are_refused(tmp_path, storage):
    """The reader would give a spacing of 1 mm to the one, and values without their intercept to both."""
    write_enhanced(tmp_path / "ct" / "a.dcm", scan(), AXIAL_MM, storage=storage)
    assert "does not say where its slices lie" in refused(tmp_path / "ct")
