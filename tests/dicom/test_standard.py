"""What the DICOM standard asks of the objects: every attribute that must be there, and whatever `dciodvfy` knows."""

import shutil
import subprocess

import pydicom
import pytest
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map

from tests.fixtures.ct_series import GEOMETRIES

KINDS = ["segmentation", "structure_set"]
# What stands in one of them need not stand in the other; the round trips read what must be there.
FUNCTIONAL_GROUPS = (["SharedFunctionalGroupsSequence"], ["PerFrameFunctionalGroupsSequence"])


def lacking(made: pydicom.Dataset) -> list[str]:
    """Paths of attributes that a mandatory module demands (types 1 and 2) and that are missing or, of type 1, empty."""
    modules = [m["key"] for m in get_iod_module_map()[get_sop_class_iod_map()[made.SOPClassUID]] if m["usage"] == "M"]
    wanted = [a for module in modules for a in get_module_attribute_map()[module] if a["type"] in ("1", "2")]
    wanted = [attribute for attribute in wanted if attribute["path"] not in FUNCTIONAL_GROUPS]
    return [name for attribute in wanted for name in _lacks(made, attribute["path"], attribute)]


def _lacks(dataset, path, attribute):
    if path:  # an item that is not there needs nothing
        items = dataset.get(path[0]) or []
        return [f"{path[0]}.{name}" for item in items for name in _lacks(item, path[1:], attribute)]
    value = dataset.get(attribute["keyword"])
    is_there = attribute["keyword"] in dataset and (attribute["type"] == "2" or value not in (None, ""))
    return [] if is_there else [attribute["keyword"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_nothing_is_lacking(written, geometry, kind):
    made = pydicom.dcmread(getattr(written(geometry), kind))
    assert lacking(made) == []
    del made.SeriesInstanceUID, made.PatientID
    assert sorted(set(lacking(made))) == ["PatientID", "SeriesInstanceUID"]


def test_a_segmentation_says_that_nobody_is_its_creator(written):
    """Type 2 in the macro Content Identification, which highdicom's tables lack and dcmqi asks for."""
    made = pydicom.dcmread(written("axial").segmentation)
    assert "ContentCreatorName" in made and made.ContentCreatorName == ""


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy here (Debian: dicom3tools)")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_dciodvfy_finds_no_error(written, geometry, kind):
    run = subprocess.run(["dciodvfy", str(getattr(written(geometry), kind))], capture_output=True, text=True)
    assert "Error" not in run.stdout + run.stderr
