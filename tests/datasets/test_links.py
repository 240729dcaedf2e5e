"""A folder that holds just some volumes, where links are to be had and where they are not."""

import os

import pytest

from bundle.datasets.links import link_images, link_only
from scripts.common.errors import BundleError
from scripts.data.volume_io import find_volumes


@pytest.fixture
def no_links(monkeypatch):
    def refuse(*_, **__):
        raise OSError

    monkeypatch.setattr(os, "symlink", refuse)


@pytest.fixture
def file(tmp_path):
    """Write a source file; its path."""

    def write(name, content):
        place = tmp_path / "sources" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, encoding="utf-8")
        return place

    return write


def contents(folder):
    visible = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in visible}


def test_links_keep_names_and_suffixes(tmp_path, file):
    files = {"a": file("some.other.nii.gz", "one"), "b": file("b.nrrd", "two")}
    folder = link_images(files, tmp_path / "links")
    assert contents(folder) == {"a.nii.gz": "one", "b.nrrd": "two"}
    assert link_images(files, folder) == folder
    assert sorted(path.name for path in folder.iterdir()) == ["a.nii.gz", "b.nrrd"], "nothing is noted of links"


def test_links_follow_what_they_should_name(tmp_path, file):
    old, new = file("old.nii", "old"), file("new.nii", "new")
    folder = link_images({"a": old}, tmp_path / "links")
    link_images({"a": new}, folder)
    assert contents(folder) == {"a.nii": "new"}
    new.unlink()
    link_images({"a": old}, folder)
    assert contents(folder) == {"a.nii": "old"}


def test_copies_where_links_are_not_to_be_had(tmp_path, file, no_links):
    files = {"a": file("a.nii", "content"), "b": file("b/slice.dcm", "slice").parent}
    folder = link_images(files, tmp_path / "links")
    copy = folder / "a.nii"
    before = copy.stat().st_ino
    link_images(files, folder)
    assert not copy.is_symlink() and contents(folder) == {"a.nii": "content", "b/slice.dcm": "slice"}
    assert copy.stat().st_ino == before, "what is the same is not copied again"
    assert find_volumes(folder).keys() == {"a", "b"}, "what is noted of copies is no volume"


@pytest.mark.usefixtures("no_links")
def test_a_copy_is_made_again_when_its_source_was_replaced(tmp_path, file):
    files = {"a": file("a.nii", "old"), "b": file("b/slice.dcm", "old").parent}
    times = files["a"].stat()
    folder = link_images(files, tmp_path / "links")
    file("a.nii", "new")
    os.utime(files["a"], ns=(times.st_atime_ns, times.st_mtime_ns))  # nothing but its content tells
    file("b/slice.dcm", "new")
    file("b/more.dcm", "more")
    link_images(files, folder)
    assert contents(folder) == {"a.nii": "new", "b/slice.dcm": "new", "b/more.dcm": "more"}


@pytest.mark.usefixtures("no_links")
def test_a_folder_and_a_file_take_each_others_place(tmp_path, file):
    folder = link_images({"a": file("a/slice.dcm", "slice").parent}, tmp_path / "links")
    link_images({"a": file("loose", "loose")}, folder)
    assert contents(folder) == {"a": "loose"}
    link_images({"a": file("a/slice.dcm", "slice").parent}, folder)
    assert contents(folder) == {"a/slice.dcm": "slice"}


@pytest.mark.usefixtures("no_links")
def test_what_was_not_copied_here_is_neither_served_nor_replaced(tmp_path, file):
    files = {"a": file("a.nii", "old")}
    folder = link_images(files, tmp_path / "links")
    (folder / "a.nii").write_text("foreign", encoding="utf-8")
    with pytest.raises(BundleError, match="something else has the name of a copy") as caught:
        link_images(files, folder)
    assert caught.value.file == str(folder / "a.nii") and contents(folder) == {"a.nii": "foreign"}
    (folder / "a.nii").unlink()
    assert contents(link_images(files, folder)) == {"a.nii": "old"}


@pytest.mark.usefixtures("no_links")
def test_a_copy_of_which_nothing_was_noted_is_known_by_its_content(tmp_path, file):
    files = {"a": file("a.nii", "old")}
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "a.nii").write_text("old", encoding="utf-8")
    link_images(files, folder)
    file("a.nii", "new")
    assert contents(link_images(files, folder)) == {"a.nii": "new"}


def test_a_volume_in_the_folder_itself_is_no_copy(tmp_path, file):
    folder = file("a.nii", "own").parent
    link_images({"a": folder / "a.nii"}, folder)
    assert contents(link_only({}, folder)) == {"a.nii": "own"}


@pytest.mark.parametrize("links", [True, False])
def test_other_links_and_copies_are_removed_and_what_is_foreign_stays(tmp_path, file, request, links):
    if not links:
        request.getfixturevalue("no_links")
    files = {name: file(f"{name}.nii", name) for name in "ab"} | {"c": file("c/slice.dcm", "c").parent}
    folder = link_only(files, tmp_path / "links")
    (folder / "foreign.nii").write_text("foreign", encoding="utf-8")
    link_only({"a": file("a.nrrd", "a again")}, folder)
    assert contents(folder) == {"a.nrrd": "a again", "foreign.nii": "foreign"}
    assert contents(tmp_path / "sources").keys() == {"a.nii", "b.nii", "c/slice.dcm", "a.nrrd"}


@pytest.mark.usefixtures("no_links")
def test_a_copy_that_somebody_changed_is_not_removed(tmp_path, file):
    folder = link_only({"a": file("a.nii", "a")}, tmp_path / "links")
    (folder / "a.nii").write_text("changed", encoding="utf-8")
    assert contents(link_only({}, folder)) == {"a.nii": "changed"}
