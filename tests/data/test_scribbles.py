import nibabel as nib
import numpy as np
import pytest

from scripts.common.affines import nearest_voxels, to_voxels, to_world
from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.data.scribbles import (
    check_scribbles,
    draw_points,
    judge_strokes,
    keep_remarks,
    read_scribble_points,
    thin,
)
from scripts.data.volume_io import Volume
from tests.prnet_fixtures import make_cohort

CLASSES = {"spleen": 1, "left_kidney": 3}
SPACING_MM = (1.0, 2.0, 3.0)
GRIDS = [("LAS", 0), ("LPS", 0), ("RAS", 0), ("LPS", 25), ("ASL", -10)]


def scribbles(points, shape=(24, 18, 16)):
    array = np.zeros(shape, np.uint8)
    for voxel, value in points:
        array[voxel] = value
    return array


def test_every_voxel_of_a_class_is_a_point(tmp_path, make_affine, write_volume):
    """The official code drops classes with one voxel, and the last point where N mod 32 is 1."""
    line = [((n % 20, 3 + n // 20, 5), 1) for n in range(33)]
    array = scribbles([*line, ((9, 9, 9), 3), ((1, 1, 1), 8), ((2, 1, 1), 8)])
    affine = make_affine("LAS", SPACING_MM)
    points = read_scribble_points(write_volume(tmp_path, array, affine), CLASSES)
    assert [int(np.sum(points.labels == value)) for value in (1, 3, 0)] == [33, 1, 2]
    assert {tuple(v) for v in points.voxels[points.labels == 1].tolist()} == {voxel for voxel, _ in line}
    assert points.voxels[points.labels == 3].tolist() == [[9, 9, 9]]
    np.testing.assert_allclose(points.world_mm, nib.affines.apply_affine(affine, points.voxels))


def test_strokes_of_unnamed_classes_are_background(tmp_path, make_affine, write_volume):
    array = scribbles([((1, 1, 1), 1), ((2, 2, 2), 3), ((3, 3, 3), 6), ((4, 4, 4), 8)])
    points = read_scribble_points(write_volume(tmp_path, array, make_affine("RAS", SPACING_MM)), {"spleen": 1})
    assert points.labels.tolist() == [1, 0, 0, 0]
    assert points.voxels.tolist() == [[1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]]


def test_limits_are_per_class(tmp_path, make_affine, write_volume):
    array = scribbles([((n, 1, 1), 1) for n in range(20)])
    array[4, 5, 6] = 3
    array[:20, 12, :10] = 8
    path = write_volume(tmp_path, array, make_affine("LPS", SPACING_MM))
    points = read_scribble_points(path, CLASSES, class_limit=5, background_limit=30)
    assert [int(np.sum(points.labels == value)) for value in (1, 3, 0)] == [5, 1, 30]


def test_a_class_without_strokes_has_no_points(tmp_path, make_affine, write_volume):
    path = write_volume(tmp_path, scribbles([((1, 1, 1), 1)]), make_affine("LPS", SPACING_MM))
    assert read_scribble_points(path, CLASSES).labels.tolist() == [1]


def test_thinning_is_even():
    line_mm = np.column_stack([np.arange(101) * 2.0, np.zeros(101), np.zeros(101)])
    chosen = thin(line_mm, 5)
    assert chosen.tolist() == [0, 25, 50, 75, 100]
    gaps = np.diff(thin(line_mm, 26))
    assert len(gaps) == 25 and gaps.min() >= 3 and gaps.max() <= 7, "gaps differ by halving one, no more"
    assert thin(line_mm, None).tolist() == thin(line_mm, 101).tolist() == list(range(101))
    assert thin(line_mm[:1], 5).tolist() == [0] and thin(line_mm[:0], 5).tolist() == []


def test_thinning_measures_in_mm():
    """Ten voxels along a 1 mm axis are nearer than three along a 5 mm axis."""
    points_mm = np.array([[0, 0, 0], [10.0, 0, 0], [0, 0, 15.0]])
    assert thin(points_mm, 2).tolist() == [0, 2]


@pytest.mark.parametrize(("codes", "degrees"), GRIDS)
def test_world_and_voxels_are_inverse(make_affine, codes, degrees):
    affine = make_affine(codes, SPACING_MM, degrees)
    voxels = np.array([[0, 0, 0], [3.25, 7.5, 2], [23, 17, 15]])
    world_mm = to_world(voxels, affine)
    np.testing.assert_allclose(world_mm, nib.affines.apply_affine(affine, voxels), atol=1e-9)
    np.testing.assert_allclose(to_voxels(world_mm, affine), voxels, atol=1e-9)


def test_world_by_hand(make_affine):
    """The affine of the fixture starts at (10, -20, 30)."""
    las = make_affine("LAS", SPACING_MM)
    assert to_world(np.array([[1, 2, 3]]), las).tolist() == [[10 - 1, -20 + 4, 30 + 9]]
    lps = make_affine("LPS", SPACING_MM)
    assert to_world(np.array([[1, 2, 3]]), lps).tolist() == [[10 - 1, -20 - 4, 30 + 9]]


@pytest.mark.parametrize(("codes", "degrees"), GRIDS)
def test_points_drawn_are_points_read(tmp_path, make_affine, write_volume, codes, degrees):
    affine = make_affine(codes, SPACING_MM, degrees)
    array = scribbles([((1, 2, 3), 1), ((23, 17, 15), 1), ((7, 0, 9), 3)])
    points = read_scribble_points(write_volume(tmp_path, array, affine), CLASSES)
    drawn = draw_points(points.world_mm, points.labels, np.zeros(3), affine, array.shape)
    assert drawn.dtype == np.uint8 and np.array_equal(drawn, array)


def test_the_highest_priority_stays(make_affine):
    affine = make_affine("LPS", SPACING_MM, 25)
    world_mm = to_world(np.array([[2, 2, 2]] * 3 + [[3, 3, 3]]), affine)
    for order, expected in (([0.9, -1, 0.2, -1], 1), ([0.1, -1, 0.2, -1], 3)):
        drawn = draw_points(world_mm, np.array([1, 8, 3, 8]), np.array(order), affine, (5, 5, 5))
        assert drawn[2, 2, 2] == expected and drawn[3, 3, 3] == 8 and np.count_nonzero(drawn) == 2


def test_points_outside_are_drawn_at_the_border(make_affine):
    affine = make_affine("RAS", SPACING_MM)
    drawn = draw_points(to_world(np.array([[-9, 2.4, 99]]), affine), np.array([1]), np.zeros(1), affine, (5, 5, 5))
    assert np.argwhere(drawn).tolist() == [[0, 2, 4]]
    assert nearest_voxels(np.array([[-0.6, 2.6, 4.4]]), (5, 5, 5)).tolist() == [[0, 3, 4]]


def test_no_points(make_affine):
    empty = np.zeros((0, 3))
    assert draw_points(empty, np.zeros(0), np.zeros(0), make_affine("RAS", SPACING_MM), (5, 5, 5)).sum() == 0


# ------------------------------------------------------------------------------------------------------ judging strokes

SHAPE = (60, 50, 40)
SLICES = (10, 14, 18)


def drawn(classes=SLICES, background=SLICES, length=4, shape=SHAPE):
    """Strokes along x on some slices: the spleen's at x = 20, the kidney's at x = 40, background's at x = 30."""
    array = np.zeros(shape, np.uint8)
    for z in classes:
        array[20 : 20 + length, 20, z], array[40 : 40 + length, 20, z] = 1, 3
    for z in background:
        array[30:34, 20, z] = 8
    return array


def judged(make_affine, array, body=None, codes="LPS"):
    """The sentences on strokes at 1 x 2 x 3 mm, by a body mask of 2 x 4 x 6 mm that leaves the first slices out."""
    affine = make_affine(codes, SPACING_MM)
    if body is None:
        body = np.zeros(tuple(-(-size // 2) for size in array.shape), np.uint8)
        body[5:] = 1
    return judge_strokes(Volume(array, affine), Volume(body, affine @ np.diag([2.0, 2.0, 2.0, 1.0])), CLASSES)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS"])
def test_good_strokes_are_not_remarked_on(make_affine, codes):
    assert judged(make_affine, drawn(), codes=codes) == []


REMEDY = "draw on at least 3 slices, the organ's first and last one are worth most."


@pytest.mark.parametrize(
    ("strokes", "sentence"),
    [
        ({"classes": (10,), "length": 1}, f"strokes of 1 voxel are too little to grow from; {REMEDY}"),
        ({"classes": SLICES, "length": 1}, f"strokes of 3 voxels are too little to grow from; {REMEDY}"),
        ({"classes": (10,), "length": 9}, f"its strokes lie on 1 slice only; {REMEDY}"),
        ({"classes": (10, 18)}, f"its strokes lie on 2 slices only; {REMEDY}"),
    ],
)
def test_too_little_is_said_of_each_class(make_affine, strokes, sentence):
    assert judged(make_affine, drawn(**strokes)) == [f"{name}: {sentence}" for name in CLASSES]


def test_slices_are_counted_along_the_body_and_planes_along_any_axis(make_affine):
    along_first = drawn().transpose(2, 0, 1)
    assert judged(make_affine, along_first, np.ones((20, 30, 25), np.uint8), codes="SRA") == []
    sagittal = drawn()
    sagittal[sagittal == 3] = 0
    sagittal[40, 15:25, 10:20] = 3
    assert judged(make_affine, sagittal) == [f"left_kidney: its strokes lie on 1 slice only; {REMEDY}"]
    sagittal[40, :, 13] = 0
    assert judged(make_affine, sagittal) == [f"left_kidney: its strokes lie on 1 slice only; {REMEDY}"], "two strokes"
    sagittal[40, :, 11::2] = 0
    assert judged(make_affine, sagittal) == [], "gaps: lines at one place of several axial slices"
    straight = drawn()
    straight[straight == 3] = 0
    straight[40, 20, 5:30] = 3
    assert judged(make_affine, straight) == [], "the middle line of a vessel"


def test_strokes_in_air(make_affine):
    strokes = drawn()
    strokes[2:8, 20, SLICES] = 1  # 18 of 30 voxels
    assert judged(make_affine, strokes) == ["spleen: 60% of its strokes lie in air outside the body; erase those."]
    strokes[20:24][strokes[20:24] == 1] = 0
    with pytest.raises(BundleError, match="the strokes of spleen lie outside the body"):
        judged(make_affine, strokes)
    no_background = drawn(background=())
    no_background[2:8, 20, SLICES] = 8
    with pytest.raises(BundleError, match="the strokes of background lie outside the body"):
        judged(make_affine, no_background)
    with pytest.raises(BundleError, match="the support has no tissue"):
        judged(make_affine, drawn(), np.zeros((30, 25, 20), np.uint8))


@pytest.mark.parametrize(("slices", "said"), [((43, 44, 45), False), ((44, 45, 46), True)])
def test_background_far_away_in_mm(make_affine, slices, said):
    """Slices are 3 mm apart: from 10 to 43 are 99 mm, to 44 102 mm. Strokes in air, though near, say nothing."""
    strokes = drawn(classes=(4, 7, 10), background=(), shape=(60, 50, 60))
    strokes[30:34, 20, slices] = strokes[2:6, 20, 4:11] = 8
    sentence = "the nearest background stroke is 102 mm away; draw some around the organ, they say where it ends."
    assert judged(make_affine, strokes) == ([f"{name}: {sentence}" for name in CLASSES] if said else [])


@pytest.mark.parametrize(("count", "said"), [(2, False), (3, True)])
def test_strokes_that_touch(make_affine, count, said):
    """Beside 2 voxels of the other class lie 3 of 15 voxels, beside 3 voxels 4; of the other class too few touch."""
    strokes = drawn(length=5)
    strokes[20 : 20 + count, 21, 10] = 3
    sentence = (
        "spleen: 27% of its strokes touch others, such as left_kidney; leave a gap at the organ's border, unless "
        "organs are painted whole."
    )
    assert judged(make_affine, strokes) == ([sentence] if said else [])


def test_what_is_remarked_is_logged_and_kept(tmp_path, caplog):
    cohort = make_cohort(tmp_path)
    sentences = check_scribbles(cohort, cohort.scribbles)
    keep_remarks(cohort, sentences)
    assert [sentence.partition(":")[0] for sentence in sentences] == ["spleen", "left_kidney"]
    assert caplog.text.count("strokes: spleen: strokes of 3 voxels") == 1
    kept = cohort.output_dir / "scribble_remarks.json"
    assert read_json(kept) == {"warnings": sentences}
    before = kept.stat().st_mtime_ns
    keep_remarks(cohort, sentences)
    assert kept.stat().st_mtime_ns == before
