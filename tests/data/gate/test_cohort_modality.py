"""CT or MR: the support says it, the user may overrule it, and nobody has to repeat it."""

import logging

import numpy as np
import pytest

from scripts.common.errors import BundleError
from scripts.data import volume_cache
from scripts.data.cohort import load_cohort
from scripts.data.intensity import normalise_hu
from scripts.data.mr.body import WHOLE_FIELD
from scripts.data.mr.standard_units import in_standard_units
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.volume_cache import VolumeCache
from scripts.data.volume_io import read_volume
from tests.data.gate.bodies import chest
from tests.data.gate.test_admission import save
from tests.data.gate.test_values import magnitude
from tests.fixtures.dicom_files import write_series

SPACING_MM = (6.0, 6.0, 10.0)


@pytest.fixture
def folder(tmp_path):
    """`images/` with two MR and two CT."""
    (tmp_path / "images").mkdir()
    for name, array in {"m1": magnitude(0), "m2": magnitude(5), "c1": chest(), "c2": chest() + 1}.items():
        save(tmp_path / "images" / f"{name}.nii.gz", array.astype(np.int16))
    return tmp_path


def prepare(folder, support, **changes):
    return prepare_cohort(folder / "images", folder / "out", SPACING_MM, support=support, **changes)


def image(folder, name):
    return folder / "images" / f"{name}.nii.gz"


def test_the_support_decides_and_the_other_kind_is_left_out_with_one_sentence(folder, caplog):
    with caplog.at_level(logging.WARNING):
        cohort = prepare(folder, image(folder, "m1"))
    assert cohort.modality == "mr" and list(cohort.cases) == ["m1", "m2"]
    assert list(cohort.rejected) == ["c1", "c2"] and "this is CT" in cohort.rejected["c1"]["reason"]
    assert caplog.text.count("left out: c1, c2: this is CT") == 1
    assert not cohort.warnings and "the support m1 say" in cohort.assumptions[0]
    assert load_cohort(cohort.output_dir) == cohort
    other = prepare_cohort(folder / "images", folder / "other", SPACING_MM, support=image(folder, "c1"))
    assert other.modality == "ct" and list(other.cases) == ["c1", "c2"] and not other.assumptions
    assert "this is MR" in other.rejected["m1"]["reason"]


def test_the_image_of_an_mr_is_its_conversion_to_standard_units(folder):
    case = prepare(folder, image(folder, "m1")).cases["m2"]
    assert case.image == folder / "out" / "images" / "m2.nii.gz" and case.source == image(folder, "m2")
    expected = in_standard_units(read_volume(case.source), True)
    assert np.array_equal(read_volume(case.image).array, expected.array)
    assert np.array_equal(read_volume(case.image).affine, expected.affine)


def test_an_mr_without_air_is_used_and_named(folder):
    array = 200 + 100 * (magnitude(7) > np.median(magnitude(7))) + np.random.default_rng(0).normal(0, 8, chest().shape)
    save(folder / "images" / "m3.nii.gz", array.astype(np.int16))
    cohort = prepare(folder, image(folder, "m1"), modality="mr")
    assert cohort.warnings["m3"] == (WHOLE_FIELD,)
    assert cohort.warnings == prepare(folder, image(folder, "m1"), modality="mr").warnings


def test_ct_stays_as_it_is(folder):
    cohort = prepare(folder, image(folder, "c1"))
    assert cohort.cases["c2"].image == cohort.cases["c2"].source
    plain = VolumeCache(cohort.output_dir, SPACING_MM)
    assert plain.find("c2", cohort.cases["c2"].source) is not None
    assert read_volume(cohort.cached_image("c2")).array.max() <= normalise_hu(np.array(1500.0))


def test_who_says_ct_gets_mr_too_and_is_told(folder):
    cohort = prepare(folder, image(folder, "c1"), modality="ct")
    assert list(cohort.cases) == ["c1", "c2", "m1", "m2"] and set(cohort.warnings) == {"m1", "m2"}
    assert list(prepare(folder, image(folder, "c1")).cases) == ["c1", "c2"]  # nobody says so any more


def test_who_says_mr_gets_ct_too_and_is_told(folder):
    cohort = prepare(folder, image(folder, "m1"), modality="mr")
    assert set(cohort.warnings) == {"c1", "c2"} and "used as if it were MR" in cohort.warnings["c1"][0]


def test_without_a_support_most_volumes_decide(folder):
    image(folder, "c2").unlink()
    cohort = prepare_cohort(folder / "images", folder / "out", SPACING_MM)
    assert cohort.modality == "mr" and list(cohort.rejected) == ["c1"]
    assert "most of them" in cohort.assumptions[0]


def test_another_choice_makes_other_images(folder):
    first = prepare(folder, image(folder, "m1")).cases["m2"].sha256
    second = prepare(folder, image(folder, "m1"), bias_correction=False).cases["m2"].sha256
    third = prepare(folder, image(folder, "m1"), modality="ct").cases["m2"].sha256
    assert len({first, second, third}) == 3


@pytest.mark.parametrize(("modality", "support"), [("ct", "c1"), ("mr", "m1")])
def test_images_of_a_later_version_are_others_so_that_stages_make_label_maps_again(
    folder, monkeypatch, modality, support
):
    before, kept = prepare(folder, image(folder, support)), prepare(folder, image(folder, support))
    monkeypatch.setitem(volume_cache.IMAGE_VERSIONS, modality, 9)
    after = prepare(folder, image(folder, support))
    name = support[0] + "2"
    assert before.cases[name].sha256 == kept.cases[name].sha256 != after.cases[name].sha256


def test_a_stage_that_prepares_the_cohort_again_takes_its_modality(folder):
    cohort = prepare(folder, image(folder, "m1"), modality="mr")
    assert prepare_cohort(folder / "images", folder / "out", SPACING_MM).modality == cohort.modality


def test_what_dicom_says_counts_before_values_also_on_a_second_run(folder):
    """A CT without values below 0, by its header CT: used, told, and no reason to take the cohort for MR."""
    places_mm = [(0.0, 0.0, 5.0 * k) for k in range(chest().shape[2])]
    write_series(folder / "images" / "dicom", np.maximum(chest(), 0).astype(np.int16), places_mm)
    for _ in range(2):
        cohort = prepare(folder, folder / "images" / "dicom")
        assert cohort.modality == "ct" and list(cohort.cases) == ["c1", "c2", "dicom"]
        assert "like those of MR" in cohort.warnings["dicom"][0]


def test_what_is_no_modality_is_refused(folder):
    with pytest.raises(BundleError, match="unknown modality"):
        prepare(folder, image(folder, "m1"), modality="pet")
