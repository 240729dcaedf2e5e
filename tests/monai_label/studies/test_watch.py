"""Threads that search a folder of studies at once."""

import time
from threading import Event, Thread

import numpy as np

from bundle.monai_label.studies import watch
from bundle.monai_label.studies.watch import FolderWatch
from tests.fixtures.ct_series import write_ct

HU = np.arange(1000.0).reshape(10, 10, 10)


def test_a_look_that_waited_for_a_search_does_not_undo_it(tmp_path, monkeypatch):
    """Files that were written where they lie, so that only a search notices, while another folder changed, too."""
    series = write_ct(tmp_path / "studies" / "patient" / "study", HU, "axial", 3.0)
    looked, scan, go_on = FolderWatch(tmp_path / "studies", tmp_path / "names.json"), watch.scan_folder, Event()
    (former,) = looked.volumes()
    before = series.stat().st_mtime_ns
    write_ct(series, HU, "axial", 3.0, PatientID="P2", SeriesInstanceUID="1.2.3")
    assert series.stat().st_mtime_ns == before

    def held(*given):
        assert go_on.wait(20)
        return scan(*given)

    monkeypatch.setattr(watch, "scan_folder", held)
    search, look = Thread(target=looked.search), Thread(target=looked._look_again)
    search.start()
    while not looked._searching.locked():
        time.sleep(0.001)
    (tmp_path / "studies" / "new").mkdir()
    look.start()
    time.sleep(0.2)  # it waits for the search
    go_on.set()
    search.join()
    look.join()
    (study,) = looked.volumes()
    assert "P1" in former and "P2" in study
