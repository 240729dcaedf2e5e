from pathlib import Path

from scripts.common.work_folder import LabelFolder, PropagationFolder, WorkFolder

WORK = WorkFolder(Path("/work"))


def test_where_label_maps_lie():
    folders = ("support_mask", "first_round_labels", "pseudo_labels", "training_labels", "on_support_labels")
    paths = [str(getattr(WORK, name).label("a")) for name in (*folders, "network", "predictions")]
    assert [*paths[:-1], str(WORK.network.joined_labels.label("a")), paths[-1]] == [
        "/work/support_mask/a.nii.gz",
        "/work/first_round/pseudo_labels/a.nii.gz",
        "/work/pseudo_labels/a.nii.gz",
        "/work/training_labels/a.nii.gz",
        "/work/on_support/pseudo_labels/a.nii.gz",
        "/work/network/a.nii.gz",
        "/work/network/joined/a.nii.gz",
        "/work/predictions/a.nii.gz",
    ]
    assert LabelFolder(Path("/x")).record("a") == Path("/x/a.json")


def test_where_propagated_points_and_probabilities_lie():
    folders = (WORK.first_round, WORK.propagation, WORK.on_support, WORK.network.joined)
    assert [str(folder.record("a")) for folder in folders] == [
        "/work/first_round/propagation/a.json",
        "/work/propagation/a.json",
        "/work/on_support/propagation/a.json",
        "/work/network/propagation/a.json",
    ]
    folder = PropagationFolder(Path("/x"))
    files = (folder.scribbles("a"), folder.probabilities("a"), folder.atlases("a"))
    assert [file.name for file in files] == ["a_scribbles.nii.gz", "a_probabilities.nii.gz", "a_atlases.nii.gz"]


def test_no_two_stages_write_to_one_place():
    paths = [getattr(WORK, name) for name in vars(WorkFolder) if isinstance(vars(WorkFolder)[name], property)]
    places = [str(getattr(path, "path", path)) for path in paths]
    assert len(set(places)) == len(places) and all(place.startswith("/work/") for place in places)
