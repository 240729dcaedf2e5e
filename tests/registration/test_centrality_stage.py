"""The stage on a tiny cohort with an untrained network: a cut body is the last, a kill does no harm."""

from dataclasses import replace

import pytest

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_nifti
from scripts.common.work_folder import WorkFolder
from scripts.data.prepare_cohort import prepare_cohort
from scripts.registration.centrality import CentralitySettings
from scripts.registration.centrality_stage import Suggestion, read_landmarks
from scripts.registration.embedding_matching import MatchingSettings
from tests.embedding_fixtures import write_embedding
from tests.prnet_fixtures import LAS, SPACING_MM, phantom

SETTINGS = CentralitySettings(body_landmarks=10_000, field_margin_mm=5.0)
MATCHING = MatchingSettings(match_cycle_mm=6.0)
CASES = ["a", "b", "c", "short"]


def suggestion(cohort, **changes):
    embedding = cohort.output_dir.parent / "embedding"
    return Suggestion(cohort, embedding, **({"settings": SETTINGS, "matching": MATCHING, "count": 2} | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Three bodies that are equal but for a voxel, and the lower two thirds of one, 80 of 120 mm."""
    folder = tmp_path_factory.mktemp("suggestion")
    for number, case in enumerate("abc"):
        hu = phantom(0)
        hu[12, 12, number] += 1
        write_nifti(folder / "images" / f"{case}.nii.gz", hu, LAS)
    write_nifti(folder / "images" / "short.nii.gz", phantom(0)[..., :16], LAS)
    write_embedding(folder / "embedding")
    cohort = prepare_cohort(folder / "images", folder / "work", SPACING_MM)
    suggestion(cohort).run()
    return cohort


def result(cohort):
    return read_json(WorkFolder(cohort.output_dir).suggestion_record)


def times(cohort):
    folder = WorkFolder(cohort.output_dir).suggestion
    return {
        str(file.relative_to(folder.path)): file.stat().st_mtime_ns
        for file in sorted(folder.path.rglob("*.*"))
        if file.is_file()
    }


def test_volumes_are_ranked(finished):
    """An untrained network hardly knows the short one again."""
    found = result(finished)
    assert list(found["cases"])[-1] == "short" and found["least_field"] == 0.9
    assert found["cases"]["short"]["similarity"] < 0.5 and found["proposed"] == list(found["cases"])[:2]
    assert all(found["cases"][case]["similarity"] > 0.99 for case in "abc")
    assert all(found["cases"][case]["field_shown"] == 1 for case in "abc")


def test_every_pair_is_compared_once(finished):
    folder = WorkFolder(finished.output_dir).suggestion
    partners = {case: list(read_json(folder.pairs_record(case))["pairs"]) for case in CASES}
    assert partners == {"a": ["b", "c", "short"], "b": ["c", "short"], "c": ["short"], "short": []}


def test_run_again_it_has_nothing_to_do(finished):
    before, found = times(finished), WorkFolder(finished.output_dir).suggestion_record.stat().st_mtime_ns
    suggestion(finished).run()
    assert times(finished) == before
    assert WorkFolder(finished.output_dir).suggestion_record.stat().st_mtime_ns == found


def test_what_a_kill_left_undone_is_made_and_nothing_else(finished):
    before, found, folder = times(finished), result(finished), WorkFolder(finished.output_dir).suggestion
    content = folder.landmarks("b").read_bytes()
    for file in (folder.landmarks_record("b"), folder.pairs_record("c")):
        file.unlink()
    suggestion(finished).run()
    after = times(finished)
    assert folder.landmarks("b").read_bytes() == content and result(finished) == found
    made = {name for name in after if after[name] != before[name]}
    assert made == {"landmarks/b.pt", "landmarks/b.json", "pairs/c.json"}


def test_another_margin_ranks_anew_and_computes_nothing(finished):
    before = times(finished)
    suggestion(finished, settings=replace(SETTINGS, field_margin_mm=1000.0, least_field=1.0)).run()
    found = result(finished)
    assert found["least_field"] == 1 and all(one["field_shown"] == 1 for one in found["cases"].values())
    assert times(finished) == before
    suggestion(finished).run()


def test_some_cases_alone(finished):
    suggestion(finished, count=5).run(["c", "a"])
    assert sorted(result(finished)["cases"]) == ["a", "c"] == sorted(result(finished)["proposed"])
    suggestion(finished).run()


def test_damaged_landmarks_are_named(finished):
    folder = WorkFolder(finished.output_dir).suggestion
    whole = folder.landmarks("a").read_bytes()
    folder.landmarks("a").write_bytes(b"no tensors")
    with pytest.raises(BundleError, match="a result of an earlier stage cannot be read") as caught:
        read_landmarks(folder, "a")
    assert caught.value.case == "a" and caught.value.file == str(folder.landmarks("a"))
    folder.landmarks("a").write_bytes(whole)


def test_a_network_of_another_spacing_is_refused(finished, tmp_path):
    write_embedding(tmp_path / "embedding", spacing_mm=(9.0, 9.0, 9.0))
    with pytest.raises(BundleError, match="spacing"):
        Suggestion(finished, tmp_path / "embedding")
