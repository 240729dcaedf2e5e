"""Studies that come and go while the server runs: listed without a restart, and labels of the user's kept."""

import os
import shutil
import time
from pathlib import Path
from threading import Event, Thread

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")

from bundle.monai_label.names import DRAWN_ON, OURS, SHOWN, SUBMITTED, TAG
from bundle.monai_label.studies import pacs as pacs_module
from bundle.monai_label.studies import watch
from bundle.monai_label.studies.dicomweb import DicomwebDatastore
from bundle.monai_label.studies.entries import CONVERTED
from bundle.monai_label.studies.folder import folder_datastore
from bundle.monai_label.studies.pacs import Pacs
from bundle.monai_label.studies.watch import FolderWatch
from scripts.common.errors import BundleError
from tests.monai_label.orthanc import PLUGIN, PROGRAM, Orthanc
from tests.monai_label.studies.test_replaced_studies import (
    a_datastore,
    label,
    lowest,
    ramp,
    tags,
    write_nrrd,
    write_series,
)

NAMES = {"label_info": [{"name": "spleen", "idx": 1}]}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Every look is a fresh one."""
    monkeypatch.setattr(watch, "FRESH_S", 0.0)
    monkeypatch.setattr(watch, "SHARE", 0)
    monkeypatch.setattr(watch, "PATIENCE_S", 20.0)


def in_place(tmp_path):
    """A folder that is served for the first time; the tests that use it put NIfTI into it first."""
    (tmp_path / "studies").mkdir(exist_ok=True)
    return folder_datastore(tmp_path / "studies", tmp_path / "mirror")


def write_nifti(file, start=0):
    file.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(ramp(start), np.diag([3.0, 3.0, 3.0, 1.0])), file)


@pytest.mark.parametrize("served", [a_datastore, in_place])
def test_studies_of_every_format_are_listed_when_they_come_and_not_when_they_are_gone(tmp_path, served):
    studies = tmp_path / "studies"
    write_nifti(studies / "one.nii.gz")
    datastore = served(tmp_path)
    assert datastore.list_images() == ["one"]
    write_nifti(studies / "two.nii.gz", 20)
    write_nrrd(studies / "three.nrrd", 30)
    write_series(studies / "four", 40)
    write_series(studies / "patient" / "study", 50)
    listed = set(datastore.list_images())
    deep = listed - {"one", "two", "three", "four"}
    assert len(listed) == 5 and len(deep) == 1
    assert datastore.status()["total"] == 5 and set(datastore.json()["objects"]) == listed
    assert [lowest(datastore, study) for study in ("two", "three", "four", *deep)] == [20, 30, 40, 50]
    assert all(Path(datastore.get_image_info(study)["path"]).is_file() for study in listed - {"one"})
    for gone in (studies / "two.nii.gz", studies / "three.nrrd"):
        gone.unlink()
    for gone in (studies / "four", studies / "patient"):
        shutil.rmtree(gone)
    assert datastore.list_images() == ["one"] and datastore.get_image_uri("three") == ""


@pytest.mark.parametrize("served", [a_datastore, in_place])
@pytest.mark.parametrize("restarted", [False, True])
def test_labels_of_the_users_come_back_with_their_study(tmp_path, served, restarted):
    studies = tmp_path / "studies"
    for name in ("one", "two"):
        write_nifti(studies / f"{name}.nii.gz")
    datastore = served(tmp_path)
    label(datastore, "two", [SUBMITTED], NAMES)
    (studies / "two.nii.gz").rename(tmp_path / "two.nii.gz")
    assert datastore.list_images() == ["one"] and datastore.status()["label_tags"] == {}
    datastore = served(tmp_path) if restarted else datastore
    assert datastore.list_images() == ["one"]
    (tmp_path / "two.nii.gz").rename(studies / "two.nii.gz")
    assert datastore.list_images() == ["one", "two"]
    assert datastore.is_submitted("two"), "drawn on this very image"
    assert datastore.get_label_info("two", SUBMITTED)["label_info"] == NAMES["label_info"]
    (studies / "two.nii.gz").unlink()
    assert datastore.list_images() == ["one"]
    write_nifti(studies / "two.nii.gz", 7)
    assert datastore.list_images() == ["one", "two"]
    assert tags(datastore, "two") == {SUBMITTED} and not datastore.is_submitted("two"), "another image of that name"


def test_labels_of_rounds_come_back_with_a_converted_study_if_it_is_the_same(tmp_path, capsys):
    for name in ("one", "two"):
        write_nrrd(tmp_path / "studies" / f"{name}.nrrd")
    datastore = a_datastore(tmp_path)
    for name in ("one", "two"):
        label(datastore, name)
        (tmp_path / "studies" / f"{name}.nrrd").rename(tmp_path / f"{name}.nrrd")
    assert datastore.list_images() == []
    (tmp_path / "one.nrrd").rename(tmp_path / "studies" / "one.nrrd")
    write_nrrd(tmp_path / "studies" / "two.nrrd", 100)
    assert datastore.list_images() == ["one", "two"]
    assert tags(datastore, "one") == {TAG, SHOWN} and tags(datastore, "two") == set()
    assert datastore.labelled(TAG) == {"one"}
    assert "one" not in capsys.readouterr().out


def test_a_study_that_comes_back_in_another_format_has_no_label_of_a_round(tmp_path):
    studies = tmp_path / "studies"
    write_nifti(studies / "two.nii.gz")
    datastore = in_place(tmp_path)
    write_nrrd(studies / "one.nrrd")
    assert set(datastore.list_images()) == {"one", "two"}
    label(datastore, "one")
    label(datastore, "one", [SUBMITTED], NAMES)
    label(datastore, "two", [TAG], {OURS: {}, DRAWN_ON: datastore.image_mark("two")})
    (studies / "one.nrrd").unlink()
    write_nifti(studies / "one.nii.gz", 100)
    (studies / "two.nii.gz").unlink()
    write_nrrd(studies / "two.nrrd", 200)
    assert set(datastore.list_images()) == {"one", "two"}
    assert tags(datastore, "one") == {SUBMITTED} and tags(datastore, "two") == set()
    assert lowest(datastore, "one") == 100 and lowest(datastore, "two") == 200
    assert not datastore.is_submitted("one")
    assert [file.name for file in (studies / "labels" / TAG).iterdir()] == []


@pytest.mark.parametrize("first", [write_nifti, write_nrrd])
def test_a_folder_is_served_as_it_was_when_other_formats_come_or_go(tmp_path, first):
    studies, other = tmp_path / "studies", write_nifti if first is write_nrrd else write_nrrd
    suffix = {write_nifti: ".nii.gz", write_nrrd: ".nrrd"}
    first(studies / f"one{suffix[first]}")
    datastore = in_place(tmp_path)
    label(datastore, "one", [SUBMITTED], NAMES)
    is_in_place = first is write_nifti
    assert (studies / "labels" / SUBMITTED / "one.nii.gz").exists() is is_in_place
    other(studies / f"two{suffix[other]}")
    assert in_place(tmp_path).is_submitted("one")
    (studies / f"one{suffix[first]}").unlink()
    datastore = in_place(tmp_path)
    assert datastore.list_images() == ["two"]
    label(datastore, "two", [SUBMITTED], NAMES)
    assert (studies / "labels" / SUBMITTED / "two.nii.gz").exists() is is_in_place


def test_a_study_whose_file_has_another_suffix_now_is_served(tmp_path):
    write_nifti(tmp_path / "studies" / "one.nii")
    datastore = in_place(tmp_path)
    label(datastore, "one", [SUBMITTED], NAMES)
    (tmp_path / "studies" / "one.nii").unlink()
    write_nifti(tmp_path / "studies" / "one.nii.gz", 9)
    assert datastore.list_images() == ["one"] and lowest(datastore, "one") == 9
    assert tags(datastore, "one") == {SUBMITTED} and not datastore.is_submitted("one")


def test_what_clients_uploaded_stays_beside_a_source_that_does_not_know_it(tmp_path):
    write_nrrd(tmp_path / "studies" / "one.nrrd")
    datastore = a_datastore(tmp_path)
    write_nifti(tmp_path / "upload.nii.gz", 5)
    datastore.add_image("sent", str(tmp_path / "upload.nii.gz"), {})
    assert set(datastore.list_images()) == {"one", "sent"} and lowest(datastore, "sent") == 5
    assert set(a_datastore(tmp_path).list_images()) == {"one", "sent"}


def test_conversions_that_an_earlier_version_noted_as_nothing_else_go_with_their_study(tmp_path):
    write_nrrd(tmp_path / "studies" / "one.nrrd")
    datastore = a_datastore(tmp_path)
    label(datastore, "one")
    with datastore._changing() as objects:
        del objects["one"].image.info[CONVERTED]
    assert tags(a_datastore(tmp_path), "one") == {TAG, SHOWN}
    (tmp_path / "studies" / "one.nrrd").unlink()
    assert a_datastore(tmp_path).list_images() == []


@pytest.mark.parametrize("restarted", [False, True])
def test_a_series_keeps_its_name_and_labels_when_another_of_that_name_comes_and_goes(tmp_path, restarted):
    studies = tmp_path / "studies"
    write_series(studies / "morning" / "ct")
    datastore = a_datastore(tmp_path)
    (first,) = datastore.list_images()
    label(datastore, first, [SUBMITTED], NAMES)
    write_series(studies / "evening" / "ct", 100)
    datastore = a_datastore(tmp_path) if restarted else datastore
    (second,) = set(datastore.list_images()) - {first}
    assert second.startswith(f"{first}_") and datastore.is_submitted(first)
    assert (lowest(datastore, first), lowest(datastore, second)) == (0, 100)
    shutil.rmtree(studies / "morning")
    assert datastore.list_images() == [second] and lowest(datastore, second) == 100
    datastore = a_datastore(tmp_path) if restarted else datastore
    assert datastore.list_images() == [second]


@pytest.mark.parametrize("restarted", [False, True])
def test_the_name_and_labels_of_a_series_that_is_away_are_not_given_to_another(tmp_path, restarted):
    studies = tmp_path / "studies"
    write_series(studies / "morning" / "ct")
    datastore = a_datastore(tmp_path)
    (first,) = datastore.list_images()
    label(datastore, first)
    label(datastore, first, [SUBMITTED], NAMES)
    (studies / "morning").rename(tmp_path / "morning")
    write_series(studies / "evening" / "ct", 100)
    datastore = a_datastore(tmp_path) if restarted else datastore
    (second,) = datastore.list_images()
    assert second.startswith(f"{first}_") and tags(datastore, second) == set() and lowest(datastore, second) == 100
    label(datastore, second, [TAG])
    (tmp_path / "morning").rename(studies / "morning")
    datastore = a_datastore(tmp_path) if restarted else datastore
    assert set(datastore.list_images()) == {first, second}
    assert (tags(datastore, first), tags(datastore, second)) == ({TAG, SHOWN, SUBMITTED}, {TAG})
    assert (lowest(datastore, first), lowest(datastore, second)) == (0, 100) and datastore.is_submitted(first)


def test_a_series_that_is_moved_takes_its_name_and_labels_along(tmp_path):
    studies = tmp_path / "studies"
    write_series(studies / "morning" / "ct")
    datastore = a_datastore(tmp_path)
    (study,) = datastore.list_images()
    label(datastore, study)
    (studies / "morning").rename(studies / "archive")
    assert datastore.list_images() == [study] and tags(datastore, study) == {TAG, SHOWN}
    shutil.copytree(studies / "archive", studies / "morning")
    (copy,) = set(datastore.list_images()) - {study}
    assert copy.startswith(f"{study}_") and tags(datastore, copy) == set()


def test_a_folder_is_not_searched_again_while_nothing_changes(tmp_path, monkeypatch):
    write_nrrd(tmp_path / "studies" / "one.nrrd")
    looked, searches = FolderWatch(tmp_path / "studies", tmp_path / "names.json"), []
    scan = watch.scan_folder
    monkeypatch.setattr(watch, "scan_folder", lambda *given: searches.append(given) or scan(*given))
    for _ in range(3):
        assert set(looked.volumes()) == {"one"}
    assert searches == []
    (tmp_path / "studies" / "deep" / "deeper").mkdir(parents=True)
    looked.volumes()
    write_series(tmp_path / "studies" / "deep" / "deeper" / "series")
    assert len(looked.volumes()) == 2
    searches.clear()
    looked.volumes()
    assert searches == []
    looked._sure = 0.0
    looked.volumes()
    assert len(searches) == 1, "a file can be written where it lies"


def test_a_request_waits_for_no_long_search_and_no_two_run_at_once(tmp_path, monkeypatch):
    write_nrrd(tmp_path / "studies" / "one.nrrd")
    looked, go_on, running = FolderWatch(tmp_path / "studies", tmp_path / "names.json"), Event(), []
    scan = watch.scan_folder

    def slow(*given):
        running.append(given)
        assert go_on.wait(20)
        return scan(*given)

    monkeypatch.setattr(watch, "scan_folder", slow)
    monkeypatch.setattr(watch, "PATIENCE_S", 0.05)
    write_nrrd(tmp_path / "studies" / "two.nrrd")
    begun = time.monotonic()
    asked = [Thread(target=looked.volumes) for _ in range(4)]
    for thread in asked:
        thread.start()
    for thread in asked:
        thread.join()
    assert set(looked.volumes()) == {"one"} and time.monotonic() - begun < 5 and len(running) == 1
    go_on.set()
    monkeypatch.setattr(watch, "PATIENCE_S", 20.0)
    assert set(looked.volumes()) == {"one", "two"}


def test_a_folder_that_cannot_be_searched_leaves_what_was_found_and_is_told_once(tmp_path, capsys):
    studies = tmp_path / "studies"
    write_nrrd(studies / "one.nrrd")
    looked = FolderWatch(studies, tmp_path / "names.json")
    write_nifti(studies / "one.nii.gz")
    for _ in range(2):
        assert set(looked.volumes()) == {"one"}
    told = capsys.readouterr().out
    assert told.count("\n") == 1 and "two volumes have the same name" in told
    (studies / "one.nii.gz").rename(studies / "two.nii.gz")
    assert set(looked.volumes()) == {"one", "two"}
    studies.rename(tmp_path / "elsewhere")
    assert set(looked.volumes()) == {"one", "two"} and "missing" in capsys.readouterr().out
    with pytest.raises(BundleError):
        FolderWatch(studies, tmp_path / "names.json")


def test_nothing_is_forgotten_while_the_folder_is_gone(tmp_path):
    write_nifti(tmp_path / "studies" / "one.nii.gz")
    datastore = in_place(tmp_path)
    label(datastore, "one", [SUBMITTED], NAMES)
    (tmp_path / "studies").rename(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(BundleError, match="the folder of studies is gone"):
            datastore.list_images()
        (tmp_path / "studies").mkdir(exist_ok=True)  # where it was mounted
    shutil.rmtree(tmp_path / "studies")
    (tmp_path / "elsewhere").rename(tmp_path / "studies")
    assert datastore.list_images() == ["one"] and datastore.is_submitted("one")


def test_many_threads_that_list_and_label_lose_no_label(tmp_path):
    studies, count = tmp_path / "studies", 8
    for number in range(count):
        write_nifti(studies / f"case{number}.nii.gz", number)
    datastore = in_place(tmp_path)
    file = tmp_path / "label.nii.gz"
    write_nifti(file)
    lists = []

    def save(number):
        other = in_place(tmp_path) if number % 2 else datastore  # a training has one of its own
        other.save_label(f"case{number}", str(file), TAG, {"number": number})

    def look():
        for _ in range(10):
            lists.append(len(datastore.list_images()))

    threads = [Thread(target=save, args=[number]) for number in range(count)] + [Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(lists) == {count}
    assert [datastore.get_label_info(f"case{n}", TAG)["number"] for n in range(count)] == list(range(count))


@pytest.mark.skipif(not (PROGRAM and PLUGIN), reason="apt-get install orthanc orthanc-dicomweb")
def test_series_of_a_dicomweb_server_come_and_go_and_labels_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(pacs_module, "FRESH_S", 0.0)
    (tmp_path / "server").mkdir()
    orthanc = Orthanc(tmp_path / "server")
    try:
        write_series(tmp_path / "first")
        orthanc.add(tmp_path / "first")
        datastore = DicomwebDatastore(tmp_path / "mirror", Pacs(orthanc.dicomweb, tmp_path / "mirror" / "series"))
        (first,) = datastore.list_images()
        label(datastore, first)
        write_series(tmp_path / "second", 100)
        orthanc.add(tmp_path / "second")
        (second,) = set(datastore.json()["objects"]) - {first}
        assert lowest(datastore, second) == 100 and datastore.status()["total"] == 2
        orthanc.remove(first)
        assert datastore.list_images() == [second] and tags(datastore, first) == set()
        orthanc.add(tmp_path / "first")
        assert set(datastore.list_images()) == {first, second} and tags(datastore, first) == {TAG, SHOWN}
        assert lowest(datastore, first) == 0
    finally:
        orthanc.stop()


def test_a_thousand_studies_are_listed_fast(tmp_path):
    studies = tmp_path / "studies"
    write_nifti(studies / "case0000.nii.gz")
    for number in range(1, 1000):
        os.link(studies / "case0000.nii.gz", studies / f"case{number:04d}.nii.gz")
    datastore = in_place(tmp_path)
    begun = time.perf_counter()
    for _ in range(5):
        assert len(datastore.list_images()) == 1000
    assert (time.perf_counter() - begun) / 5 < 0.5
