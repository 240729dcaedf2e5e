"""What `package` may replace: what it wrote itself, and nothing else, whatever the name."""

import shutil
from pathlib import Path

import pytest

from bundle.command_line import main
from bundle.packaging import package as module
from bundle.packaging.assembly import assemble
from bundle.packaging.package import package
from bundle.packaging.release import Release
from scripts.common.errors import BundleError

NAME = "abdomen_ct_segmentation"


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def output(tmp_path):
    """The user's folder, with a folder beside it."""
    for name in ("out/mine.txt", "out/data/volume.nii.gz", "beside.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("the user's")
    return tmp_path / "out"


@pytest.mark.parametrize("name", ["", ".", "..", "../out", "a/b", "/tmp/x", "data/", "a b", "~", "*", "é", "a.b"])
def test_names_that_lead_elsewhere_are_refused_and_nothing_changes(output, tmp_path, capsys, name):
    before = content(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["package", "--name", name, "--output", str(output)])
    assert left.value.code == 2 and "a package cannot have this name" in capsys.readouterr().err
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "place", [NAME, f"{NAME}/models/model.pt", f"{NAME}.zip", f"{NAME}_large_files/models/model.pt"]
)
def test_what_the_user_has_under_these_names_stays(output, place):
    (output / place).parent.mkdir(parents=True, exist_ok=True)
    (output / place).write_text("the user's")
    before = content(output)
    with pytest.raises(BundleError, match="that this command did not write") as caught:
        assemble(Release(NAME), output)
    assert caught.value.file == str(output / place)
    assert content(output) == before


def test_an_empty_folder_or_a_link_is_the_users_too(output):
    for make in (lambda path: path.mkdir(), lambda path: path.symlink_to(output / "data")):
        make(output / NAME)
        with pytest.raises(BundleError, match="that this command did not write"):
            assemble(Release(NAME), output)
        assert (output / NAME).exists() and (output / "data" / "volume.nii.gz").exists()
        (output / NAME).unlink() if (output / NAME).is_symlink() else (output / NAME).rmdir()


def test_an_earlier_package_is_replaced_whole_unless_the_user_put_something_in(output):
    folder = assemble(Release(NAME), output)
    licence = (folder / "LICENSE").read_bytes()
    (folder / "LICENSE").write_text("changed")
    assert (assemble(Release(NAME), output) / "LICENSE").read_bytes() == licence
    (folder / "docs" / "notes.md").write_text("the user's")
    with pytest.raises(BundleError, match="that this command did not write") as caught:
        assemble(Release(NAME), output)
    assert caught.value.file == str(folder / "docs" / "notes.md")
    assert (output / "mine.txt").exists() and (output / "data" / "volume.nii.gz").exists()


def test_a_package_that_was_moved_here_is_the_users(output, tmp_path):
    folder = assemble(Release(NAME), tmp_path / "elsewhere")
    shutil.move(folder, output / NAME)
    with pytest.raises(BundleError, match="that this command did not write"):
        assemble(Release(NAME), output)


def test_large_files_of_an_earlier_package_are_replaced(output):
    release = Release(NAME, large_files_url="https://example.org/files")
    for _ in range(2):
        folder = assemble(release, output, largest_mb=1)
        assert (output / f"{NAME}_large_files" / "models" / "model.pt").exists()
        assert (folder / "large_files.yml").exists()
    assert not (assemble(Release(NAME), output) / "large_files.yml").exists()
    assert not (output / f"{NAME}_large_files").exists()


def test_a_name_without_the_task_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(BundleError, match="the package breaks the zoo's rules") as caught:
        package(Release("mine"), tmp_path / "zoo")
    assert "lacks the task (segmentation)" in caught.value.found
    assert not (tmp_path / "zoo" / "mine").exists()


def test_a_zip_of_an_earlier_package_is_replaced(output, monkeypatch):
    monkeypatch.setattr(module, "broken_rules", lambda *_: [])
    monkeypatch.setattr(module, "failed_trials", lambda *_: [])
    first = package(Release(NAME), output)
    first.write_bytes(b"damaged")
    assert package(Release(NAME), output).stat().st_size > 1000
    assert sorted(path.name for path in output.iterdir() if NAME not in path.name) == ["data", "mine.txt"]


def test_a_kill_before_the_new_package_has_its_place_leaves_what_can_be_replaced(output, monkeypatch):
    replace = Path.replace

    def killed(path, target):
        if Path(target).name == NAME:
            raise KeyboardInterrupt
        return replace(path, target)

    for release in (Release(NAME), Release(NAME, authors="Somebody")):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Path, "replace", killed)
            assemble(release, output)
        assert not (output / NAME).exists()
        folder = assemble(release, output)
    assert "Somebody" in (folder / "configs" / "metadata.json").read_text(encoding="utf-8")
