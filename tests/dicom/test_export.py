"""Results as DICOM: what is written of a run and of `infer`, what it says, what is kept, and what is refused."""

import logging
import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
from highdicom.color import CIELabColor

from bundle.command_line import main
from bundle.dicom.command import export_folder, export_inferred, export_run
from bundle.dicom.facts import class_facts
from bundle.results.final_labels import note_final_labels
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json, write_nifti
from scripts.common.made_of import write_record
from scripts.common.work_folder import LabelFolder, WorkFolder
from scripts.data.cohort import load_cohort
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.volume_io import read_labels, read_volume
from scripts.quality.records import CheckRecord, ClassCheck
from scripts.segmentation.inference_verdicts import InferenceVerdicts
from tests.dicom.conftest import CLASSES, noisy_hu, noisy_labels
from tests.fixtures.ct_series import write_ct
from tests.paths import ROOT

GOOD = ClassCheck(0.871, (0.8, 0.91), 0.9, 1.0, {}, 20.0, 40.0, False)
WHY = ("the network finds it elsewhere", "the atlases are not sure of it; it agrees least with another_patient 0.10")
POOR = ClassCheck(0.31, (0.2, 0.4), 0.4, 1.0, {}, 20.0, 40.0, True, WHY)
CHECKED = CheckRecord("case_0", 0.9, 1.0, True, ("the body is unlike",), {"spleen": GOOD, "left_kidney": POOR})
UNKNOWN = dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate", "StudyTime", "AccessionNumber"))


@pytest.fixture
def work(tmp_path):
    """A run over one DICOM series, without most of what names a patient, and one NIfTI, with its results."""
    images = tmp_path / "images"
    write_ct(images / "case_0", noisy_hu(), "oblique", **UNKNOWN, PatientSex="unknown", SliceThickness=None)
    volume = read_volume(images / "case_0")
    write_nifti(images / "case_1.nii.gz", noisy_hu(5).astype(np.float32), volume.affine)
    strokes = noisy_labels(3).astype(np.uint8)
    strokes[0, 0, 0] = 14
    write_nifti(tmp_path / "strokes.nii.gz", strokes, volume.affine)
    prepare_cohort(
        images, tmp_path / "out", [8, 8, 8], images / "case_0", tmp_path / "strokes.nii.gz", CLASSES, background=14
    )
    folder = WorkFolder(tmp_path / "out")
    for case in ("case_0", "case_1"):
        put_label(folder.predictions, case, noisy_labels(), volume.affine)
    write_json(folder.self_check / "case_0.json", CHECKED.to_json())
    return folder


def put_label(folder, case, labels, affine, **content):
    write_nifti(folder.label(case), labels, affine)
    write_record(folder.record(case), content, "inputs", [folder.label(case)])


def test_a_run_writes_what_came_as_dicom_with_all_that_is_known(work):
    assert export_run(load_cohort(work.path), structure_sets=True)
    files = sorted(p.relative_to(work.predictions.path).as_posix() for p in work.predictions.path.rglob("*.dcm"))
    assert files == ["dicom/case_0.dcm", "rtstruct/case_0.dcm"]
    made = pydicom.dcmread(work.predictions.segmentations.label("case_0"))
    source = pydicom.dcmread(work.path.parent / "images" / "case_0" / "000.dcm")
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "StudyDate", "ReferringPhysicianName", "StudyID"):
        assert made[name].value == source[name].value
    assert not any(made[name].value for name in UNKNOWN)
    assert made.PatientSex == "" and made.Manufacturer == "One-shot segmentation"
    spleen, kidney, lump = made.SegmentSequence
    assert [s.SegmentLabel for s in made.SegmentSequence] == list(CLASSES)
    assert spleen.SegmentDescription == "Predicted Dice 0.87 (0.80 to 0.91). Not flagged."
    assert kidney.SegmentDescription == (
        "Predicted Dice 0.31 (0.20 to 0.40). Flagged: the body is unlike; the network finds it elsewhere; "
        "the atlases are not sure of it."
    )
    assert lump.SegmentDescription == "No predicted Dice: this label map was not checked."
    (kind,) = kidney.SegmentedPropertyTypeCodeSequence
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("64033007", "SCT", "Kidney")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert lump.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99ONESHOT"
    assert CIELabColor.from_dicom_value(spleen.RecommendedDisplayCIELabValue).to_rgb() == (230, 159, 0)
    (algorithm,) = spleen.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmVersion == read_json(ROOT / "configs" / "metadata.json")["version"]
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert spleen.SegmentAlgorithmType == "AUTOMATIC"


def test_a_structure_set_says_the_same(work):
    export_run(load_cohort(work.path), structure_sets=True)
    made = pydicom.dcmread(work.predictions.structure_sets.label("case_0"))
    regions, observations = made.StructureSetROISequence, made.RTROIObservationsSequence
    assert [region.ROIName for region in regions] == list(CLASSES)
    assert regions[0].ROIDescription == "Predicted Dice 0.87 (0.80 to 0.91). Not flagged."
    assert observations[1].RTROIIdentificationCodeSequence[0].CodeValue == "64033007"
    assert made.ROIContourSequence[0].ROIDisplayColor == [230, 159, 0]
    (frame,) = made.ReferencedFrameOfReferenceSequence
    (series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert len(series.ContourImageSequence) == 9 and made.PatientID == ""


def test_what_the_user_gave_is_manual(work):
    put_label(work.predictions, "case_0", noisy_labels(), read_volume(work.path.parent / "images" / "case_0").affine)
    write_json(work.predictions.record("case_0"), {"given": True})
    facts = class_facts(CLASSES, work.predictions.record("case_0"), work.self_check / "case_0.json")
    assert {(fact.by_user, fact.description) for fact in facts} == {(True, "Given by the user.")}
    export_run(load_cohort(work.path), structure_sets=False)
    made = pydicom.dcmread(work.predictions.segmentations.label("case_0"))
    assert {segment.SegmentAlgorithmType for segment in made.SegmentSequence} == {"MANUAL"}


def test_it_is_written_again_only_when_something_changed(work):
    cohort, file = load_cohort(work.path), work.predictions.segmentations.label("case_0")
    assert export_run(cohort, False) and not export_run(cohort, False)
    first = file.read_bytes()
    assert export_run(cohort, True), "the structure set is new"
    assert file.read_bytes() == first
    affine = np.asarray(cohort.cases["case_0"].affine)
    put_label(work.predictions, "case_0", noisy_labels(8), affine)
    assert export_run(cohort, False)
    np.testing.assert_array_equal(read_labels(file, CLASSES, cohort.cases["case_0"].grid).array, noisy_labels(8))
    uid = pydicom.dcmread(file).SOPInstanceUID
    write_json(work.self_check / "case_0.json", CheckRecord("case_0", 0.9, 1.0, False, (), {"spleen": POOR}).to_json())
    assert export_run(cohort, False) and pydicom.dcmread(file).SOPInstanceUID != uid


def test_a_changed_file_is_set_aside_and_a_foreign_one_stays(work, caplog):
    cohort, file = load_cohort(work.path), work.predictions.segmentations.label("case_0")
    export_run(cohort, False)
    made = pydicom.dcmread(file)
    made.SegmentSequence[0].SegmentLabel = "pancreas, corrected"
    made.save_as(file)
    assert export_run(cohort, False)
    kept = pydicom.dcmread(file.parent / "set_aside" / "case_0.dcm")
    assert kept.SegmentSequence[0].SegmentLabel == "pancreas, corrected"
    assert pydicom.dcmread(file).SegmentSequence[0].SegmentLabel == "spleen"
    work.predictions.segmentations.record("case_0").unlink()
    before = file.read_bytes()
    with caplog.at_level(logging.WARNING):
        assert not export_run(cohort, False)
    assert "case_0: not written as DICOM" in caplog.text and "no export made" in caplog.text
    assert file.read_bytes() == before


def test_a_damaged_file_is_made_again(work):
    cohort, file = load_cohort(work.path), work.predictions.segmentations.label("case_0")
    export_run(cohort, False)
    whole = pydicom.dcmread(file)
    file.write_bytes(file.read_bytes()[:2000])
    assert export_run(cohort, False)
    again = pydicom.dcmread(file)
    assert (again.SOPInstanceUID, again.PixelData) == (whole.SOPInstanceUID, whole.PixelData)


def test_the_command_of_a_run_and_series_that_are_named(work, capsys, tmp_path):
    main(["export", "--output", str(work.path), "--rtstruct"])
    assert "predictions/dicom" in capsys.readouterr().out
    assert work.predictions.structure_sets.label("case_0").exists()
    write_ct(tmp_path / "series" / "case_1", noisy_hu(), "oblique")
    for series in (tmp_path / "series", tmp_path / "series" / "case_1"):
        shutil.rmtree(work.predictions.segmentations.path)
        export_folder(work.path, [series], structure_sets=False)
        assert {p.name for p in work.predictions.segmentations.path.glob("*.dcm")} == {"case_0.dcm", "case_1.dcm"}


def test_label_maps_of_before_are_exported_with_a_word(work, caplog):
    for inputs, said in (("first", False), ("second", True)):
        write_record(work.pseudo_labels.record("case_0"), {}, inputs, [])
        if inputs == "first":
            note_final_labels(work)
        caplog.clear()
        export_folder(work.path, [], structure_sets=False)
        assert ("are of before: transferred labels changed since" in caplog.text) == said


def write_table(labels, sources):
    """The table of results as `infer` leaves it, as far as it is read."""
    rows = [
        {"case": case, "class": "spleen", "label": 1, "source": str(source), "label_map": f"{case}.nii.gz"}
        for case, source in sources.items()
    ]
    write_json(labels.path / "results.json", {"rows": rows})


def test_what_infer_made(work, tmp_path):
    """With its own classes, and no self-check."""
    labels = LabelFolder(tmp_path / "inferred")
    series = work.path.parent / "images" / "case_0"
    put_label(labels, "case_0", noisy_labels(), read_volume(series).affine, warnings=["spleen: large."])
    write_json(labels.path / "made_by", {"network": {"classes": [["spleen", 1], ["liver", 3]]}, "cases": ["case_0"]})
    volumes = {"case_0": series, "case_1": series.parent / "case_1.nii.gz"}
    assert export_inferred(labels, volumes, structure_sets=False)
    made = pydicom.dcmread(labels.segmentations.label("case_0"))
    assert [segment.SegmentLabel for segment in made.SegmentSequence] == ["spleen", "liver"]
    assert made.SegmentSequence[0].SegmentDescription.endswith("was not checked. spleen: large.")
    assert not export_inferred(labels, {"case_1": volumes["case_1"]}, structure_sets=False)
    export_folder(labels.path, [series], structure_sets=True)
    assert labels.structure_sets.label("case_0").exists()
    shutil.rmtree(labels.structure_sets.path)
    write_table(labels, {"case_0": series, "case_1": tmp_path / "gone"})
    export_folder(labels.path, [], structure_sets=True)
    assert labels.structure_sets.label("case_0").exists(), "the table of results knows the series"
    write_json(labels.path / "results.json", {"rows": [{"case": "case_0"}]})
    with pytest.raises(BundleError, match="the table of results is damaged"):
        export_folder(labels.path, [], structure_sets=True)


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(["export", *map(str, arguments)])
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_what_cannot_be_exported_is_refused(work, tmp_path, capsys):
    assert "holds no results" in refused(capsys, "--output", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    images = tmp_path / "images"
    shutil.rmtree(work.predictions.path)
    assert "no label map belongs to a DICOM series" in refused(capsys, "--output", work.path)
    turned = nib.load(images / "case_1.nii.gz").affine @ np.diag([2, 1, 1, 1])
    put_label(work.predictions, "case_0", noisy_labels(), turned)
    assert "does not lie on the series' voxels" in refused(capsys, "--output", work.path)
    put_label(work.predictions, "case_0", 0 * noisy_labels(), np.asarray(load_cohort(work.path).cases["case_0"].affine))
    assert "the label map is empty" in refused(capsys, "--output", work.path)
    write_json(tmp_path / "labels" / "made_by", {"network": {}})
    assert "the record is damaged" in refused(capsys, "--output", tmp_path / "labels")
    shutil.rmtree(images / "case_0")
    write_ct(images / "case_0", noisy_hu(), "oblique", FrameOfReferenceUID=None)
    assert "no FrameOfReferenceUID" in refused(capsys, "--output", work.path, "--dicom", images / "case_0")


def test_without_highdicom_it_says_what_is_missing(work, monkeypatch, caplog):
    import sys

    monkeypatch.setitem(sys.modules, "highdicom", None)
    monkeypatch.delitem(sys.modules, "bundle.dicom.segmentation")
    with caplog.at_level(logging.WARNING):
        assert not export_run(load_cohort(work.path), False)
    assert "`export` writes them later" in caplog.text
    with pytest.raises(BundleError, match="cannot be written as DICOM here"):
        export_folder(work.path, [], False)


def test_what_was_written_of_a_former_label_map_does_not_stay(work, tmp_path, caplog):
    """A structure set is kept current without being asked for; an empty label map, or none, has no object."""
    cohort, exported = load_cohort(work.path), (work.predictions.segmentations, work.predictions.structure_sets)
    affine, grid = np.asarray(cohort.cases["case_0"].affine), cohort.cases["case_0"].grid
    export_run(cohort, structure_sets=True)
    put_label(work.predictions, "case_0", noisy_labels(8), affine)
    assert export_run(cohort, structure_sets=False)
    for folder in exported:
        label = read_labels(folder.label("case_0"), CLASSES, grid)
        np.testing.assert_array_equal(label.array, noisy_labels(8))
    put_label(work.predictions, "case_0", 0 * noisy_labels(), affine)
    assert not export_run(cohort, structure_sets=False) and "the label map is empty" in caplog.text
    assert not any(file.exists() for folder in exported for file in (folder.label("case_0"), folder.record("case_0")))
    put_label(work.predictions, "case_0", noisy_labels(), affine)
    export_folder(work.path, [write_ct(tmp_path / "case_1", noisy_hu(), "oblique")], structure_sets=True)
    assert not export_run(cohort, structure_sets=False) and exported[1].label("case_1").exists()
    put_label(work.predictions, "case_1", noisy_labels(8), affine)
    assert not export_run(cohort, structure_sets=False), "its series is known to no run"
    assert "case_1: its label map is gone or another now" in caplog.text
    assert not any(folder.label("case_1").exists() for folder in exported)


def test_a_series_that_took_the_place_of_another_gets_no_label_map_of_that(work, tmp_path, capsys):
    """The same grid, another patient; the other cases are written, and the exit status tells. MR as CT."""
    images = tmp_path / "images"
    export_folder(work.path, [write_ct(tmp_path / "case_1", noisy_hu(), "oblique")], structure_sets=False)
    shutil.rmtree(images / "case_0")
    write_ct(tmp_path / "other", noisy_hu(77), "oblique", PatientID="P2").rename(images / "case_0")
    shutil.rmtree(work.predictions.segmentations.path)
    said = refused(capsys, "--output", work.path, "--dicom", tmp_path / "case_1")
    assert "[stage dicom, case case_0] the series was replaced since its label map was made" in said
    assert [file.name for file in work.predictions.segmentations.path.glob("*.dcm")] == ["case_1.dcm"]
    export_folder(work.path, [images / "case_0"], structure_sets=False)  # whoever names it knows it
    assert pydicom.dcmread(work.predictions.segmentations.label("case_0")).PatientID == "P2"


def test_a_series_is_another_also_where_a_later_command_knows_it(work):
    """As `support-mask` leaves a folder after the series was replaced."""
    note_final_labels(work, {"case_0": "the image before"})
    with pytest.raises(BundleError, match="the series was replaced since its label map was made"):
        export_folder(work.path, [], structure_sets=False)


def test_infer_notes_what_it_labelled_for_the_export(work, tmp_path):
    labels, series = LabelFolder(tmp_path / "inferred"), tmp_path / "images" / "case_0"
    put_label(labels, "case_0", noisy_labels(), read_volume(series).affine)
    write_json(labels.path / "made_by", {"network": {"classes": [["spleen", 1]]}, "cases": ["case_0"]})
    write_table(labels, {"case_0": series})
    verdicts = InferenceVerdicts({}, {})
    verdicts.readable({"case_0": series})
    verdicts.write(labels, {"case_0": series})
    export_folder(labels.path, [], structure_sets=False)
    (series / "003.dcm").write_bytes(
        (write_ct(tmp_path / "b" / "case_0", noisy_hu(7), "oblique") / "003.dcm").read_bytes()
    )
    with pytest.raises(BundleError, match="the series was replaced"):
        export_folder(labels.path, [], structure_sets=False)


def test_what_no_series_belongs_to_is_said(work, tmp_path, caplog):
    export_folder(work.path, [write_ct(tmp_path / "case_l", noisy_hu(), "oblique")], structure_sets=False)
    assert "no DICOM series is known of case_1.nii.gz; name it with --dicom" in caplog.text
    assert "no label map is called like a series of case_l" in caplog.text
